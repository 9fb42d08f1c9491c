package sendmail

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/postdrop"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/internal/mta/submitter"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// standAlone is sendmail -bs: an SMTP session on standard input, of the user who
// runs it. Mail goes the way of all that users submit, through postdrop(1), and
// none of the SMTP server's restrictions apply.
func (c *command) standAlone() (int, error) {
	if len(c.opt.recipients) > 0 {
		return 0, fatalf("stand-alone mode requires no recipient")
	}
	access, err := c.access()
	if err != nil {
		return 0, err
	}
	s := &session{command: c, access: access, user: submitter.Lookup(os.Getuid()), out: bufio.NewWriter(c.stdout)}
	if err := access.CheckUser(context.Background(), s.user); denied(err) {
		return 0, err
	}
	s.in = smtp.NewReader(stdio{Reader: c.stdin}, c.set.LineLengthLimit)
	defer s.in.Release()
	return 0, s.run()
}

// stdio is standard input as a connection that has no deadlines.
type stdio struct {
	net.Conn
	io.Reader
}

func (s stdio) Read(p []byte) (int, error) { return s.Reader.Read(p) }

// A session is one run of sendmail -bs.
type session struct {
	*command
	access *submitter.Access
	user   submitter.User
	in     *smtp.Reader
	out    *bufio.Writer
	helo   string
	esmtp  bool
	quit   bool

	open bool // a transaction
	mail smtp.Mail
	rcpt []smtp.Rcpt
}

// verbs are the commands of a session; what there is to them otherwise, an SMTP
// server for clients does.
var verbs = map[string]func(s *session, args []byte) smtp.Reply{
	"HELO": (*session).doHELO, "EHLO": (*session).doEHLO, "MAIL": (*session).doMAIL, "RCPT": (*session).doRCPT,
	"DATA": (*session).doDATA, "RSET": (*session).doRSET, "VRFY": (*session).doVRFY,
	"NOOP": func(*session, []byte) smtp.Reply { return replyOK },
	"QUIT": func(s *session, _ []byte) smtp.Reply { s.quit = true; return answer(221, "2.0.0", "Bye") },
}

var replyOK = answer(250, "2.0.0", "Ok")

// answer makes a reply; enhanced is empty for those that have no enhanced code.
func answer(code int, enhanced, text string) smtp.Reply {
	e, _ := smtp.ParseEnhanced(enhanced)
	return smtp.Reply{Code: code, Enhanced: e, Text: text}
}

func (s *session) run() error {
	s.send(answer(220, "", s.set.Banner))
	for !s.quit {
		line, err := s.in.ReadLine()
		if errors.Is(err, smtp.ErrLineTooLong) {
			s.send(answer(500, "5.5.2", "Error: line too long"))
			continue
		}
		if err != nil {
			break // whoever typed is gone
		}
		verb, args := smtp.ParseCommand(line)
		do, ok := verbs[strings.ToUpper(string(verb))]
		switch {
		case len(verb) == 0:
			s.send(answer(500, "5.5.2", "Error: bad syntax"))
		case !ok:
			s.send(answer(500, "5.5.2", "Error: command not recognized"))
		default:
			s.send(do(s, args))
		}
	}
	return s.out.Flush()
}

// send writes a reply. It goes out unless more commands are there already.
func (s *session) send(r smtp.Reply) {
	s.out.Write(r.Append(nil)) //nolint:errcheck // the buffer keeps its first error
	if s.in.Buffered() == 0 || s.quit {
		s.out.Flush() //nolint:errcheck // as above
	}
}

func (s *session) reset() { s.open, s.rcpt, s.mail = false, nil, smtp.Mail{} }

func (s *session) doHELO(args []byte) smtp.Reply {
	if len(args) == 0 {
		return answer(501, "", "Syntax: HELO hostname")
	}
	s.reset()
	s.helo, s.esmtp = string(args), false
	return answer(250, "", s.core.Myhostname)
}

func (s *session) doEHLO(args []byte) smtp.Reply {
	if len(args) == 0 {
		return answer(501, "", "Syntax: EHLO hostname")
	}
	s.reset()
	s.helo, s.esmtp = string(args), true
	size := "SIZE"
	if s.core.MessageSizeLimit > 0 {
		size += " " + strconv.FormatInt(s.core.MessageSizeLimit, 10)
	}
	return answer(250, "", strings.Join([]string{s.core.Myhostname, "PIPELINING", size, "ENHANCEDSTATUSCODES", "8BITMIME", "DSN"}, "\n"))
}

// extensions are those that EHLO names.
const extensions = smtp.ExtSize | smtp.Ext8BitMIME | smtp.ExtDSN

func (s *session) doMAIL(args []byte) smtp.Reply {
	if s.open {
		return answer(503, "5.5.1", "Error: nested MAIL command")
	}
	m, err := smtp.ParseMailArgs(args, extensions)
	if err != nil {
		return badArgument(err, "5.1.7", "Bad sender address syntax", "Syntax: MAIL FROM:<address>")
	}
	if limit := s.core.MessageSizeLimit; limit > 0 && m.Size > limit {
		return answer(552, "5.3.4", "Message size exceeds fixed limit")
	}
	if err := s.access.CheckSender(context.Background(), s.user, m.From); denied(err) {
		return answer(550, "5.7.1", "Error: "+err.Error())
	}
	s.open, s.mail = true, m
	return answer(250, "2.1.0", "Ok")
}

func (s *session) doRCPT(args []byte) smtp.Reply {
	if !s.open {
		return answer(503, "5.5.1", "Error: need MAIL command")
	}
	r, err := smtp.ParseRcptArgs(args, extensions)
	if err != nil || r.To == "" {
		return badArgument(err, "5.1.3", "Bad recipient address syntax", "Syntax: RCPT TO:<address>")
	}
	s.rcpt = append(s.rcpt, r)
	return answer(250, "2.1.5", "Ok")
}

// badArgument says what is wrong with the arguments of MAIL or RCPT.
func badArgument(err error, enhanced, address, syntax string) smtp.Reply {
	var arg *smtp.ArgError
	if err == nil || errors.As(err, &arg) && arg.Kind == smtp.BadAddress {
		return answer(501, enhanced, address)
	}
	return answer(501, "5.5.4", syntax)
}

func (s *session) doRSET([]byte) smtp.Reply {
	s.reset()
	return replyOK
}

func (s *session) doVRFY(args []byte) smtp.Reply {
	if len(args) == 0 {
		return answer(501, "5.5.4", "Syntax: VRFY address")
	}
	return answer(252, "2.0.0", string(args))
}

func (s *session) doDATA([]byte) smtp.Reply {
	switch {
	case !s.open:
		return answer(503, "5.5.1", "Error: need RCPT command")
	case len(s.rcpt) == 0:
		return answer(554, "5.5.1", "Error: no valid recipients")
	}
	defer s.reset()
	drop, err := s.startPostdrop()
	if err != nil {
		s.warnf("unable to execute %s: %v", s.postdropCommand(), err)
		return answer(451, "4.3.0", "Error: queue file write error")
	}
	defer drop.cancel()
	s.out.Write(answer(354, "", "End data with <CR><LF>.<CR><LF>").Append(nil)) //nolint:errcheck // the buffer keeps its first error
	s.out.Flush()                                                               //nolint:errcheck // as above
	s.in.StartData(smtp.AnyEnd)
	content := &dataReader{in: s.in}
	err = s.write(drop, content)
	if content.err != io.EOF {
		s.quit = true // the input ended within the message
		return answer(421, "4.4.2", s.core.Myhostname+" Error: lost connection")
	}
	status, why, _ := drop.finish() //nolint:errcheck // the status tells
	if err != nil && status == 0 {
		status = postdrop.StatusWrite
	}
	return dropReply(drop.id, status, why)
}

// dropReply is the answer to a message that postdrop has taken, or not.
func dropReply(id string, status int, why string) smtp.Reply {
	if why == "" && status != 0 {
		why = strstatus(status)
	}
	switch {
	case status == 0:
		return answer(250, "2.0.0", "Ok: queued as "+id)
	case status&postdrop.StatusSize != 0:
		return answer(552, "5.3.4", "Error: "+why)
	case status&postdrop.StatusDenied != 0:
		return answer(550, "5.7.1", "Error: "+why)
	}
	return answer(451, "4.3.0", "Error: "+why)
}

// write writes the message to postdrop. All content is read, whatever happens.
func (s *session) write(drop *drop, content *dataReader) error {
	sub := &submission{command: s.command, drop: drop, rec: queuefile.NewWriter(drop)}
	m := &s.mail
	if m.EnvID != "" {
		if id, ok := smtp.ParseXtext([]byte(m.EnvID)); ok {
			sub.attribute("envelope_id", id)
		}
	}
	if m.Ret != 0 {
		sub.attribute("ret_flags", strconv.Itoa(int(m.Ret)))
	}
	sub.attribute("rewrite_context", "local")
	sub.put(queuefile.TypeSender, m.From)
	if encoding := encodings[m.Body]; encoding != "" {
		sub.attribute("encoding", encoding)
	}
	for i := range s.rcpt {
		r := &s.rcpt[i]
		if r.Notify != 0 {
			sub.attribute("notify_flags", strconv.Itoa(int(r.Notify)))
		}
		original := r.ORcpt
		if original == "" {
			original = "rfc822;" + smtp.QuoteAddress(r.To)
		}
		sub.attribute("dsn_orig_rcpt", original)
		sub.put(queuefile.TypeRecipient, r.To)
	}
	sub.put(queuefile.TypeMessage, "")
	for _, line := range s.received(drop.id) {
		sub.put(queuefile.TypeLine, line)
	}
	err := queuefile.WriteContent(func(typ byte, data []byte) error {
		sub.write(typ, data)
		return nil
	}, content)
	sub.put(queuefile.TypeExtracted, "")
	sub.put(queuefile.TypeEnd, "")
	return errors.Join(err, sub.err)
}

var encodings = map[smtp.Body]string{smtp.Body7Bit: "7bit", smtp.Body8BitMIME: "8bit"}

// received is the trace header.
func (s *session) received(id string) []string {
	with, helo := "SMTP", s.helo
	if s.esmtp {
		with = "ESMTP"
	}
	if helo == "" {
		helo = "localhost"
	}
	lines := []string{
		"Received: from " + helo + " (localhost [127.0.0.1])",
		fmt.Sprintf("\tby %s (%s) with %s id %s", s.core.Myhostname, s.core.MailName, with, id),
	}
	date := time.Now().Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)")
	if len(s.rcpt) == 1 {
		return append(lines, "\tfor <"+smtp.QuoteAddress(s.rcpt[0].To)+">; "+date)
	}
	lines[1] += ";"
	return append(lines, "\t"+date)
}

// A dataReader is the content of DATA; err is what it ended with.
type dataReader struct {
	in   *smtp.Reader
	rest []byte
	err  error
}

func (d *dataReader) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		d.rest, d.err = d.in.ReadData()
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

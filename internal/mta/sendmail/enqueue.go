package sendmail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
	"github.com/dovetail-mail/dovetail/internal/mta/submitter"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// submission is a message on its way to postdrop.
type submission struct {
	*command
	user   submitter.User
	sender string // internal form
	who    string // "sender(uid)", for errors
	drop   *drop
	rec    *queuefile.Writer
	err    error // the first failure to write
	count  int   // recipients
}

// enqueue reads a message and gives it to postdrop.
func (c *command) enqueue() error {
	s := &submission{command: c, user: submitter.Lookup(os.Getuid())}
	if err := s.authorized(); err != nil {
		return err
	}
	ends, ok := lineEndings[c.set.FixLineEndings]
	if !ok {
		return fatalf("invalid sendmail_fix_line_endings value: %s", c.set.FixLineEndings)
	}
	var err error
	if s.drop, err = c.startPostdrop(); err != nil {
		return fatalf("%s: unable to execute %s: %v", s.who, c.postdropCommand(), err)
	}
	defer s.drop.cancel()
	s.rec = queuefile.NewWriter(s.drop)
	if err := s.envelope(); err != nil {
		return err
	}
	found, err := s.content(ends)
	if err != nil {
		return err
	}
	s.put(queuefile.TypeExtracted, "")
	for _, addr := range found {
		s.recipient(addr)
	}
	if s.count == 0 {
		if c.opt.extract {
			return fatalf("%s: No recipient addresses found in message header", s.who)
		}
		return fatalf("%s: Recipient addresses must be specified on the command line or via the -t option", s.who)
	}
	s.put(queuefile.TypeEnd, "")
	if err := s.finish(); err != nil {
		return err
	}
	if c.opt.verify || c.opt.record {
		fmt.Fprintf(c.stdout, "Mail Delivery Status Report will be mailed to <%s>.\n", s.sender)
	}
	return nil
}

// authorized refuses users early; who goes around this is refused by the mail
// system.
func (s *submission) authorized() error {
	access, err := s.access()
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := access.CheckUser(ctx, s.user); denied(err) {
		return err
	}
	if err := s.findSender(); err != nil {
		return err
	}
	if err := access.CheckSender(ctx, s.user, s.sender); denied(err) {
		return fatalf("%s: %v", s.who, err)
	}
	return nil
}

// access is who may submit mail, and with which sender.
func (c *command) access() (*submitter.Access, error) {
	tables, err := resolve.NewOpener(c.main, table.Options{Log: c.log, Main: c.main})
	if err != nil {
		return nil, err
	}
	return submitter.New(c.main, tables)
}

// denied tells a refusal from a table that a user cannot read.
func denied(err error) bool {
	var d *submitter.DeniedError
	return errors.As(err, &d)
}

// findSender takes the sender from option -f, or the user who runs this.
func (s *submission) findSender() error {
	if !s.opt.hasSender {
		if s.user.Name == "" {
			return fatalf("no login name found for user ID %d", s.user.UID)
		}
		s.sender = s.user.Name
	} else {
		found := addresses(s.opt.sender)
		if len(found) > 0 {
			s.sender = found[0]
		}
		if len(found) > 1 {
			s.warnf("-f option specified malformed sender: %s", s.opt.sender)
		}
	}
	s.who = fmt.Sprintf("%s(%d)", s.sender, s.user.UID)
	return nil
}

// addresses are those in a list as headers have it, in internal form. Users write
// recipients on command lines in every form, with names and comments.
func addresses(text string) []string {
	var found []string
	for _, t := range rfc822.ParseList(text, 0) {
		if t.Kind == rfc822.Address {
			found = append(found, rfc822.Internal(t.List))
		}
	}
	return found
}

// The values of the attribute trace_flags.
const (
	traceVerify = queuefile.TraceVerify
	traceRecord = queuefile.TraceRecord
)

// envelope writes all that is known before the content.
func (s *submission) envelope() error {
	o := &s.opt
	if o.envID != "" {
		s.attribute("envelope_id", o.envID)
	}
	if o.ret != 0 {
		s.attribute("ret_flags", strconv.Itoa(int(o.ret)))
	}
	s.attribute("rewrite_context", o.context)
	name := o.fullName
	if !o.hasName {
		name = fullName(s.user)
	}
	if name != "" || o.hasName {
		s.put(queuefile.TypeFullName, name)
	}
	s.put(queuefile.TypeSender, s.sender)
	if o.verp != "" && s.sender == "" {
		return fatalf("%s: -V option requires non-null sender address", s.who)
	}
	if o.encoding != "" {
		s.attribute("encoding", o.encoding)
	}
	trace := 0
	if o.verify {
		trace |= traceVerify
	}
	if o.record {
		trace |= traceRecord
	}
	if trace != 0 {
		s.attribute("trace_flags", strconv.Itoa(trace))
	}
	if o.verp != "" {
		s.put(queuefile.TypeVERP, o.verp)
	}
	for _, arg := range o.recipients {
		found := addresses(arg)
		if len(found) == 0 {
			s.put(queuefile.TypeRecipient, "")
			s.count++
		}
		for _, addr := range found {
			s.recipient(addr)
		}
	}
	s.put(queuefile.TypeMessage, "")
	return nil
}

// recipient writes an address, with the notifications that option -N asks for.
func (s *submission) recipient(addr string) {
	if s.opt.notify != 0 {
		s.attribute("notify_flags", strconv.Itoa(int(s.opt.notify)))
	}
	s.put(queuefile.TypeRecipient, addr)
	s.count++
}

// content writes the message; found are the recipients that -t finds in its
// header.
func (s *submission) content(ends lineEnding) (found []string, err error) {
	if s.opt.verify {
		s.probe()
		return nil, nil
	}
	m := newReader(s.stdin, s.set.LineLengthLimit, ends, s.opt.dotEnds)
	var x *extractor
	if s.opt.extract {
		x = &extractor{}
	}
	for {
		l, err := m.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fatalf("%s: error reading input: %v", s.who, err)
		}
		if x != nil {
			if err := x.line(l); err != nil {
				return nil, fatalf("%s: unable to extract recipients: %v", s.who, err)
			}
		}
		typ := byte(queuefile.TypeLine)
		if l.continues {
			typ = queuefile.TypePiece
		}
		s.write(typ, l.text)
		if s.err != nil {
			break
		}
	}
	if x == nil {
		return nil, nil
	}
	return x.recipients(), nil
}

// probe writes the message of option -bv.
func (s *submission) probe() {
	if s.sender != "" {
		s.put(queuefile.TypeLine, "From: "+s.sender)
	}
	s.put(queuefile.TypeLine, "Subject: probe")
	s.put(queuefile.TypePiece, "To:")
	for i, arg := range s.opt.recipients {
		if i < len(s.opt.recipients)-1 {
			arg += ","
		}
		s.put(queuefile.TypeLine, "	"+arg)
	}
}

func (s *submission) attribute(name, value string) {
	s.put(queuefile.TypeAttribute, name+"="+value)
}

func (s *submission) put(typ byte, text string) { s.write(typ, []byte(text)) }

// write writes a record and keeps the first failure.
func (s *submission) write(typ byte, data []byte) {
	if s.err == nil {
		s.err = s.rec.Write(typ, data)
	}
}

// finish waits for postdrop's word.
func (s *submission) finish() error {
	if s.err != nil {
		return fatalf("%s: error writing queue file: %v", s.who, s.err)
	}
	status, why, err := s.drop.finish()
	if err != nil {
		s.warnf("mail_stream_cleanup: close error")
	}
	if status != 0 {
		if why == "" {
			why = strstatus(status)
		}
		return fatalf("%s: %s", s.who, why)
	}
	return nil
}

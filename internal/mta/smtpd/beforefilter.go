package smtpd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// FilterSettings are the parameters of a filter before the queue (SMTPD_PROXY_README).
type FilterSettings struct {
	Filter  string        `set:"smtpd_proxy_filter" doc:"host:port, or unix:path, of an SMTP server that gets the mail before it is queued"`
	EHLO    string        `set:"smtpd_proxy_ehlo" default:"$myhostname" doc:"name given to it"`
	Options string        `set:"smtpd_proxy_options" doc:"speed_adjust: it gets a message when all of it has come"`
	Timeout time.Duration `set:"smtpd_proxy_timeout" default:"100s" unit:"s" min:"1" doc:"limit for connecting to it, and for each command"`
}

var _ = postfix.Register("smtpd", FilterSettings{})

// A beforeFilter is the filter of a server: an SMTP server that gets the commands of the client
// that this one took, and answers in its place. Nothing is queued here.
type beforeFilter struct {
	name             string // as configured
	network, address string
	ehlo             string
	timeout          time.Duration
	speedAdjust      bool
	lineLimit        int
	spool            func() (*os.File, error)
	log              *maillog.Logger
}

// newBeforeFilter is nil where there is no filter.
func newBeforeFilter(c *Config, core *postfix.Core, lineLimit int) (*beforeFilter, error) {
	var set FilterSettings
	if err := c.Main.Decode(&set); err != nil || set.Filter == "" {
		return nil, err
	}
	f := &beforeFilter{name: set.Filter, network: "tcp", ehlo: set.EHLO, timeout: set.Timeout, lineLimit: lineLimit, spool: c.Spool, log: c.Log}
	switch kind, rest, _ := strings.Cut(set.Filter, ":"); {
	case strings.EqualFold(kind, "unix"):
		if f.network, f.address = "unix", rest; !filepath.IsAbs(rest) {
			f.address = filepath.Join(core.QueueDirectory, rest)
		}
	case strings.EqualFold(kind, "inet"):
		f.address = tcpAddress(rest)
	default:
		f.address = tcpAddress(set.Filter)
	}
	for _, option := range postfix.SplitList(set.Options) {
		if option != "speed_adjust" {
			return nil, fmt.Errorf("unknown smtpd_proxy_options value %q in %q: specify speed_adjust, or nothing", option, set.Options)
		}
		f.speedAdjust = true
	}
	if f.spool == nil {
		f.spool = func() (*os.File, error) { return nil, errors.ErrUnsupported }
	}
	return f, nil
}

// tcpAddress makes an address of "host:port", "[host]:port", ":port" and "port".
func tcpAddress(text string) string {
	i := strings.LastIndexByte(text, ':')
	host := strings.Trim(text[:max(i, 0)], "[]")
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, text[i+1:])
}

// A filtering is one message on its way through the filter.
type filtering struct {
	*beforeFilter
	conn   net.Conn // nil: not connected yet, or no more
	r      *bufio.Reader
	broken bool // the connection can no longer be used
	last   smtp.Reply

	content  *smtp.DataWriter
	cr       bool // a CR was held back: is it stray?
	mail     string
	from     queue.Client
	ident    string
	local    bool
	kept     []keptCommand // with speed_adjust: what is sent when all has come
	keptFile *os.File
	keptOut  *bufio.Writer
}

// keptCommand is a command, and the first digit of the reply that it must get.
type keptCommand struct {
	line   string
	expect byte
}

// What replies must begin with.
const (
	wantOK   = '2'
	wantMore = '3'
	wantAny  = 0
)

// begin starts a message: mail is the client's command. The reply is why it cannot be filtered now;
// the zero reply is that it can.
func (f *filtering) begin() smtp.Reply {
	if !f.speedAdjust {
		return f.connect()
	}
	file, err := f.spool()
	if err != nil {
		return f.keptTrouble(err)
	}
	f.keptFile, f.keptOut = file, bufio.NewWriterSize(file, keptBuffer)
	return smtp.Reply{}
}

// keptBuffer is what is held in memory of a message for a filter that gets it later.
const keptBuffer = 32 << 10

func (f *filtering) keptTrouble(err error) smtp.Reply {
	f.log.Warningf("proxy speed-adjust log I/O error: %v", err)
	return f.failed()
}

// failed makes up the reply of a filter that gave none.
func (f *filtering) failed() smtp.Reply {
	f.last = replyFilterTrouble
	return f.last
}

// startContent is called when the client may send the content.
func (f *filtering) startContent() {
	if f.keptFile == nil {
		f.content = smtp.NewDataWriter(f)
	}
}

// Write sends content that is ready to go over the wire.
func (f *filtering) Write(p []byte) (int, error) {
	f.conn.SetDeadline(time.Now().Add(f.timeout)) //nolint:errcheck // the write tells
	return f.conn.Write(p)
}

// add takes a piece of the content. A CR that ends no line becomes a blank: the filter might take it
// for a line end, and find commands of the client's in the content. An error is the reply to the
// client.
func (f *filtering) add(p []byte) error {
	for len(p) > 0 {
		if f.cr {
			f.cr = false
			end := "\r"
			if p[0] != '\n' {
				end = " "
			}
			if err := f.put([]byte(end)); err != nil {
				return err
			}
		}
		n := bytes.IndexByte(p, '\r')
		if n < 0 {
			return f.put(p)
		}
		if err := f.put(p[:n]); err != nil {
			return err
		}
		p, f.cr = p[n+1:], true
	}
	return nil
}

func (f *filtering) put(p []byte) error {
	if f.keptFile != nil {
		if _, err := f.keptOut.Write(p); err != nil {
			return f.keptTrouble(err)
		}
		return nil
	}
	if f.broken {
		return f.failed()
	}
	if _, err := f.content.Write(p); err != nil {
		return f.lost(err)
	}
	return nil
}

// finish ends the content and returns the filter's answer to it.
func (f *filtering) finish() smtp.Reply {
	if f.keptFile != nil {
		if r := f.replay(); r.Code != 0 {
			return r
		}
	}
	if f.broken {
		return f.failed()
	}
	if err := f.content.Close(); err != nil {
		return f.lost(err)
	}
	f.content = nil
	if r := f.dialogue("", wantAny); r.Code != 0 {
		return r
	}
	if f.last.Code/100 == wantMore-'0' {
		return f.failed() // the client has nothing more to say
	}
	return f.last
}

// replay sends what was kept.
func (f *filtering) replay() smtp.Reply {
	file := f.keptFile
	if err := f.keptOut.Flush(); err != nil {
		return f.keptTrouble(err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return f.keptTrouble(err)
	}
	if r := f.connect(); r.Code != 0 {
		return r
	}
	for _, c := range f.kept {
		if r := f.dialogue(c.line, c.expect); r.Code != 0 {
			return r
		}
	}
	f.content = smtp.NewDataWriter(f)
	if _, err := io.Copy(f.content, onlyReader{file}); err != nil {
		return f.lost(err)
	}
	return smtp.Reply{}
}

// onlyReader keeps io.Copy from asking for more than a Read.
type onlyReader struct{ io.Reader }

// close ends the dialogue with the filter, which is not waited for.
func (f *filtering) close() {
	if f.content != nil { // in the middle of it
		f.content.Abort()
		f.content, f.broken = nil, true
	}
	if f.conn != nil {
		if !f.broken {
			f.conn.SetDeadline(time.Now().Add(goodbyeTimeout)) //nolint:errcheck // nobody waits
			io.WriteString(f.conn, "QUIT\r\n")                 //nolint:errcheck // nobody waits
		}
		f.conn.Close()
		f.conn = nil
	}
	if f.keptFile != nil {
		f.keptFile.Close()
		f.keptFile = nil
	}
}

// openFilter begins to pass a message to the filter.
func (s *session) openFilter() smtp.Reply {
	f := &filtering{beforeFilter: s.srv.filter, mail: s.tx.mailLine, from: s.origin(), ident: s.forward.ident, local: s.isLocal()}
	if r := f.begin(); r.Code != 0 {
		f.close()
		return r
	}
	s.filtering = f
	s.logClient()
	return smtp.Reply{}
}

// filterCommand passes the command under way to the filter, if there is one.
func (s *session) filterCommand(line string, expect byte) smtp.Reply {
	if s.filtering == nil {
		return smtp.Reply{}
	}
	return s.filtering.command(line, expect)
}

// finishFiltered ends a message that goes to the filter, which answers the client unless it is
// refused already.
func (s *session) finishFiltered(refusal smtp.Reply) smtp.Reply {
	f, r := s.filtering, refusal
	if r.Code == 0 {
		r = f.finish()
	}
	action := "reject"
	if r.Code < 400 {
		action = "accept"
	}
	s.rcptNow = s.tx.recipients[0].Address
	s.srv.log.Append(maillog.Info, func(b []byte) []byte {
		b = append(append(append(b, "proxy-"...), action...), ": END-OF-MESSAGE: "...)
		if f.last.Code != 0 {
			b = appendOneLine(b, f.last)
		}
		return s.appendContext(append(b, ';'))
	})
	return r
}

package pickup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/internal/mta/submitter"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// The clock of another machine that shares the maildrop may differ a little. What
// has waited for a day deserves a warning.
const (
	maxAhead = 2 * time.Hour
	maxWait  = 24 * time.Hour
)

// message brings a submission into the queue and reports whether its file has to go:
// the message is durable, or it never can be. Mostly it is gone then, see claim.
func (p *Pickup) message(ctx context.Context, s *submission) bool {
	m, err := queuefile.Parse(s.f, s.size)
	if errors.Is(err, queuefile.ErrCorrupt) {
		p.Log.Warningf("%s/%s: uid=%d: unexpected or malformed record: %v", QueueName, s.name, s.uid, err)
		return true
	}
	if err != nil {
		p.Log.Warningf("%s/%s: uid=%d: %v", QueueName, s.name, s.uid, err)
		return false
	}
	env := p.envelope(s, m)
	if m.NoSender {
		p.Log.Warningf("%s/%s: uid=%d: no envelope sender", QueueName, s.name, s.uid)
		return true
	}
	if len(env.Recipients) == 0 {
		p.Log.Warningf("%s/%s: uid=%d: no recipients specified", QueueName, s.name, s.uid)
		return true
	}
	if err := p.allowed(ctx, s, m); err != nil {
		p.Log.Warningf("%s/%s: uid=%d: %v", QueueName, s.name, s.uid, err)
		var denied *submitter.DeniedError
		return errors.As(err, &denied)
	}
	return p.queue(ctx, s, m, env)
}

// allowed asks whether the owner of the file may submit mail so.
func (p *Pickup) allowed(ctx context.Context, s *submission, m *queuefile.Message) error {
	if s.requeued {
		return nil
	}
	u := submitter.Lookup(s.uid)
	if err := p.access.CheckUser(ctx, u); err != nil {
		return err
	}
	return p.access.CheckSender(ctx, u, m.Sender)
}

// envelope is what the file says. Of a file that was put back, the filter, the redirection
// and what has been delivered are dropped, as postsuper(1) says.
func (p *Pickup) envelope(s *submission, m *queuefile.Message) *queue.Envelope {
	env := &queue.Envelope{
		Sender: m.Sender, FullName: m.FullName, Encoding: m.Encoding, Ret: byte(m.Ret), EnvID: m.EnvID,
		RewriteContext: m.Context, VERP: m.VERP, Filter: p.set.ContentFilter, Arrival: arrival(m, s.modified), //nolint:gosec // 0 to 2
	}
	if env.RewriteContext == "" {
		env.RewriteContext = "local"
	}
	switch m.Trace {
	case queuefile.TraceVerify:
		env.Trace = queue.TraceVerify
	case queuefile.TraceRecord:
		env.Trace = queue.TraceRecord
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.Type != queuefile.TypeRecipient {
			continue
		}
		env.Recipients = append(env.Recipients,
			queue.Recipient{Address: r.Address, Original: r.Original, DSNOrcpt: r.Orcpt, Notify: uint8(r.Notify)}) //nolint:gosec // four bits
	}
	return env
}

// queue gives a message to cleanup.
func (p *Pickup) queue(ctx context.Context, s *submission, m *queuefile.Message, env *queue.Envelope) bool {
	origin := cleanup.Origin{
		Local: env.RewriteContext == "local", Unmapped: p.override&cleanup.NoAddressMappings != 0,
		Unchecked: p.override&cleanup.NoHeaderBodyChecks != 0, Unfiltered: p.override&cleanup.NoMilters != 0,
	}
	if m.Sender != "" {
		origin.Sender, origin.FullName = p.Resolver.Rewrite(ctx, "local", m.Sender), m.FullName
	}
	msg, err := p.Cleanup.Start(ctx, origin)
	if err != nil {
		p.Log.Warningf("%s/%s: %v", QueueName, s.name, err)
		return false
	}
	id := msg.ID()
	p.checkTime(s, id)
	orig := ""
	if s.requeued {
		orig = " orig_id=" + s.name
	}
	p.Log.Infof("%s: uid=%d from=<%s>%s", id, s.uid, smtp.QuoteAddress(m.Sender), orig)
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.Type == queuefile.TypeRecipient && !r.Extracted {
			msg.Recipient(r.Address)
		}
	}
	c := &content{out: msg, utf8: p.autoUTF8}
	failed := c.copy(p.received(s, id), m.Content())
	var reply smtp.Reply
	if failed != nil && !errors.As(failed, &reply) {
		// The file cannot be read.
		msg.Abort()
		p.Log.Warningf("%s: error reading %s/%s: %v", id, QueueName, s.name, failed)
		return false
	}
	env.SMTPUTF8 = p.autoUTF8 && (c.foreign || foreign(env))
	recipients := append([]queue.Recipient(nil), env.Recipients...)
	p.claim(s, env, id)
	if err := msg.Finish(ctx, env); err != nil {
		env.Recipients = recipients
		return p.refused(ctx, s, m, env, id, err)
	}
	return true
}

// checkTime warns of files with strange times, and believes no time to come.
func (p *Pickup) checkTime(s *submission, id string) {
	switch age := time.Since(s.modified); {
	case age < -maxAhead:
		p.Log.Warningf("%s: message %s/%s dated %d seconds into the future", id, QueueName, s.name, int(-age.Seconds()))
		s.modified = time.Now()
	case age > maxWait:
		p.Log.Warningf("%s: message %s/%s has been queued for %d days", id, QueueName, s.name, int(age.Hours()/24))
	}
}

// received is the header that says by whom the message was submitted.
func (p *Pickup) received(s *submission, id string) []byte {
	b := fmt.Appendf(nil, "Received: by %s (%s, from userid %d)\r\n\tid %s; ", p.core.Myhostname, p.core.MailName, s.uid, id)
	return append(cleanup.AppendDate(b, s.modified), "\r\n"...)
}

// refused deals with what cleanup does not take: for the moment, or for good; then
// the message is returned to the sender.
func (p *Pickup) refused(ctx context.Context, s *submission, m *queuefile.Message, env *queue.Envelope, id string, cause error) bool {
	var reply smtp.Reply
	if !errors.As(cause, &reply) || reply.Code < 500 {
		p.Log.Warningf("%s/%s: error writing %s: %v", QueueName, s.name, id, cause)
		return false
	}
	text := strings.TrimPrefix(reply.Text, "Error: ")
	env.Filter = fmt.Sprintf("error:%s %s", reply.Enhanced, text)
	for i := range env.Recipients {
		r := &env.Recipients[i]
		if r.Original == "" {
			r.Original = r.Address
		}
		r.Address = p.Resolver.Rewrite(ctx, "local", r.Address)
	}
	env.Sender = p.Resolver.Rewrite(ctx, "local", env.Sender)
	w, err := p.Queue(time.Now())
	if err == nil {
		p.claim(s, env, w.ID())
		c := &content{out: w}
		if err = c.copy(p.received(s, w.ID()), m.Content()); err != nil {
			w.Abort()
		} else {
			err = w.Commit(ctx, env)
		}
	}
	if err != nil {
		p.Log.Warningf("%s/%s: %v", QueueName, s.name, err)
		return false
	}
	return true
}

// foreign tells whether an address is not ASCII.
func foreign(env *queue.Envelope) bool {
	if notASCII([]byte(env.Sender)) {
		return true
	}
	for i := range env.Recipients {
		if notASCII([]byte(env.Recipients[i].Address)) {
			return true
		}
	}
	return false
}

// notASCII tells whether text is UTF-8 but not ASCII.
func notASCII(b []byte) bool {
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return utf8.Valid(b)
		}
	}
	return false
}

// content copies the content of a message.
type content struct {
	out     io.Writer
	utf8    bool   // look for UTF-8 in the header
	foreign bool   // there is
	line    []byte // of the header, under way
	body    bool
}

// maxHeaderLine is how much of a line of the header is looked at.
const maxHeaderLine = 64 << 10

// copy writes the head, and the content behind it. If that begins with a blank, an
// empty line comes between them: it is no header then, least of all a part of ours.
func (c *content) copy(head []byte, in io.Reader) error {
	buf := make([]byte, 32<<10)
	first := true
	for {
		n, err := in.Read(buf)
		if n > 0 && first {
			first = false
			if buf[0] == ' ' || buf[0] == '\t' {
				head = append(head, "\r\n"...)
				c.body = true
			}
			if _, err := c.out.Write(head); err != nil {
				return err
			}
		}
		if n > 0 {
			c.look(buf[:n])
			if _, err := c.out.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if first {
		_, err := c.out.Write(head)
		return err
	}
	return nil
}

// look looks for UTF-8 in the lines of the header.
func (c *content) look(p []byte) {
	for _, b := range p {
		if c.body || !c.utf8 || c.foreign {
			return
		}
		if b != '\n' {
			if len(c.line) < maxHeaderLine {
				c.line = append(c.line, b)
			}
			continue
		}
		c.foreign = notASCII(c.line)
		c.body = len(c.line) <= 1 // the CR only
		c.line = c.line[:0]
	}
}

package local

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A forward is a message that will carry this one on: to results that have the same
// Delivered-To address and sender.
type forward struct {
	delivered, sender string
	envid             string
	ret               byte
	recipients        []queue.Recipient
}

// indirect makes an address a recipient of a new message.
func (d *delivery) indirect(s state) bool {
	if d.seen.before("indirect", s.address) {
		return false
	}
	if d.req.Verify {
		return d.sent(&s, "forwards to "+s.address)
	}
	f := d.forwardTo(&s)
	f.recipients = append(f.recipients, queue.Recipient{Address: s.address, Original: s.original, DSNOrcpt: s.orcpt, Notify: s.notify})
	return false
}

func (d *delivery) forwardTo(s *state) *forward {
	for _, f := range d.forwards {
		if f.delivered == s.delivered && f.sender == s.sender {
			return f
		}
	}
	f := &forward{delivered: s.delivered, sender: s.sender, envid: s.envid, ret: s.ret}
	d.forwards = append(d.forwards, f)
	return f
}

// finishForwards brings the new messages into the queue.
func (d *delivery) finishForwards(s *state) (again bool) {
	for _, f := range d.forwards {
		if again {
			break
		}
		again = d.send(s, f)
	}
	return again
}

// send queues one message. It is durable when send returns.
func (d *delivery) send(s *state, f *forward) (again bool) {
	m := d.req.Message
	out, err := d.Cleanup.Start(d.ctx, cleanup.Origin{Sender: f.sender, Local: m.RewriteContext == "local", Internal: true, Source: "forward"})
	if err != nil {
		return d.notForwarded(s, err)
	}
	id := out.ID()
	if err := d.write(out, f); err != nil {
		out.Abort()
		return d.notForwarded(s, err)
	}
	env := &queue.Envelope{
		Sender: f.sender, Recipients: f.recipients, Encoding: m.Encoding, SMTPUTF8: m.SMTPUTF8, Ret: f.ret, EnvID: f.envid,
		Client: m.Client, SASL: m.SASL, RewriteContext: m.RewriteContext,
	}
	env.Client.Port = ""
	if err := out.Finish(d.ctx, env); err != nil {
		return d.notForwarded(s, err)
	}
	// Success is reported of an alias or .forward file; of luser_relay, as with Postfix, by nobody.
	st := d.status(deliver.Delivered, "2.0.0", "forwarded as "+id)
	s.notify = withoutSuccess(s.notify)
	return d.part(s, st)
}

// write writes the content with the headers of a forwarded message.
func (d *delivery) write(out *cleanup.Message, f *forward) error {
	header := fmt.Sprintf("Received: by %s (%s)\r\n\tid %s; %s\r\n",
		d.core.Myhostname, d.core.MailName, out.ID(), mailDate(out.Arrival()))
	if d.prepends["forward"] {
		header += "Delivered-To: " + strings.ToLower(f.delivered) + "\r\n"
	}
	if _, err := io.WriteString(out, header); err != nil {
		return err
	}
	_, err := d.req.Content.WriteTo(out)
	return err
}

// mailDate is a date as Postfix writes it into headers.
func mailDate(t time.Time) string { return t.Format("Mon, _2 Jan 2006 15:04:05 -0700 (MST)") }

// notForwarded is for a message that cannot be queued: now, or ever. What never
// will be (too many hops) is returned to the sender.
func (d *delivery) notForwarded(s *state, err error) bool {
	var reply smtp.Reply
	if errors.As(err, &reply) && reply.Code >= 500 {
		return d.bounces(s, reply.Enhanced.String(), strings.TrimPrefix(reply.Text, "Error: "))
	}
	d.warnf("%s: forward: %v", d.req.Message.ID, err)
	return d.defers(s, "4.3.0", "unable to forward message")
}

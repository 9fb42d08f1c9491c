package takeover

import (
	"io/fs"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// A letter is one message on its way from Postfix's queue to ours.
type letter struct {
	f       *found
	info    fs.FileInfo
	msg     *queuefile.Message
	entries [3][]queuefile.Entry // by logNames
	logs    []string             // their paths

	id   string
	env  queue.Envelope
	past queue.Past
}

// makeEnvelope fills env and past. It reports false if nothing is left to do for
// the message.
func (in *letter) makeEnvelope() bool {
	m := in.msg
	in.env = queue.Envelope{
		Sender: m.Sender, FullName: m.FullName, Encoding: m.Encoding,
		SMTPUTF8: m.Size.Options&queuefile.UTF8Requested != 0, Ret: byte(m.Ret), EnvID: m.EnvID,
		Client: client(m), SASL: queue.SASL{
			Method: m.Attribute(queuefile.AttrSASLMech), Username: m.Attribute(queuefile.AttrSASLUser), Sender: m.Attribute(queuefile.AttrSASLFrom),
		},
		RewriteContext: m.Context, VERP: m.VERP, Filter: m.Filter,
		Verify: m.Trace&queuefile.TraceProbe != 0, Trace: trace(m.Trace),
		Hold: in.f.queue == "hold", Arrival: m.Arrival,
	}
	if in.env.RewriteContext == "" {
		in.env.RewriteContext = "local"
	}
	in.past = queue.Past{
		Queued: m.Created, Next: in.due(time.Now()),
		// Without a time for the warning none was wanted.
		Warned: m.Warn <= 0, Expired: in.info.Mode()&modeExpired != 0,
	}
	if m.Created.IsZero() {
		in.past.Queued = m.Arrival
	}
	return in.recipients()
}

// client is where the message came from, as far as the log is concerned.
func client(m *queuefile.Message) queue.Client {
	attr := m.Attribute
	c := queue.Client{
		Name: attr(queuefile.AttrLogName), Addr: attr(queuefile.AttrLogAddr), Port: attr(queuefile.AttrLogPort),
		Proto: attr(queuefile.AttrLogProto), Helo: attr(queuefile.AttrLogHelo),
	}
	if c == (queue.Client{}) {
		c = queue.Client{
			Name: attr(queuefile.AttrName), Addr: attr(queuefile.AttrAddr), Port: attr(queuefile.AttrPort),
			Proto: attr(queuefile.AttrProto), Helo: attr(queuefile.AttrHelo),
		}
	}
	c.Addr = strings.TrimPrefix(c.Addr, ipv6Prefix)
	return c
}

// ipv6Prefix is before IPv6 addresses in queue files.
const ipv6Prefix = "IPv6:"

func trace(flags int) byte {
	switch {
	case flags&queuefile.TraceVerify != 0:
		return queue.TraceVerify
	case flags&queuefile.TraceRecord != 0:
		return queue.TraceRecord
	}
	return 0
}

// recipients takes the recipients and what is known of each. It reports false if
// nothing is left to do for any.
func (in *letter) recipients() bool {
	m := in.msg
	redirected := false
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.Type == queuefile.TypeCanceled {
			continue
		}
		o := in.outcome(r)
		addr := r.Address
		if m.Redirect != "" && o.State == queue.Pending {
			if redirected {
				continue // the queue manager delivers to one only
			}
			addr, redirected = m.Redirect, true
		}
		in.add(addr, r.Original, r.Orcpt, r.Notify, o)
	}
	// A report about an address that the file does not have is sent all the same.
	for i := range in.entries[1] {
		if e := &in.entries[1][i]; !in.about(e) {
			in.add(e.Recipient, e.Original, e.Orcpt, e.Notify, outcome(e, queue.Failed, "failed"))
		}
	}
	left := false
	for i := range in.past.Outcomes {
		left = left || in.past.Outcomes[i].State != queue.Done
	}
	return left
}

func (in *letter) add(addr, original, orcpt string, notify int, o queue.Outcome) {
	if original == "" {
		original = addr
	}
	in.env.Recipients = append(in.env.Recipients, queue.Recipient{
		Address: addr, Original: original, DSNOrcpt: orcpt, Notify: uint8(notify),
	})
	in.past.Outcomes = append(in.past.Outcomes, o)
}

// outcome is what is known of a recipient.
func (in *letter) outcome(r *queuefile.Recipient) queue.Outcome {
	if r.Type == queuefile.TypeRecipient {
		if e := find(in.entries[0], r); e != nil {
			return outcome(e, queue.Pending, "delayed")
		}
		return queue.Outcome{}
	}
	if e := find(in.entries[1], r); e != nil {
		return outcome(e, queue.Failed, "failed")
	}
	if e := find(in.entries[2], r); e != nil && r.Notify&queuefile.NotifySuccess != 0 {
		return outcome(e, queue.Delivered, "delivered")
	}
	return queue.Outcome{State: queue.Done}
}

// find returns the last entry about a recipient.
func find(entries []queuefile.Entry, r *queuefile.Recipient) *queuefile.Entry {
	var last *queuefile.Entry
	for i := range entries {
		if matches(&entries[i], r) {
			last = &entries[i]
		}
	}
	return last
}

// matches says whether an entry is about a recipient. One with an offset is
// about the record there and no other of the same address.
func matches(e *queuefile.Entry, r *queuefile.Recipient) bool {
	return e.Recipient == r.Address && (e.Offset == 0 || e.Offset == r.Offset)
}

// about says whether the file has the recipient of an entry.
func (in *letter) about(e *queuefile.Entry) bool {
	for i := range in.msg.Recipients {
		if matches(e, &in.msg.Recipients[i]) {
			return true
		}
	}
	return false
}

func outcome(e *queuefile.Entry, state queue.State, action string) queue.Outcome {
	o := queue.Outcome{State: state, Action: action, DSN: e.Status, Text: e.Reason}
	if e.Action != "" {
		o.Action = e.Action
	}
	if o.DSN == "" {
		o.DSN = map[queue.State]string{queue.Pending: "4.0.0", queue.Failed: "5.0.0", queue.Delivered: "2.0.0"}[state]
	}
	if e.MTAType != "" && e.MTAName != "" {
		o.RemoteMTA = e.MTAType + "; " + e.MTAName
	}
	if e.DiagType != "" && e.DiagText != "" {
		o.RemoteCode = e.DiagType + "; " + e.DiagText
	}
	return o
}

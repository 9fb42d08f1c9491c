package doveadm

import (
	"context"
	"encoding/hex"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A statusField is one of the fields of "mailbox status".
type statusField struct {
	name  string
	total bool // -t can add it up
	get   func(s *boxStatus) string
	sum   func(s *boxStatus) int64
}

// statusFields are all, in the order of the output.
var statusFields = []statusField{
	counted("messages", func(s *boxStatus) int64 { return int64(s.counts.Messages) }),
	counted("recent", func(s *boxStatus) int64 { return int64(s.counts.Recent) }),
	{name: "uidnext", get: func(s *boxStatus) string { return itoa(s.snap.UIDNext()) }},
	{name: "uidvalidity", get: func(s *boxStatus) string { return itoa(s.snap.UIDValidity()) }},
	counted("unseen", func(s *boxStatus) int64 { return int64(s.counts.Unseen) }),
	{name: "highestmodseq", get: func(s *boxStatus) string { return itoa(s.snap.HighestModSeq()) }},
	counted("vsize", func(s *boxStatus) int64 { return s.virtual }),
	{name: "guid", get: func(s *boxStatus) string { return hex.EncodeToString(s.guid[:]) }},
	{name: "firstsaved", get: func(s *boxStatus) string { return s.firstSaved }},
}

func counted(name string, get func(s *boxStatus) int64) statusField {
	return statusField{name: name, total: true, sum: get, get: func(s *boxStatus) string { return itoa(get(s)) }}
}

// A boxStatus is what is known of a mailbox.
type boxStatus struct {
	snap       *mailbox.Snapshot
	counts     mailbox.Counts
	guid       [16]byte
	virtual    int64
	firstSaved string
}

// A statusChoice is the fields that were asked for.
type statusChoice struct {
	fields []statusField
	has    map[string]bool
}

func parseStatusFields(names []string, total bool) (*statusChoice, error) {
	c := &statusChoice{has: make(map[string]bool)}
	if len(names) == 0 {
		return nil, fatalf(exUsage, "No status fields")
	}
	for _, name := range names {
		known := name == "all"
		for i := range statusFields {
			f := &statusFields[i]
			switch {
			case name == "all" && (f.total || !total):
				c.has[f.name] = true
			case name == f.name && total && !f.total:
				return nil, fatalf(exUsage, "Status field %s can't be used with -t", name)
			case name == f.name:
				known = true
				c.has[name] = true
			}
		}
		if !known {
			return nil, fatalf(exUsage, "Unknown status field: %s", name)
		}
	}
	for _, f := range statusFields {
		if c.has[f.name] {
			c.fields = append(c.fields, f)
		}
	}
	return c, nil
}

func prepareMailboxStatus(in *invocation) (runFunc, error) {
	words, masks := in.fields()
	masks = append(masks, in.array("mailbox-mask")...)
	if words == nil || len(masks) == 0 {
		return nil, errUsage
	}
	total := in.set("total-sum")
	c, err := parseStatusFields(words, total)
	if err != nil {
		return nil, err
	}
	q, err := mailboxQuery(masks)
	if err != nil {
		return nil, err
	}
	if !total {
		in.column("mailbox", hidden)
	}
	for _, f := range c.fields {
		in.column(f.name, 0)
	}
	return func(ctx context.Context, u *mailUser) error {
		if total {
			return u.totalStatus(ctx, q, c)
		}
		return u.eachStatus(ctx, q, c, func(name string, s *boxStatus) {
			u.print(name)
			for _, f := range c.fields {
				u.print(f.get(s))
			}
		})
	}, nil
}

// fields returns the fields that a command is asked for: the words of its first
// argument, or those given by an option, which makes the first argument one of
// the others.
func (in *invocation) fields() (words, others []string) {
	first, hasFirst := in.text("fieldstr")
	if in.set("field") {
		if hasFirst {
			others = []string{first}
		}
		return strings.Fields(strings.Join(in.array("field"), " ")), others
	}
	if !hasFirst {
		return nil, nil
	}
	return append([]string{}, strings.FieldsFunc(first, func(r rune) bool { return r == ' ' })...), nil
}

// eachStatus calls fn with the status of each mailbox. A mailbox that fails is
// reported.
func (u *mailUser) eachStatus(ctx context.Context, q *query, c *statusChoice, fn func(name string, s *boxStatus)) error {
	names, err := u.mailboxes(ctx, q, 0)
	if err != nil {
		return err
	}
	for _, name := range names {
		s, err := u.status(ctx, name, c)
		if err != nil {
			u.report(failed(err, "Mailbox %s: Failed to lookup mailbox status", name))
			continue
		}
		fn(name, s)
	}
	return nil
}

func (u *mailUser) totalStatus(ctx context.Context, q *query, c *statusChoice) error {
	sums := make([]int64, len(c.fields))
	err := u.eachStatus(ctx, q, c, func(_ string, s *boxStatus) {
		for i, f := range c.fields {
			sums[i] += f.sum(s)
		}
	})
	for _, n := range sums {
		u.print(itoa(n))
	}
	return err
}

// status reads what is asked of a mailbox.
func (u *mailUser) status(ctx context.Context, name string, c *statusChoice) (*boxStatus, error) {
	b, err := u.openBox(ctx, name)
	if err != nil {
		return nil, err
	}
	defer b.Close() //nolint:errcheck // nothing is written at the end
	s := &boxStatus{snap: b.snap, counts: b.snap.Counts(), guid: b.GUID(), firstSaved: "never"}
	if c.has["vsize"] {
		if s.virtual, err = b.virtualSize(); err != nil {
			return nil, err
		}
	}
	if c.has["firstsaved"] && b.snap.Len() > 0 {
		msg, err := b.Message(b.snap.UID(0))
		if err != nil {
			return nil, err
		}
		saved, err := msg.Saved()
		if err != nil {
			return nil, err
		}
		s.firstSaved = itoa(saved.Unix())
	}
	return s, nil
}

// virtualSize adds up the sizes of all messages.
func (b *box) virtualSize() (sum int64, err error) {
	for i := range b.snap.Len() {
		size, ok := b.snap.VirtualSize(i)
		if !ok {
			msg, err := b.Message(b.snap.UID(i))
			if err == nil {
				size, err = msg.VirtualSize()
			}
			if err != nil {
				return 0, err
			}
		}
		sum += size
	}
	return sum, nil
}

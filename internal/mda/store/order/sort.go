package order

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A By is one sort criterion.
type By uint8

// The criteria of RFC 5256, and of RFC 5957.
const (
	Arrival By = iota
	Cc
	Date
	From
	Size
	Subject
	To
	DisplayFrom
	DisplayTo
)

// A Key is a criterion and its direction.
type Key struct {
	By      By
	Reverse bool
}

// Sort sorts uids, which ascend, of messages of m by the keys. Messages for which all keys are
// equal stay in this order, whatever the direction. A message that is gone has empty keys.
// Only where a key does not decide is the next one looked up.
func Sort(ctx context.Context, m *mailbox.Mailbox, uids []uint32, keys []Key) error {
	s := sorter{ctx: ctx, m: m}
	return s.sort(uids, keys)
}

type sorter struct {
	ctx    context.Context
	m      *mailbox.Mailbox
	header []byte // scratch
}

// An entry is a message with the value of one key.
type entry struct {
	uid    uint32
	number int64
	text   []byte
}

func (e *entry) compare(f *entry) int {
	if c := cmp.Compare(e.number, f.number); c != 0 {
		return c
	}
	return bytes.Compare(e.text, f.text)
}

func (s *sorter) sort(uids []uint32, keys []Key) error {
	if len(keys) == 0 || len(uids) < 2 {
		return nil
	}
	entries := make([]entry, len(uids))
	var texts []byte // of all entries, so that they are not allocated one by one
	for i, uid := range uids {
		if err := s.ctx.Err(); err != nil {
			return err
		}
		e := &entries[i]
		e.uid = uid
		from := len(texts)
		var err error
		if texts, err = s.value(e, keys[0].By, texts); err != nil && !errors.Is(err, mailbox.ErrExpunged) {
			return err
		}
		e.text = texts[from:len(texts):len(texts)]
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		if keys[0].Reverse {
			return b.compare(&a)
		}
		return a.compare(&b)
	})
	for i := range entries {
		uids[i] = entries[i].uid
	}
	for i := 0; i < len(entries); {
		end := i + 1
		for end < len(entries) && entries[i].compare(&entries[end]) == 0 {
			end++
		}
		if err := s.sort(uids[i:end], keys[1:]); err != nil {
			return err
		}
		i = end
	}
	return nil
}

// value finds the value of e for a criterion. A text is appended to b.
func (s *sorter) value(e *entry, by By, b []byte) ([]byte, error) {
	msg, err := s.m.Message(e.uid)
	if err != nil {
		return b, err
	}
	switch by {
	case Arrival:
		e.number, err = arrival(msg)
	case Date:
		e.number, err = s.sent(msg)
	case Size:
		e.number, err = msg.VirtualSize()
	default:
		return s.text(msg, by, b)
	}
	return b, err
}

func arrival(msg *mailbox.Message) (int64, error) {
	t, err := msg.Received()
	return t.Unix(), err
}

// sent returns the date of the Date field or, where that is missing, of arrival
// (RFC 5256 2.2).
func (s *sorter) sent(msg *mailbox.Message) (int64, error) {
	t, ok, err := msg.SentDate(s.ctx)
	if err != nil {
		return 0, err
	}
	if n := t.Unix(); ok && n != 0 {
		return n, nil
	}
	return arrival(msg)
}

// text appends the text of a field as it is compared.
func (s *sorter) text(msg *mailbox.Message, by By, b []byte) ([]byte, error) {
	value, err := s.field(msg, by.field())
	if err != nil {
		return b, err
	}
	switch by {
	case Subject:
		base, _ := message.BaseSubject(string(value))
		return append(b, base...), nil
	case DisplayFrom, DisplayTo:
		return message.AppendCasemap(b, displayName(value)), nil
	}
	if list := message.ParseAddresses(value, 1); len(list) > 0 {
		b = message.AppendCasemap(b, []byte(list[0].Mailbox))
	}
	return b, nil
}

func (by By) field() string {
	switch by {
	case Cc:
		return "Cc"
	case From, DisplayFrom:
		return "From"
	case To, DisplayTo:
		return "To"
	}
	return "Subject"
}

// field returns the unfolded value of the first field with the name, nil if
// there is none.
func (s *sorter) field(msg *mailbox.Message, name string) (value []byte, err error) {
	if s.header, err = msg.AppendFields(s.ctx, s.header[:0], []string{name}); err != nil {
		return nil, err
	}
	h := message.NewHeaderReader(bytes.NewReader(s.header), len(s.header)+1)
	if f, ok := h.Next(); ok && len(f.Name) > 0 {
		return message.AppendUnfolded(nil, f.Value()), nil
	}
	return nil, h.Err()
}

// displayName returns the name of the first address or, without one, the address
// (RFC 5957 3).
func displayName(value []byte) []byte {
	list := message.ParseAddresses(value, 1)
	if len(list) == 0 {
		return nil
	}
	a := &list[0]
	if name := message.DecodeHeader(nil, []byte(a.Name)); len(name) > 0 {
		return name
	}
	if a.Domain == "" {
		return []byte(a.Mailbox)
	}
	return []byte(a.Mailbox + "@" + a.Domain)
}

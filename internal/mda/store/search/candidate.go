package search

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A candidate is a message that the index alone does not decide. What is read of
// it is kept until the query is answered.
type candidate struct {
	s         *searcher
	ctx       context.Context
	m         *mailbox.Mailbox
	i         int
	msg       *mailbox.Message
	body      mailbox.Body
	structure *message.Structure
}

func (c *candidate) close() {
	if c.body != nil {
		c.body.Close()
	}
}

func (c *candidate) message() (*mailbox.Message, error) {
	if c.msg != nil {
		return c.msg, nil
	}
	var err error
	c.msg, err = c.m.Message(c.s.snap.UID(c.i))
	return c.msg, err
}

// match evaluates the query, of which the index has not decided everything.
func (c *candidate) match(q *query) (bool, error) {
	if t := q.index(c.s, c.i); t != unknown {
		return t == yes, nil
	}
	matched, err := c.matched(q)
	return matched != q.Not, err
}

func (c *candidate) matched(q *query) (bool, error) {
	switch q.Op {
	case And, Or:
		return c.combined(q)
	case Larger, Smaller:
		return c.size(q)
	case Before, On, Since, Older, Younger:
		return c.date(q, (*mailbox.Message).Received)
	case SavedBefore, SavedOn, SavedSince:
		return c.date(q, (*mailbox.Message).Saved)
	case SentBefore, SentOn, SentSince:
		return c.sent(q)
	case GUID:
		msg, err := c.message()
		if err != nil {
			return false, err
		}
		guid, err := msg.GUID()
		return guid == q.Text, err
	case HasEmailID, HasThreadID:
		return c.objectID(q)
	case Header:
		return c.header(q)
	case Body, TextOp:
		return c.text(q)
	case MIMEPart:
		return c.part(q)
	}
	return false, nil
}

// combined evaluates the subqueries, those first that read little.
func (c *candidate) combined(q *query) (bool, error) {
	stop := q.Op == Or
	for _, expensive := range [...]bool{false, true} {
		for _, sub := range q.subs {
			if sub.readsText() != expensive {
				continue
			}
			matched, err := c.match(sub)
			if err != nil || matched == stop {
				return stop, err
			}
		}
	}
	return !stop, nil
}

// readsText reports whether a query may have to read the whole message.
func (q *query) readsText() bool {
	if q.Op == Body || q.Op == TextOp {
		return true
	}
	for _, sub := range q.subs {
		if sub.readsText() {
			return true
		}
	}
	return false
}

func (c *candidate) size(q *query) (bool, error) {
	msg, err := c.message()
	if err != nil {
		return false, err
	}
	size, err := msg.VirtualSize()
	if q.Op == Larger {
		return size > q.Size, err
	}
	return size < q.Size, err
}

// date compares a date of the message in the server's zone.
func (c *candidate) date(q *query, get func(*mailbox.Message) (time.Time, error)) (bool, error) {
	msg, err := c.message()
	if err != nil {
		return false, err
	}
	t, err := get(msg)
	if err != nil {
		return false, err
	}
	switch q.Op {
	case Older:
		return !t.After(c.s.env.Now.Add(-time.Duration(q.Seconds) * time.Second)), nil
	case Younger:
		return t.After(c.s.env.Now.Add(-time.Duration(q.Seconds) * time.Second)), nil
	}
	return onDay(q, t.In(c.s.env.Location)), nil
}

// sent compares the Date field in the zone that it names (RFC 3501 6.4.4). As in
// Dovecot, a message without a valid one was sent in 1970.
func (c *candidate) sent(q *query) (bool, error) {
	msg, err := c.message()
	if err != nil {
		return false, err
	}
	t, ok, err := msg.SentDate(c.ctx)
	if err != nil {
		return false, err
	}
	if !ok {
		t = time.Unix(0, 0).UTC()
	}
	return onDay(q, t), nil
}

// onDay compares the day of t with the query's, or the moments.
func onDay(q *query, t time.Time) bool {
	order := cmp.Compare(dayNumber(t), dayNumber(q.Date))
	if q.Instant {
		order = t.Compare(q.Date)
		if order > 0 && t.Before(q.Date.Add(24*time.Hour)) {
			order = 0
		}
	}
	switch q.Op {
	case Before, SentBefore, SavedBefore:
		return order < 0
	case On, SentOn, SavedOn:
		return order == 0
	}
	return order >= 0
}

func dayNumber(t time.Time) int {
	year, month, day := t.Date()
	return (year*12+int(month))*31 + day
}

func (c *candidate) parsed() (*message.Structure, error) {
	if c.structure != nil {
		return c.structure, nil
	}
	msg, err := c.message()
	if err != nil {
		return nil, err
	}
	c.structure, err = msg.Structure(c.ctx)
	return c.structure, err
}

func (c *candidate) open() (mailbox.Body, error) {
	if c.body != nil {
		return c.body, nil
	}
	msg, err := c.message()
	if err != nil {
		return nil, err
	}
	c.body, err = msg.Open()
	return c.body, err
}

// header looks for a field.
func (c *candidate) header(q *query) (bool, error) {
	msg, err := c.message()
	if err != nil {
		return false, err
	}
	if c.s.fields, err = msg.AppendFields(c.ctx, c.s.fields[:0], []string{q.Field}); err != nil {
		return false, err
	}
	found := false
	err = eachField(c.s.fields, func(f *message.Field) bool {
		found = strings.EqualFold(string(f.Name), q.Field) &&
			(q.Text == "" || q.needle.in(decoded(f.Value()), &c.s.scratch))
		return !found
	})
	return found, err
}

// decoded returns a field's value as UTF-8.
func decoded(value []byte) []byte {
	return message.DecodeHeader(nil, message.AppendUnfolded(nil, value))
}

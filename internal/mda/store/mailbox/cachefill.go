package mailbox

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// FillCache adds to the cache what it lacks by its decisions: of all messages what clients
// without a cache of their own want, of those of the last week what others do.
func (m *Mailbox) FillCache(ctx context.Context) error {
	s, err := m.Sync(ctx)
	if err != nil {
		return err
	}
	defer m.CommitCache(ctx)
	for i := range s.Len() {
		if err := ctx.Err(); err != nil {
			return err
		}
		msg := &Message{b: m.b, m: m, uid: s.UID(i), st: s.st, i: i}
		if err := msg.fillCache(ctx); err != nil && !errors.Is(err, ErrExpunged) {
			return err
		}
	}
	return nil
}

// fillCache computes what is wanted of the message and missing.
func (msg *Message) fillCache(ctx context.Context) error {
	if !msg.b.cacheable(msg.st) {
		return nil
	}
	v := msg.builder()
	if v.plan.Empty() {
		return nil
	}
	if !msg.described(v) {
		s, err := msg.Structure(ctx)
		if err != nil {
			return err
		}
		v.structure(s, -1)
	}
	if err := msg.fillFromHeader(v); err != nil {
		return err
	}
	if err := msg.fillFromDetails(v); err != nil {
		return err
	}
	msg.b.add(msg.uid, v.b)
	return nil
}

// described tells whether all that is wanted of the structure is cached.
func (msg *Message) described(v *valueBuilder) bool {
	if v.wants(cache.Flags) || v.wants(cache.Parts) {
		return false
	}
	if !v.wants(cache.BodyStructure) && (!v.wants(cache.Body) || !v.missing(cache.BodyStructure)) {
		return true
	}
	_, plain := msg.plainText()
	return plain
}

func (msg *Message) fillFromHeader(v *valueBuilder) error {
	var fields []cache.HeaderField
	for _, f := range v.plan.Headers {
		if v.missing(f.ID) {
			fields = append(fields, f)
		}
	}
	if len(fields) == 0 && !v.wants(cache.Envelope) && !v.wants(cache.SentDate) {
		return nil
	}
	header, err := msg.readHeader()
	if err != nil {
		return err
	}
	v.headers(header, fields)
	p := message.NewParser(message.Limits{})
	p.Write(header) //nolint:errcheck // it never fails
	s, _ := p.Close()
	if v.wants(cache.Envelope) {
		v.put(cache.Envelope, inner(s.AppendEnvelope(nil)))
	}
	if v.wants(cache.SentDate) {
		v.sentDate(s)
	}
	return nil
}

func (msg *Message) fillFromDetails(v *valueBuilder) error {
	if !v.wants(cache.ReceivedDate) && !v.wants(cache.SaveDate) && !v.wants(cache.GUID) && !v.wants(cache.PhysicalSize) {
		return nil
	}
	d, err := msg.details()
	if err != nil {
		return err
	}
	if v.wants(cache.ReceivedDate) {
		v.putU32(cache.ReceivedDate, d.Received.Unix())
	}
	if v.wants(cache.SaveDate) && msg.b.loc.Format != "mdbox" {
		v.putU32(cache.SaveDate, d.Saved.Unix())
	}
	if v.wants(cache.GUID) {
		v.put(cache.GUID, []byte(d.GUID))
	}
	if v.wants(cache.PhysicalSize) {
		v.putU64(cache.PhysicalSize, d.Physical)
	}
	return nil
}

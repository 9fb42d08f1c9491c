package mailbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A sessionView is what a handle looks up in the cache: which messages a session asks for
// in which order decides what is cached.
type sessionView struct {
	*cache.View
}

// withValues calls fn with what is cached of the message. It must not keep it.
func (msg *Message) withValues(fn func(v *cache.View)) {
	msg.withView(func(v *cache.View) {
		st := msg.st
		seq, ext := cacheAt(st)
		v.Load(st.Hdr.IndexID(), seq, binaryU32(st.ExtRecord(msg.i, ext)))
		fn(v)
	})
}

// withView calls fn with the session's view of the cache, which may be at another message.
func (msg *Message) withView(fn func(v *cache.View)) {
	m := msg.m
	if m == nil {
		return
	}
	m.viewMu.Lock()
	defer m.viewMu.Unlock()
	if m.view.View == nil {
		m.view.View = m.b.values.View()
	}
	fn(m.view.View)
}

// lookup calls fn with the cached value of a field. It is false if there is none, or fn
// could not use it.
func (msg *Message) lookup(id cache.ID, fn func(data []byte) bool) (ok bool) {
	bad := false
	msg.withValues(func(v *cache.View) {
		data, found := v.Get(id, msg.uid, msg.st.Hdr.FirstNewUID())
		ok = found && fn(data)
		bad = found && !ok
	})
	if bad {
		msg.b.forgetCached(msg.uid, "invalid value")
		msg.reload()
	}
	return ok
}

// reload makes the message one of the newest state.
func (msg *Message) reload() {
	if s := msg.b.snap.Load(); s != nil {
		if i, ok := s.Find(msg.uid); ok {
			msg.st, msg.i = s.st, i
		}
	}
}

// lookupU32 returns a cached number.
func (msg *Message) lookupU32(id cache.ID) (n uint32, ok bool) {
	ok = msg.lookup(id, func(data []byte) bool {
		n = binary.LittleEndian.Uint32(data)
		return true
	})
	return n, ok
}

func (msg *Message) lookupU64(id cache.ID) (n int64, ok bool) {
	ok = msg.lookup(id, func(data []byte) bool {
		n = int64(binary.LittleEndian.Uint64(data))
		return n >= 0
	})
	return n, ok
}

// isNew tells whether the message is of the last week.
func (msg *Message) isNew() bool { return msg.uid >= msg.st.Hdr.FirstNewUID() }

// caches tells whether values of the message that were asked for may be cached.
func (msg *Message) caches(id cache.ID) bool {
	return msg.m != nil && msg.b.cacheable(msg.st) && msg.b.values.Accepts(id)
}

// addU32 caches a number that was asked for.
func (msg *Message) addU32(id cache.ID, n int64) {
	if n >= 0 && n <= math.MaxUint32 {
		msg.addValue(id, binary.LittleEndian.AppendUint32(nil, uint32(n)))
	}
}

// addValue caches a value that was asked for.
func (msg *Message) addValue(id cache.ID, data []byte) {
	if msg.caches(id) {
		msg.b.add(msg.uid, msg.b.values.AppendValue(nil, id, data))
	}
}

// builder returns one for values that are missing.
func (msg *Message) builder() *valueBuilder {
	st := msg.st
	seq, _ := cacheAt(st)
	return &valueBuilder{
		c:    msg.b.values.Cache,
		plan: msg.b.values.Plan(st.Hdr.IndexID(), seq, msg.isNew()),
		has: func(id cache.ID) (has bool) {
			msg.withValues(func(v *cache.View) { has = v.Has(id) })
			return has
		},
	}
}

func (msg *Message) envelope(ctx context.Context, b []byte) ([]byte, error) {
	from := len(b)
	if msg.lookup(cache.Envelope, func(data []byte) bool {
		b = append(append(append(b, '('), data...), ')')
		return validList(b[from:])
	}) {
		return b, nil
	}
	b = b[:from]
	if s := msg.parsed(); s != nil && !msg.caches(cache.Envelope) {
		return s.AppendEnvelope(b), nil
	}
	header, err := msg.AppendFields(ctx, nil, envelopeFields)
	if err != nil {
		return b, err
	}
	s, err := message.Parse(bytes.NewReader(header), message.Limits{})
	if err != nil {
		return b, err
	}
	b = s.AppendEnvelope(b)
	msg.addValue(cache.Envelope, inner(b[from:]))
	return b, nil
}

// envelopeFields are what ENVELOPE is made of.
var envelopeFields = []string{
	"Date", "Subject", "From", "Sender", "Reply-To", "To", "Cc", "Bcc", "In-Reply-To", "Message-ID",
}

func (msg *Message) bodyStructure(ctx context.Context, b []byte) ([]byte, error) {
	if s, ok := msg.plainText(); ok {
		return appendPlain(b, s, true), nil
	}
	from := len(b)
	if msg.lookup(cache.BodyStructure, func(data []byte) bool {
		b = append(append(append(b, '('), data...), ')')
		return validList(b[from:])
	}) {
		return b, nil
	}
	s, err := msg.parse(ctx, cache.BodyStructure)
	if err != nil {
		return b[:from], err
	}
	return s.AppendBodyStructure(b[:from]), nil
}

func (msg *Message) body(ctx context.Context, b []byte) ([]byte, error) {
	if s, ok := msg.plainText(); ok {
		return appendPlain(b, s, false), nil
	}
	from := len(b)
	if msg.lookup(cache.Body, func(data []byte) bool {
		b = append(append(append(b, '('), data...), ')')
		return validList(b[from:])
	}) {
		return b, nil
	}
	understood := false
	if msg.lookup(cache.BodyStructure, func(data []byte) bool {
		b, understood = appendBodyOf(b[:from], data)
		return true
	}) && understood {
		return b, nil
	}
	s, err := msg.parse(ctx, cache.Body)
	if err != nil {
		return b[:from], err
	}
	return s.AppendBody(b[:from]), nil
}

// plainText returns the parts of a message that was found to be of one plain part.
func (msg *Message) plainText() (*message.Structure, bool) {
	flags, ok := msg.lookupU32(cache.Flags)
	if !ok || flags&cache.PlainText == 0 {
		return nil, false
	}
	return msg.cachedParts()
}

// cachedParts returns the structure that is cached. It has no field values.
func (msg *Message) cachedParts() (s *message.Structure, ok bool) {
	ok = msg.lookup(cache.Parts, func(data []byte) bool {
		var err error
		s, err = message.ParseParts(data)
		return err == nil && validPart(&s.Root)
	})
	return s, ok
}

// validPart tells whether parts lie inside each other.
func validPart(p *message.Part) bool {
	at, end := p.BodyOffset(), p.BodyOffset()+p.Body.Physical
	if p.Offset < 0 || at < 0 || end < at {
		return false
	}
	for _, child := range p.Children {
		if child.Offset < at || child.BodyOffset() < child.Offset || child.BodyOffset()+child.Body.Physical > end || !validPart(child) {
			return false
		}
		at = child.Offset
	}
	return true
}

// Parts returns where the parts of the message are, of which body is the text. It has no field
// values.
func (msg *Message) Parts(ctx context.Context, body Body) (*message.Structure, error) {
	if s := msg.parsed(); s != nil {
		return s, nil
	}
	if s, ok := msg.cachedParts(); ok {
		if s.PhysicalSize() == body.Size() {
			return s, nil
		}
		msg.b.forgetCached(msg.uid, "mime.parts of a message of another size")
		msg.reload()
	}
	return msg.parse(ctx, cache.Parts)
}

// parse parses the message because of a field, and caches what is wanted of it.
func (msg *Message) parse(ctx context.Context, asked cache.ID) (*message.Structure, error) {
	s, err := msg.Structure(ctx)
	if err != nil || msg.m == nil || !msg.b.cacheable(msg.st) {
		return s, err
	}
	v := msg.builder()
	v.structure(s, asked)
	if v.wants(cache.SentDate) {
		v.sentDate(s)
	}
	msg.b.add(msg.uid, v.b)
	return s, nil
}

// parsed returns the structure if the message was parsed lately.
func (msg *Message) parsed() *message.Structure { return msg.b.pool.cache.structure(msg.b, msg.uid) }

// SentDate returns the time of the Date field with its zone. It is false if there is no
// valid one.
func (msg *Message) SentDate(ctx context.Context) (t time.Time, ok bool, err error) {
	if msg.lookup(cache.SentDate, func(data []byte) bool {
		t, ok = decodeSentDate(data)
		return true
	}) {
		return t, ok, nil
	}
	s := msg.parsed()
	if s == nil {
		header, err := msg.AppendFields(ctx, nil, []string{"Date"})
		if err != nil {
			return t, false, err
		}
		if s, err = message.Parse(bytes.NewReader(header), message.Limits{}); err != nil {
			return t, false, err
		}
	}
	if msg.caches(cache.SentDate) {
		v := valueBuilder{c: msg.b.values.Cache}
		v.sentDate(s)
		msg.b.add(msg.uid, v.b)
	}
	t, ok = s.Date()
	return t, ok, nil
}

// cacheOffsets tells how many of the messages have something in the cache.
func cacheOffsets(st *index.State, uids []index.Expunged) (n int) {
	_, ext := cacheAt(st)
	for k := range uids {
		if i, ok := st.Find(uids[k].UID); ok && binaryU32(st.ExtRecord(i, ext)) != 0 {
			n++
		}
	}
	return n
}

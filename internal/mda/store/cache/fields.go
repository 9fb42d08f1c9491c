package cache

import (
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// An ID names a field in this process; the number of a field in a file is another.
type ID int

// The fields of Dovecot. All others are header fields; see [Cache.Header].
const (
	Flags ID = iota
	SentDate
	ReceivedDate
	SaveDate
	VirtualSize
	PhysicalSize
	Body
	BodyStructure
	Envelope
	POP3UIDL
	POP3Order
	GUID
	Parts
	BinaryParts
	Snippet

	firstHeader
)

// Bits of the field [Flags].
const (
	BinaryHeader = 0x01 // no line of the header ends in a bare LF
	BinaryBody   = 0x02
	HasNULs      = 0x04
	PlainText    = 0x10 // one part text/plain, 7bit, us-ascii, described by mime.parts alone
	NoNULs       = 0x20
)

var standard = [firstHeader]Field{
	Flags:         {Name: "flags", Kind: Bitmask, Size: 4},
	SentDate:      {Name: "date.sent", Kind: Fixed, Size: 8},
	ReceivedDate:  {Name: "date.received", Kind: Fixed, Size: 4},
	SaveDate:      {Name: "date.save", Kind: Fixed, Size: 4},
	VirtualSize:   {Name: "size.virtual", Kind: Fixed, Size: 8},
	PhysicalSize:  {Name: "size.physical", Kind: Fixed, Size: 8},
	Body:          {Name: "imap.body", Kind: String, Size: variable},
	BodyStructure: {Name: "imap.bodystructure", Kind: String, Size: variable},
	Envelope:      {Name: "imap.envelope", Kind: String, Size: variable},
	POP3UIDL:      {Name: "pop3.uidl", Kind: String, Size: variable},
	POP3Order:     {Name: "pop3.order", Kind: Fixed, Size: 4},
	GUID:          {Name: "guid", Kind: String, Size: variable},
	Parts:         {Name: "mime.parts", Kind: Variable, Size: variable},
	BinaryParts:   {Name: "binary.parts", Kind: Variable, Size: variable},
	Snippet:       {Name: "body.snippet", Kind: Variable, Size: variable},
}

const headerPrefix = "hdr."

// A known field is one that this process, a setting or a file has spoken of.
type known struct {
	Field
	forced bool // by a setting
	dirty  bool // what was decided here is not in the file yet

	foreign bool // of a plugin: it is kept, and nothing else
}

// A start is what is known before anything was read: what settings say. It is not
// changed; most caches never need more, since nobody looks anything up.
type start struct {
	settings Settings
	off      bool
	known    []known
	ids      map[string]ID
	plans    [2]*Plan
}

// lastStart is that of the settings used last, which mostly are those of all.
var lastStart atomic.Pointer[start]

func startOf(set *Settings, log *maillog.Logger) *start {
	if s := lastStart.Load(); s != nil && s.settings == *set {
		return s
	}
	s := &start{settings: *set, ids: make(map[string]ID, len(standard)+8)}
	s.known = make([]known, 0, len(standard)+8)
	for i := range standard {
		s.known = append(s.known, known{Field: standard[i]})
		s.ids[standard[i].Name] = ID(i)
	}
	if s.off = strings.TrimSpace(set.Never) == "*"; !s.off {
		s.decide(log, "mail_cache_fields", set.Fields, Temp, false)
		s.decide(log, "mail_always_cache_fields", set.Always, Yes, true)
		s.decide(log, "mail_never_cache_fields", set.Never, No, true)
	}
	c := Cache{off: s.off, known: s.known}
	s.plans = [2]*Plan{c.newPlan(false), c.newPlan(true)}
	lastStart.Store(s)
	return s
}

// decide takes over what a setting says about fields.
func (s *start) decide(log *maillog.Logger, setting, names string, d Decision, forced bool) {
	for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		id, ok := s.ids[strings.ToLower(name)]
		if !ok {
			field, isHeader := cutPrefixFold(name, headerPrefix)
			if !isHeader || !validHeaderName(field) {
				log.Errorf("%s: Unknown cache field name '%s', ignoring", setting, name)
				continue
			}
			id = ID(len(s.known))
			s.known = append(s.known, known{Field: Field{Name: name, Kind: HeaderLines, Size: variable}})
			s.ids[strings.ToLower(name)] = id
		}
		if k := &s.known[id]; forced || !k.forced && d > k.Decision {
			k.Decision, k.forced = d, forced
		}
	}
}

// acquire locks what is known, which from now on may differ from the start.
func (c *Cache) acquire() {
	c.mu.Lock()
	if c.ids == nil {
		c.known, c.ids = slices.Clone(c.start.known), maps.Clone(c.start.ids)
	}
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// validHeaderName tells whether a header field may be called so (RFC 5322 3.6.8).
func validHeaderName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return name != ""
}

// register makes a field known. mu is held.
func (c *Cache) register(f Field) ID {
	id := ID(len(c.known))
	c.known = append(c.known, known{Field: f})
	c.ids[strings.ToLower(f.Name)] = id
	return id
}

// maxKnown bounds the fields that clients can make known by asking for them.
const maxKnown = 1000

// Header returns the ID of a header field; false if there are too many or it cannot
// be one.
func (c *Cache) Header(name string) (ID, bool) {
	if !validHeaderName(name) {
		return 0, false
	}
	key := headerPrefix + strings.ToLower(name)
	c.acquire()
	defer c.mu.Unlock()
	id, ok := c.ids[key]
	if !ok && len(c.known) < maxKnown {
		id, ok = c.register(Field{Name: headerPrefix + name, Kind: HeaderLines, Size: variable}), true
	}
	return id, ok
}

// used does what Dovecot does when a field is looked up, whether it was found or not: notes when,
// and decides that it is worth to be cached of all messages if a client asks for old messages
// or goes back. now is the time in seconds, firstNew the first uid of the last week. mu is held.
func (c *Cache) used(id ID, now, uid, firstNew uint32, high *uint32) {
	k := &c.known[id]
	if k.forced && k.Decision == No {
		return
	}
	old := int64(now)-int64(k.LastUsed) > secondsPerDay
	if k.Decision == No || k.forced || k.Decision == Temp {
		if old {
			c.touch(k, now)
		}
		if k.Decision != Temp || k.forced {
			return
		}
	} else if !old {
		return
	}
	switch {
	case uid >= *high && uid >= firstNew:
		*high = uid
	case k.Decision == Yes:
		c.touch(k, now)
	default:
		k.Decision, k.dirty = Yes, true
		c.changed()
	}
}

const secondsPerDay = 24 * 60 * 60

// touch notes that a field was used.
func (c *Cache) touch(k *known, now uint32) {
	k.LastUsed = now
	if k.Decision != No {
		c.dirty = true
	}
}

// adding notes that a value of the field is cached. mu is held.
func (c *Cache) adding(id ID) {
	k := &c.known[id]
	if k.Decision != No && k.LastUsed != 0 || k.forced && k.Decision == No {
		return
	}
	if k.Decision == No {
		k.Decision = Temp
	}
	k.LastUsed, k.dirty = uint32(c.opt.Now().Unix()), true
	c.changed()
}

// changed notes that decisions changed. mu is held.
func (c *Cache) changed() {
	c.dirty = true
	c.forgetPlans()
}

func (c *Cache) forgetPlans() {
	c.plans[0].Store(nil)
	c.plans[1].Store(nil)
}

// Accepts tells whether a value of the field that was asked for may be cached.
func (c *Cache) Accepts(id ID) bool {
	c.acquire()
	defer c.mu.Unlock()
	k := &c.known[id]
	return !c.off && (!k.forced || k.Decision != No)
}

// Wants tells whether a value of the field that is known without having been asked for
// should be cached. isNew says that the message is of the last week.
func (c *Cache) Wants(id ID, isNew bool) bool {
	c.acquire()
	defer c.mu.Unlock()
	return !c.off && c.wants(id, isNew)
}

func (c *Cache) wants(id ID, isNew bool) bool {
	k := &c.known[id]
	return !k.foreign && (k.Decision == Yes || k.Decision == Temp && isNew)
}

// A Plan is what is to be cached of a message that is new or read anyway. It must not be
// changed.
type Plan struct {
	fields  uint32 // bits by ID
	Headers []HeaderField
}

// A HeaderField is a field of the header, and the ID of what is cached of it.
type HeaderField struct {
	ID   ID
	Name string
}

// Wants tells whether the field, not one of the header, is to be cached.
func (p *Plan) Wants(ids ...ID) bool {
	for _, id := range ids {
		if p.fields>>id&1 != 0 {
			return true
		}
	}
	return false
}

// Empty tells whether nothing is to be cached.
func (p *Plan) Empty() bool { return p.fields == 0 && len(p.Headers) == 0 }

// newPlan makes the plan of the decisions. mu is held.
//
// The field flags alone is no reason to look at a message: it says something only with
// others, and is what Dovecot by default wants of messages that nobody may ever read.
func (c *Cache) newPlan(isNew bool) *Plan {
	p := &Plan{}
	if c.off {
		return p
	}
	for i := range c.known {
		if id := ID(i); !c.wants(id, isNew) {
			continue
		} else if id < firstHeader {
			p.fields |= 1 << id
		} else {
			p.Headers = append(p.Headers, HeaderField{id, c.known[i].Name[len(headerPrefix):]})
		}
	}
	if p.fields == 1<<Flags && len(p.Headers) == 0 {
		p.fields = 0
	}
	return p
}

// merge takes over the fields of a file, which are numbered in it as they are given.
// mu is held.
func (c *Cache) merge(fields []Field) (ids []ID, err error) {
	ids = make([]ID, len(fields))
	for i := range fields {
		f := &fields[i]
		id, ok := c.ids[strings.ToLower(f.Name)]
		if !ok {
			if f.Kind == HeaderLines && !strings.HasPrefix(strings.ToLower(f.Name), headerPrefix) {
				return nil, damaged("field %q is no header field", f.Name)
			}
			if f.Kind != HeaderLines {
				id = c.register(*f)
				c.known[id].foreign = true
				ids[i] = id
				continue
			}
			id = c.register(*f)
		}
		k := &c.known[id]
		if k.Kind != f.Kind || k.Size != f.Size {
			return nil, damaged("field %q changed from %v to %v", f.Name, k.Kind, f.Kind)
		}
		k.LastUsed = max(k.LastUsed, f.LastUsed)
		switch {
		case k.forced:
			c.dirty = c.dirty || k.Decision != f.Decision
		case !k.dirty:
			k.Decision = f.Decision
		}
		ids[i] = id
	}
	c.forgetPlans()
	return ids, nil
}

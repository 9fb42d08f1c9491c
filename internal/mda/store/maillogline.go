package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// Bounds of what lines say, in bytes.
const (
	maxLoggedName  = 64
	maxLoggedField = 80
)

// A flagState is the flags of a message.
type flagState struct {
	flags    mailbox.Flags
	keywords []string
	recent   bool
}

func stateOf(m *mailbox.Mailbox, uid uint32) (f flagState) {
	snap := m.Snapshot()
	if i, ok := snap.Find(uid); ok {
		f = flagState{flags: snap.Flags(i), keywords: snap.Keywords(i), recent: m.Recent(uid)}
	}
	return f
}

// change does to the flags what a change says.
func (f *flagState) change(c *mailbox.FlagChange) {
	switch c.Op {
	case mailbox.FlagsAdd:
		f.flags |= c.Flags
	case mailbox.FlagsRemove:
		f.flags &^= c.Flags
	default:
		f.flags, f.keywords = c.Flags, slices.DeleteFunc(slices.Clone(f.keywords), func(k string) bool { return !hasWord(c.Keywords, k) })
	}
	if c.Op == mailbox.FlagsRemove {
		f.keywords = slices.DeleteFunc(slices.Clone(f.keywords), func(k string) bool { return hasWord(c.Keywords, k) })
		return
	}
	for _, k := range c.Keywords {
		if !hasWord(f.keywords, k) {
			f.keywords = append(f.keywords[:len(f.keywords):len(f.keywords)], k)
		}
	}
}

func hasWord(list []string, word string) bool {
	return slices.ContainsFunc(list, func(w string) bool { return strings.EqualFold(w, word) })
}

// flagNames are in the order of Dovecot's FETCH FLAGS.
var flagNames = []struct {
	flag mailbox.Flags
	name string
}{
	{mailbox.Answered, `\Answered`}, {mailbox.Flagged, `\Flagged`}, {mailbox.Deleted, `\Deleted`}, {mailbox.Seen, `\Seen`}, {mailbox.Draft, `\Draft`},
}

func (f *flagState) String() string {
	var words []string
	for _, n := range flagNames {
		if f.flags&n.flag != 0 {
			words = append(words, n.name)
		}
	}
	if f.recent {
		words = append(words, `\Recent`)
	}
	return strings.Join(append(words, f.keywords...), " ")
}

// news logs messages that are new in m. They are recent to nobody yet.
func (l *mailLog) news(event logEvent, desc string, m *mailbox.Mailbox, uids []uint32) {
	if l.events&event == 0 {
		return
	}
	if _, err := m.Sync(context.Background()); err != nil {
		return // the next who asks for something is told
	}
	var lines []string
	for _, uid := range uids {
		if msg, err := m.Message(uid); err == nil {
			f := stateOf(m, uid)
			f.recent = false
			lines = append(lines, l.line(desc, m, msg, l.cachedOnly && event != logSave, f))
		}
	}
	l.write(lines)
}

func (l *mailLog) write(lines []string) {
	for _, line := range lines {
		l.log.Infof("%s", line)
	}
}

// line is what is logged of one message.
func (l *mailLog) line(desc string, m *mailbox.Mailbox, msg *mailbox.Message, onlyCached bool, f flagState) string {
	if onlyCached {
		msg.OnlyCached()
	}
	var parts []string
	add := func(field logField, name string, value func() string) {
		if l.fields&field != 0 {
			parts = append(parts, name+"="+value())
		}
	}
	var header map[string]string
	field := func(name string) func() string {
		return func() string {
			if header == nil {
				header = l.header(msg)
			}
			return sanitized(header[name], maxLoggedField)
		}
	}
	add(logBox, "box", func() string { return sanitized(m.Location().Name, maxLoggedName) })
	add(logUID, "uid", func() string { return fmt.Sprint(msg.UID()) })
	add(logMsgID, "msgid", field("message-id"))
	add(logSize, "size", func() string { return sizeText(msg.PhysicalSize()) })
	add(logVSize, "vsize", func() string { return sizeText(msg.VirtualSize()) })
	add(logFrom, "from", field("from"))
	add(logSubject, "subject", field("subject"))
	add(logFlags, "flags", func() string { return "(" + f.String() + ")" })
	if len(parts) == 0 {
		return desc
	}
	return desc + ": " + strings.Join(parts, ", ")
}

func sizeText(n int64, err error) string {
	if err != nil {
		return "error"
	}
	return fmt.Sprint(n)
}

// header returns the fields of the header that lines have, by name in lower case; the first
// counts.
func (l *mailLog) header(msg *mailbox.Message) map[string]string {
	var names []string
	for _, f := range []struct {
		field logField
		name  string
	}{{logMsgID, "Message-ID"}, {logFrom, "From"}, {logSubject, "Subject"}} {
		if l.fields&f.field != 0 {
			names = append(names, f.name)
		}
	}
	fields := make(map[string]string)
	text, err := msg.AppendFields(context.Background(), nil, names)
	if err != nil {
		return fields
	}
	const maxField = 64 << 10
	h := message.NewHeaderReader(strings.NewReader(string(text)), maxField)
	for f, ok := h.Next(); ok; f, ok = h.Next() {
		name := strings.ToLower(string(f.Name))
		if _, known := fields[name]; !known {
			fields[name] = string(message.DecodeHeader(nil, message.AppendUnfolded(nil, f.Value())))
		}
	}
	return fields
}

// sanitized is text as it may stand in a log: without control characters, and not more than
// limit bytes of it. What is longer ends in dots.
func sanitized(text string, limit int) string {
	var b strings.Builder
	i := 0
	for i < len(text) && i < limit {
		r, size := utf8.DecodeRuneInString(text[i:min(len(text), limit)])
		switch {
		case r == utf8.RuneError && size <= 1:
			if i+utf8.UTFMax > limit && !utf8.FullRuneInString(text[i:limit]) && utf8.FullRuneInString(text[i:]) {
				return shortened(b.String(), limit) // a character is cut
			}
			b.WriteByte('?')
		case r < ' ':
			b.WriteByte('?')
		default:
			b.WriteString(text[i : i+size])
		}
		i += size
	}
	if i < len(text) {
		return shortened(b.String(), limit)
	}
	return b.String()
}

func shortened(text string, limit int) string {
	for len(text) > limit-len("...") {
		_, size := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-size]
	}
	return text + "..."
}

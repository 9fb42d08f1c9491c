package doveadm

import (
	"encoding/hex"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// A query is a search query: which messages of which mailboxes. It is used for one
// mailbox at a time.
type query struct {
	root       *search.Key
	boxes      []*boxKey
	patterns   []string // mailboxes that it names outside of OR and NOT
	byGUID     bool     // it names a mailbox by GUID
	oldestOnly bool
}

// A boxKey is a key about the mailbox. Before a mailbox is searched, it is replaced
// by whether that is the one.
type boxKey struct {
	key  *search.Key
	kind boxKind
	text string
}

type boxKind uint8

const (
	boxNamed boxKind = iota
	boxLike          // text is a pattern
	boxGUID
	boxDatesSaves // the format keeps when messages were saved
)

// bind makes the query one for a mailbox.
func (q *query) bind(name string, sep byte, guid [16]byte, format string) {
	for _, b := range q.boxes {
		b.key.Op = search.All
		if b.kind == boxDatesSaves {
			b.key.Not = format == "mbox"
		} else {
			b.key.Not = !b.is(name, sep, guid)
		}
	}
}

func (b *boxKey) is(name string, sep byte, guid [16]byte) bool {
	switch b.kind {
	case boxLike:
		return likeMailbox(b.text, name, sep) || likeMailbox(foldInbox(b.text), name, sep)
	case boxGUID:
		return b.text == hex.EncodeToString(guid[:])
	}
	return b.text == name || name == "INBOX" && strings.EqualFold(b.text, name)
}

// foldInbox is the pattern with INBOX, which has no case, as it is spelled in names.
func foldInbox(pattern string) string {
	if len(pattern) >= len("INBOX") && strings.EqualFold(pattern[:len("INBOX")], "INBOX") {
		return "INBOX" + pattern[len("INBOX"):]
	}
	return pattern
}

// isPattern reports whether the name of a mailbox is a pattern.
func isPattern(name string) bool { return strings.ContainsAny(name, "*%") }

// likeMailbox reports whether a name matches a pattern of LIST.
func likeMailbox(pattern, name string, sep byte) bool {
	for pattern != "" {
		c := pattern[0]
		if c != '*' && c != '%' {
			if name == "" || name[0] != c {
				return false
			}
			pattern, name = pattern[1:], name[1:]
			continue
		}
		pattern = pattern[1:]
		for i := 0; ; i++ {
			if likeMailbox(pattern, name[i:], sep) {
				return true
			}
			if i == len(name) || c == '%' && name[i] == sep {
				return false
			}
		}
	}
	return name == ""
}

// query reads the arguments of a command that are a query.
func (in *invocation) query() (*query, error) {
	words := in.array("query")
	if len(words) == 0 {
		return nil, errUsage
	}
	return parseQuery(words)
}

// mailboxQuery is the query for mailboxes that are named, or match patterns.
func mailboxQuery(names []string) (*query, error) {
	q := new(query)
	var keys []*search.Key
	for _, name := range names {
		if !utf8.ValidString(name) {
			return nil, fatalf(exNotPossible, "Mailbox name not valid UTF-8: %s", name)
		}
		keys = append(keys, q.mailbox(name))
	}
	switch len(keys) {
	case 0:
		q.root = &search.Key{Op: search.All}
	case 1:
		q.root = keys[0]
	default:
		q.root = &search.Key{Op: search.Or, Keys: keys}
	}
	q.collect(q.root)
	return q, nil
}

// mailbox adds a key about the name.
func (q *query) mailbox(name string) *search.Key {
	kind := boxNamed
	if isPattern(name) {
		kind = boxLike
	}
	return q.box(kind, name)
}

func (q *query) box(kind boxKind, text string) *search.Key {
	k := &search.Key{Op: search.All}
	q.boxes = append(q.boxes, &boxKey{k, kind, text})
	return k
}

// collect finds the mailboxes that the query names: those it cannot match without.
func (q *query) collect(k *search.Key) {
	for _, b := range q.boxes {
		q.byGUID = q.byGUID || b.kind == boxGUID
	}
	q.patterns = nil
	q.named(k)
}

func (q *query) named(k *search.Key) (ok bool) {
	switch {
	case k.Op == search.And && !k.Not:
		for _, sub := range k.Keys {
			if !q.named(sub) {
				return false
			}
		}
	case k.Op == search.And: // NOT
		if q.boxOf(k.Keys[0]) != nil {
			q.patterns = nil
			return false
		}
	default:
		if b := q.boxOf(k); b != nil && b.kind < boxGUID {
			q.patterns = append(q.patterns, b.text)
		}
	}
	return true
}

func (q *query) boxOf(k *search.Key) *boxKey {
	for _, b := range q.boxes {
		if b.key == k {
			return b
		}
	}
	return nil
}

package imap

import (
	"slices"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// systemFlags are the flags a client may set, in the order of FLAGS replies.
var systemFlags = []struct {
	bit  mailbox.Flags
	name string
}{
	{mailbox.Answered, `\Answered`},
	{mailbox.Flagged, `\Flagged`},
	{mailbox.Deleted, `\Deleted`},
	{mailbox.Seen, `\Seen`},
	{mailbox.Draft, `\Draft`},
}

// flagLists are the texts of all combinations of system flags, \Recent (bit 5)
// among them as Dovecot orders it.
var flagLists = func() (lists [64]string) {
	for bits := range lists {
		text := ""
		for _, f := range systemFlags {
			if mailbox.Flags(bits)&f.bit != 0 {
				text += " " + f.name
			}
		}
		if bits&recentBit != 0 {
			text += ` \Recent`
		}
		if text != "" {
			lists[bits] = text[1:]
		}
	}
	return lists
}()

const recentBit = 0x20

// maxKeyword is the longest keyword accepted (mail_max_keyword_length).
const maxKeyword = 50

// appendFlags appends FLAGS (...) of message i of snap, with flags for its system
// flags.
func (b *selected) appendFlags(p []byte, snap *mailbox.Snapshot, i int, flags mailbox.Flags) []byte {
	bits := int(flags & 0x1f)
	if b.isRecent(snap.UID(i)) {
		bits |= recentBit
	}
	p = append(p, "FLAGS ("...)
	p = append(p, flagLists[bits]...)
	blank := bits != 0
	for k, name := range snap.KeywordNames() {
		if !snap.HasKeyword(i, k) {
			continue
		}
		if blank {
			p = append(p, ' ')
		}
		p = append(p, name...)
		blank = true
	}
	return append(p, ')')
}

// appendFetchStart appends "* 7 FETCH (" for message i or, to a client with UIDONLY,
// "* 25 UIDFETCH (".
func (s *session) appendFetchStart(b []byte, i int) []byte {
	b = append(b, "* "...)
	if s.isUIDOnly() {
		b = strconv.AppendUint(b, uint64(s.box.view.UID(i)), 10)
		return append(b, " UIDFETCH ("...)
	}
	b = strconv.AppendUint(b, uint64(i+1), 10)
	return append(b, " FETCH ("...)
}

func (b *selected) appendModSeq(p []byte, modseq uint64) []byte {
	b.fetched = max(b.fetched, modseq)
	p = append(p, "MODSEQ ("...)
	p = strconv.AppendUint(p, modseq, 10)
	return append(p, ')')
}

// writeFlagsAllowed tells which flags there are and which can be set.
func (s *session) writeFlagsAllowed(snap *mailbox.Snapshot) error {
	s.box.keywords = len(snap.KeywordNames())
	flags, keywords, err := s.box.mbox.Changeable()
	if err != nil {
		return err
	}
	b := append(s.buf(), "* FLAGS ("...)
	b = append(appendWords(b, flagLists[0x1f], snap.KeywordNames()), ")\r\n"...)
	fixed, err := s.box.mbox.ReadOnly()
	if err != nil {
		return err
	}
	if s.box.readOnly || fixed {
		return s.put(append(b, "* OK [PERMANENTFLAGS ()] Read-only mailbox.\r\n"...))
	}
	b = append(b, "* OK [PERMANENTFLAGS ("...)
	var names []string
	if keywords {
		names = append(slices.Clip(snap.KeywordNames()), `\*`)
	}
	return s.put(append(appendWords(b, flagLists[flags], names), ")] Flags permitted.\r\n"...))
}

// appendWords appends flags, and keywords after them.
func appendWords(b []byte, flags string, keywords []string) []byte {
	start := len(b)
	b = append(b, flags...)
	for _, name := range keywords {
		if len(b) > start {
			b = append(b, ' ')
		}
		b = append(b, name...)
	}
	return b
}

// parseFlags reads flags: the elements of a list or, for STORE, all arguments.
func parseFlags(args imapwire.Args) (flags mailbox.Flags, keywords []string, err error) {
	for ; len(args) > 0; args = args.Rest() {
		word := args[0].Data
		if args[0].Kind != imapwire.Atom {
			return 0, nil, bad("Flags list contains non-atoms.")
		}
		if word[0] == '\\' {
			bit, ok := systemFlag(word)
			if !ok {
				return 0, nil, bad("Invalid system flag " + string(imapwire.AppendUpper(nil, word)))
			}
			flags |= bit
			continue
		}
		if len(word) > maxKeyword {
			return 0, nil, &reply{cond: condNo, text: "Keyword length too long"}
		}
		if !slices.ContainsFunc(keywords, func(k string) bool { return equalFold(k, word) }) {
			keywords = append(keywords, string(word))
		}
	}
	return flags, keywords, nil
}

func systemFlag(word []byte) (mailbox.Flags, bool) {
	for _, f := range systemFlags {
		if equalFold(f.name, word) {
			return f.bit, true
		}
	}
	return 0, false
}

// equalFold compares without regard to ASCII case.
func equalFold(a string, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range b {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// same reports whether the change of message i of told leads to message j of snap.
func (e *flagsExpected) same(told *mailbox.Snapshot, i int, snap *mailbox.Snapshot, j int) bool {
	if len(e.keywords) == 0 && e.op != mailbox.FlagsReplace {
		flags, _ := e.apply(told.Flags(i), nil)
		return flags == snap.Flags(j) && sameKeywords(told, i, snap, j)
	}
	flags, words := e.apply(told.Flags(i), told.Keywords(i))
	return flags == snap.Flags(j) && sameSet(words, snap.Keywords(j))
}

// apply returns what becomes of flags and keywords.
func (e *flagsExpected) apply(flags mailbox.Flags, keywords []string) (mailbox.Flags, []string) {
	switch e.op {
	case mailbox.FlagsReplace:
		return e.flags, e.keywords
	case mailbox.FlagsRemove:
		if len(e.keywords) == 0 {
			return flags &^ e.flags, keywords
		}
		kept := slices.DeleteFunc(slices.Clone(keywords), func(k string) bool { return hasWord(e.keywords, k) })
		return flags &^ e.flags, kept
	}
	for _, k := range e.keywords {
		if !hasWord(keywords, k) {
			keywords = append(slices.Clip(keywords), k)
		}
	}
	return flags | e.flags, keywords
}

func hasWord(words []string, word string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return equalFold(w, []byte(word)) })
}

// sameKeywords reports whether message i of a has the keywords of message j of
// b, a later state of the same mailbox. Keywords keep their numbers.
func sameKeywords(a *mailbox.Snapshot, i int, b *mailbox.Snapshot, j int) bool {
	known := len(a.KeywordNames())
	for k := range b.KeywordNames() {
		if b.HasKeyword(j, k) != (k < known && a.HasKeyword(i, k)) {
			return false
		}
	}
	return true
}

// sameSet reports whether a and b have the same words in any order.
func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for _, w := range a {
		if !hasWord(b, w) {
			return false
		}
	}
	return true
}

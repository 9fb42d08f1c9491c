package interop

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// A tree is what must be in a user's mailboxes, by the names on the wire.
type tree struct {
	boxes      map[string]*modelBox
	subscribed map[string]bool
	// mbox says that mailboxes are files, which have no others below, and that a text may get
	// another end.
	mbox bool
	// mdbox says that the time of saving is kept. Others go by that of the file, which changes when
	// the message is copied, unless a cache has it.
	mdbox bool
}

// A modelBox is a mailbox in a [tree].
type modelBox struct {
	uidvalidity uint64 // 0 until seen
	uidnext     uint32
	messages    []*modelMail
	was         *boxView // what the last turn left
}

// A modelMail is a message in a mailbox.
type modelMail struct {
	uid      uint32
	text     string    // "" until seen: a delivery adds headers
	ends     string    // what a delivered text ends with
	nearly   string    // what the text is but for its end
	date     time.Time // zero until seen
	flags    map[string]bool
	touched  bool              // by this turn
	seen     map[string]string // items of FETCH that never change
	doveadm  map[string]string // fields of doveadm fetch that never change
	fromTurn bool              // it was not there at the end of the last turn
}

func newTree(location string) *tree {
	t := &tree{boxes: make(map[string]*modelBox), subscribed: map[string]bool{"Drafts": true}, mbox: strings.HasPrefix(location, "mbox"), mdbox: strings.HasPrefix(location, "mdbox")}
	for _, name := range []string{"INBOX", "Drafts", "Archive"} {
		t.boxes[name] = &modelBox{uidnext: 1}
	}
	return t
}

func (b *modelBox) add(m *modelMail) {
	m.uid, m.touched, m.fromTurn = b.uidnext, true, true
	b.uidnext++
	b.messages = append(b.messages, m)
}

func (b *modelBox) remove(uids []uint32) {
	b.messages = slices.DeleteFunc(b.messages, func(m *modelMail) bool { return slices.Contains(uids, m.uid) })
}

// copyOf returns what COPY makes of a message.
func (t *tree) copyOf(m *modelMail) *modelMail {
	c := &modelMail{text: m.text, ends: m.ends, nearly: m.nearly, date: m.date, flags: maps.Clone(m.flags)}
	if t.mbox && c.text != "" {
		c.nearly, c.text = trimEnd(c.text), ""
	}
	return c
}

// newMail returns an appended message.
func (t *tree) newMail(text string, date time.Time, flags map[string]bool) *modelMail {
	if t.mbox {
		return &modelMail{nearly: trimEnd(text), date: date, flags: flags}
	}
	return &modelMail{text: text, date: date, flags: flags}
}

func trimEnd(text string) string { return strings.TrimRight(text, "\r\n") }

// free reports whether a mailbox can be made with the name.
func (t *tree) free(name string) bool {
	if len(t.children(name)) > 0 {
		return t.boxes[name] == nil && !t.mbox
	}
	for dir := name; t.mbox; {
		i := strings.LastIndexByte(dir, '/')
		if i < 0 {
			break
		}
		if dir = dir[:i]; t.boxes[dir] != nil && dir != "INBOX" {
			return false
		}
	}
	return true
}

// children returns the mailboxes that a rename of name concerns.
func (t *tree) children(name string) []string {
	var all []string
	for box := range t.boxes {
		if box == name || strings.HasPrefix(box, name+"/") {
			all = append(all, box)
		}
	}
	return all
}

// systemFlags in one spelling; keywords have the spelling that their mailbox first saw.
func flagWords(flags map[string]bool) string {
	var words []string
	for f := range flags {
		words = append(words, strings.ToLower(f))
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// withoutRecent brings the FLAGS of a server into the form of flagWords.
func withoutRecent(flags string) string {
	words := strings.Fields(strings.ToLower(flags))
	words = slices.DeleteFunc(words, func(w string) bool { return w == `\recent` })
	slices.Sort(words)
	return strings.Join(words, " ")
}

const internalDate = "_2-Jan-2006 15:04:05 -0700"

// constant are the items of FETCH that never change.
var constant = []string{"INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY", "BODY[]", "BODY[HEADER]", "BODY[TEXT]"}

// check compares the tree with what a server shows. It learns what could not be
// known beforehand.
func (t *tree) check(v *view) error {
	var names []string
	for name := range v.Boxes {
		names = append(names, name)
	}
	slices.Sort(names)
	want := slices.Sorted(maps.Keys(t.boxes))
	if !slices.Equal(names, want) {
		return fmt.Errorf("there are mailboxes %q, want %q", names, want)
	}
	var subscribed []string
	for _, line := range v.LSub {
		_, name := listed(line)
		subscribed = append(subscribed, name)
	}
	slices.Sort(subscribed)
	if want := slices.Sorted(maps.Keys(t.subscribed)); !slices.Equal(subscribed, want) {
		return fmt.Errorf("subscribed are %q, want %q", subscribed, want)
	}
	for _, name := range names {
		if err := t.boxes[name].check(v.Boxes[name]); err != nil {
			return fmt.Errorf("mailbox %q: %w", name, err)
		}
	}
	return nil
}

// checkPOP3 compares INBOX with a UIDL listing.
func (t *tree) checkPOP3(uidls []string) error {
	b := t.boxes["INBOX"]
	var want []string
	for i, m := range b.messages {
		want = append(want, fmt.Sprintf("%d %08x%08x", i+1, m.uid, b.uidvalidity))
	}
	if !slices.Equal(uidls, want) {
		return fmt.Errorf("UIDL shows %q, want %q", uidls, want)
	}
	return nil
}

func (b *modelBox) check(v *boxView) error {
	var uids []uint32
	for _, m := range b.messages {
		uids = append(uids, m.uid)
	}
	if !slices.Equal(v.UIDs, uids) {
		return fmt.Errorf("there are uids %d, want %d", v.UIDs, uids)
	}
	unseen := 0
	for _, m := range b.messages {
		if err := m.check(v.Messages[m.uid]); err != nil {
			return fmt.Errorf("uid %d: %w", m.uid, err)
		}
		if !m.flags[`\Seen`] {
			unseen++
		}
	}
	b.uidvalidity = cmp.Or(b.uidvalidity, v.number("UIDVALIDITY"))
	for item, want := range map[string]uint64{
		"MESSAGES": uint64(len(uids)), "UNSEEN": uint64(unseen), "UIDNEXT": uint64(b.uidnext), "UIDVALIDITY": b.uidvalidity,
	} {
		if v.number(item) != want {
			return fmt.Errorf("STATUS %s is %d, want %d", item, v.number(item), want)
		}
	}
	for _, item := range []string{"UIDNEXT", "UIDVALIDITY", "HIGHESTMODSEQ"} {
		if v.Selected[item] != v.Status[item] {
			return fmt.Errorf("SELECT shows %s %s, STATUS %s", item, v.Selected[item], v.Status[item])
		}
	}
	return b.checkModSeqs(v)
}

// checkModSeqs checks what a client relies on that asks for what has changed since
// the last turn.
func (b *modelBox) checkModSeqs(v *boxView) error {
	highest := v.number("HIGHESTMODSEQ")
	before := uint64(0)
	if b.was != nil {
		before = b.was.number("HIGHESTMODSEQ")
	}
	if highest < before {
		return fmt.Errorf("HIGHESTMODSEQ falls from %d to %d", before, highest)
	}
	for _, m := range b.messages {
		modseq := modSeq(v.Messages[m.uid])
		if modseq == 0 || modseq > highest {
			return fmt.Errorf("uid %d has MODSEQ %d, HIGHESTMODSEQ is %d", m.uid, modseq, highest)
		}
		if b.was == nil {
			continue
		}
		was := b.was.Messages[m.uid]
		changed := was == nil || withoutRecent(was["FLAGS"]) != withoutRecent(v.Messages[m.uid]["FLAGS"])
		switch {
		case changed && modseq <= before:
			return fmt.Errorf("uid %d has changed and MODSEQ %d, HIGHESTMODSEQ was %d", m.uid, modseq, before)
		case !m.touched && was != nil && modSeq(was) != modseq:
			return fmt.Errorf("uid %d has not changed, and its MODSEQ went from %d to %d", m.uid, modSeq(was), modseq)
		}
	}
	return nil
}

func modSeq(items map[string]string) uint64 {
	var n uint64
	fmt.Sscanf(items["MODSEQ"], "(%d)", &n)
	return n
}

func (m *modelMail) check(items map[string]string) error {
	if got, want := withoutRecent(items["FLAGS"]), flagWords(m.flags); got != want {
		return fmt.Errorf("flags are %q, want %q", got, want)
	}
	date, err := time.Parse(internalDate, strings.Trim(items["INTERNALDATE"], `"`))
	if err != nil {
		return err
	}
	if !m.date.IsZero() && !m.date.Equal(date) {
		return fmt.Errorf("INTERNALDATE is %v, want %v", date, m.date)
	}
	m.date = date
	p := &parser{rest: items["BODY[]"]}
	text := p.unquoted()
	if m.text == "" && !strings.HasSuffix(trimEnd(text), trimEnd(m.ends)) || m.text == "" && m.nearly != "" && trimEnd(text) != m.nearly || m.text != "" && m.text != text {
		return fmt.Errorf("the text is\n%q, want\n%q", text, cmp.Or(m.text, m.nearly, m.ends))
	}
	m.text = text
	if got, want := items["RFC822.SIZE"], fmt.Sprint(len(text)); got != want {
		return fmt.Errorf("RFC822.SIZE is %s of %s bytes", got, want)
	}
	if m.seen == nil {
		m.seen = items
	}
	for _, item := range constant {
		if m.seen[item] != items[item] {
			return fmt.Errorf("%s was\n%s, is\n%s", item, m.seen[item], items[item])
		}
	}
	return nil
}

// checkDoveadm compares the tree with rows of doveadm fetch, which show of a
// message what never changes.
func (t *tree) checkDoveadm(rows []map[string]string) error {
	at := make(map[string]map[string]string)
	for _, row := range rows {
		at[row["mailbox"]+" "+row["uid"]] = row
	}
	total := 0
	for name, b := range t.boxes {
		for _, m := range b.messages {
			total++
			row := at[decoded(name)+" "+fmt.Sprint(m.uid)]
			if row == nil {
				return fmt.Errorf("doveadm fetch shows no uid %d in %q", m.uid, name)
			}
			if got, want := withoutRecent(row["flags"]), flagWords(m.flags); got != want {
				return fmt.Errorf("doveadm fetch of %q uid %d: flags are %q, want %q", name, m.uid, got, want)
			}
			if m.doveadm == nil {
				m.doveadm = row
			}
			for _, field := range doveadmConstant {
				if m.doveadm[field] != row[field] && (field != "date.saved" || t.mdbox) {
					return fmt.Errorf("doveadm fetch of %q uid %d: %s was %q, is %q", name, m.uid, field, m.doveadm[field], row[field])
				}
			}
		}
	}
	if len(rows) != total {
		return fmt.Errorf("doveadm fetch shows %d messages, want %d", len(rows), total)
	}
	return nil
}

// turned notes that a turn is over.
func (t *tree) turned(v *view) {
	for name, b := range t.boxes {
		b.was = v.Boxes[name]
		for _, m := range b.messages {
			m.touched, m.fromTurn = false, false
		}
	}
}

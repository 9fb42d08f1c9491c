package interop

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// sharedBoxes are what the clients of a load work on.
var sharedBoxes = []string{"INBOX", "Archive", "Work/shared"}

// A worker is a client of one server that works on messages of its own in the
// mailboxes that all share. So what must come of each is known, though nobody knows in which
// order the servers do things.
type worker struct {
	*together
	name   string
	server int
	r      *rand.Rand
	n      int // messages
	b      *believer
	mine   []*copied
	common map[uint32]bool // of the messages in INBOX that all flag: whether this one's flag is set
}

// lost reports whether an error is one of a connection, and not what a server said.
func lost(err error) bool {
	var refusal harness.Refusal
	var network net.Error
	return !errors.As(err, &refusal) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &network) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrDeadlineExceeded))
}

// forgiven reports whether an error is to be expected of a server under kills: lost connections of both,
// and refusals of the original, which does not get over everything that a killed process leaves, its own
// included. (Two originals alone show that.)
func (l *together) forgiven(server int, err error) bool {
	var refusal harness.Refusal
	return l.kills && (lost(err) || server == 1 && errors.As(err, &refusal))
}

// work does things at random until the load is stopped. After a lost connection it makes a
// new one, if that is to be expected.
func (w *worker) work() error {
	for !w.stopped() {
		err := w.session()
		if err != nil && !w.forgiven(w.server, err) {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

func (w *worker) session() error {
	b, err := newBeliever(w.servers[w.server], w.user)
	if err != nil {
		if w.kills {
			wait()
			return nil // it is being started
		}
		return err
	}
	w.b = b
	w.keep(b)
	for steps := 0; !w.stopped() && steps < 200; steps++ {
		if err := w.act(); err != nil {
			return err
		}
	}
	return nil
}

// act does one thing in some mailbox.
func (w *worker) act() error {
	box := w.b.box
	if box == "" || w.r.IntN(6) == 0 {
		box = sharedBoxes[w.r.IntN(len(sharedBoxes))]
	}
	if err := w.b.enter(box); err != nil {
		return err
	}
	here := w.here()
	if len(here) == 0 || len(w.mine) < 10 || w.r.IntN(4) == 0 && len(w.mine) < 60 {
		return w.append(sharedBoxes[w.r.IntN(len(sharedBoxes))])
	}
	m := here[w.r.IntN(len(here))]
	to := sharedBoxes[w.r.IntN(len(sharedBoxes))]
	action := w.r.IntN(7)
	if (action == 2 || action == 3) && w.once && w.server == 1 && w.visited(m.id, to) {
		action = 0
	}
	switch action {
	case 0, 1:
		return w.flag(m)
	case 2:
		return w.copy(m, to)
	case 3:
		if to != m.box {
			return w.move(m, to)
		}
		return w.flag(m)
	case 4:
		return w.expunge(m)
	case 5:
		return w.flagCommon()
	}
	return w.fetch(m)
}

// visited reports whether a message was in a mailbox, and notes that it will be.
func (w *worker) visited(id, box string) (was bool) {
	key := [2]string{box, id}
	w.note(func() { was, w.been[key] = w.been[key], true })
	return was
}

// here returns the worker's messages in the selected mailbox.
func (w *worker) here() (all []*copied) {
	for _, m := range w.mine {
		if m.box == w.b.box {
			all = append(all, m)
		}
	}
	return all
}

func (w *worker) forget(m *copied) {
	for i, other := range w.mine {
		if other == m {
			pick(&w.mine, i)
			return
		}
	}
}

func (w *worker) append(box string) error {
	w.n++
	id := fmt.Sprintf("%s-%d", w.name, w.n)
	text := numbered(id)
	w.note(func() { w.perhaps[[2]string{box, id}]++; w.been[[2]string{box, id}] = true })
	_, ok, err := w.b.do(fmt.Sprintf("APPEND %s (\\Seen k1) {%d+}\r\n%s", quote(box), len(text), text))
	if err != nil {
		return err
	}
	var validity uint64
	m := &copied{place: place{box: box}, id: id, flags: flagSet(`\Seen k1`)}
	if _, err := fmt.Sscanf(ok, "[APPENDUID %d %d]", &validity, &m.uid); err != nil {
		return fmt.Errorf("APPEND is answered with %q", ok)
	}
	return w.added(m)
}

// added notes that a message that may have been somewhere is there.
func (w *worker) added(m *copied) error {
	w.note(func() { w.perhaps[[2]string{m.box, m.id}]-- })
	w.mine = append(w.mine, m)
	return w.put(m)
}

var changes = []string{`+FLAGS (\Flagged)`, `-FLAGS (\Flagged)`, `+FLAGS (\Answered k2)`, `-FLAGS (k1)`, `FLAGS (k3 \Draft)`, `FLAGS ()`, `+FLAGS (\Seen k1)`}

func (w *worker) flag(m *copied) error {
	change := changes[w.r.IntN(len(changes))]
	w.note(func() { m.vague = true })
	if _, _, err := w.b.do(fmt.Sprintf("UID STORE %d %s", m.uid, change)); err != nil {
		w.forget(m)
		return err
	}
	how, these, _ := strings.Cut(change, " ")
	w.note(func() {
		m.vague = false
		w.acks++
		if how == "FLAGS" {
			clear(m.flags)
		}
		for f := range flagSet(strings.Trim(these, "()")) {
			if how == "-FLAGS" {
				delete(m.flags, f)
			} else {
				m.flags[f] = true
			}
		}
	})
	return nil
}

// flagCommon changes this worker's own keyword on a message that all have.
func (w *worker) flagCommon() error {
	if err := w.b.enter("INBOX"); err != nil {
		return err
	}
	uid := uint32(1 + w.r.IntN(commonMessages))
	sign := "+"
	if w.common[uid] {
		sign = "-"
	}
	keyword := "by-" + w.name
	m := w.copyAt(place{"INBOX", uid})
	_, _, err := w.b.do(fmt.Sprintf("UID STORE %d %sFLAGS (%s)", uid, sign, keyword))
	if err != nil {
		w.note(func() { m.vague = true })
		return err
	}
	w.common[uid] = !w.common[uid]
	w.note(func() {
		if w.common[uid] {
			m.flags[keyword] = true
		} else {
			delete(m.flags, keyword)
		}
	})
	return nil
}

func (w *worker) copyAt(at place) (m *copied) {
	w.note(func() { m = w.copies[at] })
	return m
}

func (w *worker) copy(m *copied, to string) error {
	w.note(func() { w.perhaps[[2]string{to, m.id}]++ })
	_, ok, err := w.b.do(fmt.Sprintf("UID COPY %d %s", m.uid, quote(to)))
	if err != nil {
		return err
	}
	c := &copied{place: place{box: to}, id: m.id, flags: flagSet(flagList(m.flags))}
	if c.uid, err = copiedTo(ok, m.uid); err != nil {
		return err
	}
	return w.added(c)
}

func (w *worker) move(m *copied, to string) error {
	w.note(func() {
		w.perhaps[[2]string{to, m.id}]++
		w.perhaps[[2]string{m.box, m.id}]++
		w.fallback[m.id] = nil
		delete(w.copies, m.place)
	})
	w.forget(m)
	untagged, ok, err := w.b.do(fmt.Sprintf("UID MOVE %d %s", m.uid, quote(to)))
	if err != nil {
		return err
	}
	w.note(func() {
		w.perhaps[[2]string{m.box, m.id}]--
		delete(w.fallback, m.id)
	})
	c := &copied{place: place{box: to}, id: m.id, flags: m.flags}
	if c.uid, err = copiedTo(strings.Join(append(untagged, ok), "\n"), m.uid); err != nil {
		return err
	}
	return w.added(c)
}

// copiedTo returns the uid of a copy.
func copiedTo(answer string, from uint32) (uint32, error) {
	m := copyUID.FindStringSubmatch(answer)
	if m == nil || m[2] != fmt.Sprint(from) {
		return 0, fmt.Errorf("COPYUID of %d is %q", from, answer)
	}
	var to uint32
	_, err := fmt.Sscan(m[3], &to)
	return to, err
}

func flagList(flags map[string]bool) string {
	var all []string
	for f := range flags {
		all = append(all, f)
	}
	return strings.Join(all, " ")
}

func (w *worker) expunge(m *copied) error {
	w.note(func() {
		w.perhaps[[2]string{m.box, m.id}]++
		delete(w.copies, m.place)
	})
	w.forget(m)
	if _, _, err := w.b.do(fmt.Sprintf(`UID STORE %d +FLAGS (\Deleted)`, m.uid)); err != nil {
		return err
	}
	if _, _, err := w.b.do(fmt.Sprintf("UID EXPUNGE %d", m.uid)); err != nil {
		return err
	}
	w.note(func() { w.perhaps[[2]string{m.box, m.id}]--; w.acks++ })
	return nil
}

// fetch reads a message that must be there.
func (w *worker) fetch(m *copied) error {
	untagged, _, err := w.b.do(fmt.Sprintf("UID FETCH %d (FLAGS ENVELOPE BODY.PEEK[])", m.uid))
	if err != nil {
		return err
	}
	for _, line := range untagged {
		items, err := fetchItems(line)
		if err != nil {
			return err
		}
		if items["UID"] != fmt.Sprint(m.uid) || items["BODY[]"] == "" {
			continue
		}
		if got, want := withoutRecent(items["FLAGS"]), flagWords(m.flags); got != want && !m.vague {
			return fmt.Errorf("%s at uid %d in %s has the flags %q, want %q", m.id, m.uid, m.box, got, want)
		}
		p := &parser{rest: items["BODY[]"]}
		if text := p.unquoted(); text != numbered(m.id) {
			return fmt.Errorf("%s at uid %d in %s is %.300q", m.id, m.uid, m.box, text)
		}
		return nil
	}
	return fmt.Errorf("%s at uid %d in %s is not there: %q", m.id, m.uid, m.box, untagged)
}

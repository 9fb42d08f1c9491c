package mailbox

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A damaged tree is judged by what clients see of it. The tree has the mailboxes A
// and B of one user, made by grow.
type sample struct {
	format string
	old    string // copies of the root: before the last changes
	last   string // ... and after them
	a, b   view
	lateA  view // A as dovecot.index has it, without what only the log says
}

// A view is what clients see of a mailbox.
type view struct {
	validity uint32
	guid     [16]byte
	rows     []row
	texts    []string
}

func (v view) clone() view {
	v.rows, v.texts = slices.Clone(v.rows), slices.Clone(v.texts)
	return v
}

// A logbook keeps what is logged.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) logger() *maillog.Logger {
	return maillog.NewFunc(func(level maillog.Level, text string) {
		if level > maillog.Info { // warnings and errors
			l.mu.Lock()
			l.lines = append(l.lines, text)
			l.mu.Unlock()
		}
	})
}

func (l *logbook) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.lines
	l.lines = nil
	return lines
}

// worldAt is the mailboxes below an existing root.
func worldAt(t testing.TB, root, format string, l *logbook) *world {
	w := &world{t: t, root: root, format: format, pool: NewPool(l.logger())}
	setMbox(&w.set)
	w.set.Fsync = "never"
	return w
}

func bodyOf(name string) string { return "Subject: " + name + "\n\nThe text of " + name + "\n" }

// grow makes the sample of a format: messages with flags and keywords, copies, one
// that was expunged, indexes of several ages, a cache made by Dovecot.
func grow(t *testing.T, format string) *sample {
	t.Helper()
	var log logbook
	s := &sample{format: format, old: t.TempDir(), last: t.TempDir()}
	w := worldAt(t, t.TempDir(), format, &log)
	a, b := w.create("A"), w.create("B")
	for i, opt := range []SaveOptions{
		{Flags: Seen}, {Flags: Flagged, Keywords: []string{"k"}}, {}, {}, {Flags: Draft | Seen, Keywords: []string{"k", "$Label1"}},
	} {
		save(t, a, bodyOf(fmt.Sprint("A", i+1)), opt)
	}
	save(t, b, bodyOf("B1"), SaveOptions{Flags: Answered, Keywords: []string{"other"}})
	must(t, errOf(a.Copy(ctx, []uint32{1, 2}, b)))
	must(t, a.Expunge(ctx, []uint32{4}))
	newDoveadm(t, w).run("", "fetch", "hdr.subject size.virtual date.received", "ALL")
	for _, m := range []*Mailbox{a, b} {
		must(t, m.b.lock(ctx, m.b.ix.Rewrite))
		setFlags(t, m, []uint32{3}, FlagsAdd, Flagged, "mid")
		must(t, m.b.lock(ctx, m.b.ix.Rotate))
		setFlags(t, m, []uint32{1}, FlagsAdd, Answered)
		must(t, m.b.lock(ctx, m.b.ix.Rewrite))
	}
	copyTree(t, w.root, s.old)
	s.lateA = look(t, a)
	save(t, a, bodyOf("A6"), SaveOptions{Flags: Seen, Keywords: []string{"$Late", "mid"}})
	setFlags(t, a, []uint32{3}, FlagsAdd, Answered, "$Late")
	setFlags(t, a, []uint32{1}, FlagsRemove, Seen)
	must(t, a.Expunge(ctx, []uint32{5}))
	s.a, s.b = look(t, a), look(t, b)
	a.Close()
	b.Close()
	w.pool.Close()
	copyTree(t, w.root, s.last)
	if lines := log.take(); lines != nil {
		t.Fatalf("logged: %q", lines)
	}
	return s
}

func errOf[T any](_ T, err error) error { return err }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyTree copies a directory with its times and modes into an existing one.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	var dirs []string
	must(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(from, path)
		dst := filepath.Join(to, name)
		if d.IsDir() {
			dirs = append(dirs, name)
			return os.MkdirAll(dst, 0o700)
		}
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(dst, data, 0o600)
		}
		if err == nil {
			err = copyTimes(path, dst)
		}
		return err
	}))
	for _, name := range dirs {
		must(t, copyTimes(filepath.Join(from, name), filepath.Join(to, name)))
	}
}

func copyTimes(from, to string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	return os.Chtimes(to, st.ModTime(), st.ModTime())
}

// look reads all of a mailbox as a client does that has all the time in the world: what it
// finds damaged it looks at once more.
func look(t testing.TB, m *Mailbox) view {
	t.Helper()
	v, err := tryLook(m)
	must(t, err)
	return v
}

func tryLook(m *Mailbox) (v view, err error) {
	for range 3 {
		snap, err := m.Sync(ctx)
		if err != nil {
			return v, err
		}
		v = view{validity: snap.UIDValidity(), guid: snap.GUID()}
		again := false
		for i := range snap.Len() {
			text, err := readText(m, snap.UID(i))
			if errors.Is(err, ErrExpunged) {
				again = true
				continue
			}
			if err != nil {
				text = "error: " + err.Error()
			} else if msg, err := m.Message(snap.UID(i)); err == nil {
				if _, err := msg.GUID(); errors.Is(err, ErrExpunged) {
					again = true
				} else if err != nil {
					text = "error: " + err.Error()
				}
			}
			v.rows = append(v.rows, row{snap.UID(i), snap.Flags(i), sortWords(strings.Join(snap.Keywords(i), " "))})
			v.texts = append(v.texts, text)
		}
		if again || m.Snapshot() != snap {
			continue
		}
		return v, nil
	}
	return v, errors.New("the mailbox does not come to rest")
}

// A wound is a damage to one file of the tree.
type wound struct {
	file string // below the root
	kind string
	at   int
	do   func(path, old string) error
}

func (w *wound) String() string {
	if w.at < 0 {
		return w.file + ": " + w.kind
	}
	return fmt.Sprintf("%s: %s at %d", w.file, w.kind, w.at)
}

// wounds returns the damages tried on a file of that size. old tells whether there was
// an earlier version of it.
func wounds(file string, data []byte, old []byte, r *rand.Rand) (all []*wound) {
	add := func(kind string, at int, do func(path, old string) error) {
		all = append(all, &wound{file, kind, at, do})
	}
	size := len(data)
	for _, at := range []int{0, 1, 4, 20, 24, 40, 100, 120, size / 3, size / 2, size - 40, size - 16, size - 4, size - 1} {
		if at >= 0 && at < size {
			add("truncated", at, func(path, _ string) error { return os.Truncate(path, int64(at)) })
		}
	}
	for _, at := range []int{0, size / 2} {
		if at < size {
			add("zeroed", at, func(path, _ string) error { return patch(path, at, make([]byte, size-at)) })
		}
	}
	add("garbage", -1, func(path, _ string) error {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return patch(path, 0, b)
	})
	add("deleted", -1, func(path, _ string) error { return os.Remove(path) })
	add("no permission", -1, func(path, _ string) error { return os.Chmod(path, 0) })
	if old != nil && string(old) != string(data) {
		add("stale", -1, func(path, old string) error {
			b, err := os.ReadFile(old)
			if err == nil {
				err = os.WriteFile(path, b, 0o600)
			}
			return err
		})
	}
	replaced := func(kind string, make func(path string) error) {
		add(kind, -1, func(path, _ string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return make(path)
		})
	}
	replaced("directory", func(path string) error { return os.Mkdir(path, 0o700) })
	replaced("full directory", func(path string) error { return os.MkdirAll(path+"/x", 0o700) })
	replaced("dangling symlink", func(path string) error { return os.Symlink("nowhere", path) })
	replaced("symlink to itself", func(path string) error { return os.Symlink(filepath.Base(path), path) })
	replaced("FIFO", mkfifo)
	add("symlink", -1, func(path, _ string) error {
		elsewhere := filepath.Join(os.TempDir(), fmt.Sprintf("elsewhere%d-%d", os.Getpid(), r.Uint64()))
		if err := os.Rename(path, elsewhere); err != nil {
			return err
		}
		return os.Symlink(elsewhere, path)
	})
	step := max(1, size / *damageFlips)
	for at := 0; at < size; at += step {
		pos := min(at+r.IntN(step), size-1)
		bit := byte(1) << r.IntN(8)
		add("bit flipped", pos, func(path, _ string) error { return patch(path, pos, []byte{data[pos] ^ bit}) })
	}
	return all
}

var damageFlips = flag.Int("damageflips", 16, "how many bits to flip in each file")

func patch(path string, at int, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt(b, int64(at))
	return err
}

// An outcome is what became of a damaged tree.
type outcome struct {
	wound  *wound
	root   string
	err    error
	a, b   view
	saved  row
	first  []string // logged when it was opened
	second []string // ... the second time
	later  string   // what differs the second time
}

// suffer damages a copy of the tree, and opens, reads and delivers into it.
func (s *sample) suffer(t *testing.T, wd *wound, root string) (o *outcome) {
	t.Helper()
	o = &outcome{wound: wd, root: root}
	copyTree(t, s.last, root)
	must(t, wd.do(filepath.Join(root, wd.file), filepath.Join(s.old, wd.file)))
	stuck := time.AfterFunc(3*time.Minute, func() { panic("stuck: " + s.format + " " + wd.String()) })
	defer stuck.Stop()
	var log logbook
	o.a, o.b, o.saved, o.err = s.use(t, root, &log, true)
	o.first = log.take()
	if o.err != nil {
		return o
	}
	a, b, _, err := s.use(t, root, &log, false)
	o.second = log.take()
	switch {
	case err != nil:
		o.later = err.Error()
	default:
		ca, cb := differ(o.a, a), differ(o.b, b)
		if !ca.none() || !cb.none() {
			o.later = ca.String() + " | " + cb.String()
		}
	}
	return o
}

// A change is what differs between two views.
type change struct {
	Validity, GUID bool
	Lost, Extra    []string // texts
	UIDs           bool     // of messages that are in both
	Flags          bool     // ... with the same uid
}

func differ(want, got view) (c change) {
	c.Validity, c.GUID = want.validity != got.validity, want.guid != got.guid
	rest := got.clone()
	for i, text := range want.texts {
		k := slices.Index(rest.texts, text)
		if k < 0 {
			c.Lost = append(c.Lost, text)
			continue
		}
		switch {
		case rest.rows[k].UID != want.rows[i].UID:
			c.UIDs = true
		case rest.rows[k] != want.rows[i]:
			c.Flags = true
		}
		rest.texts, rest.rows = slices.Delete(rest.texts, k, k+1), slices.Delete(rest.rows, k, k+1)
	}
	c.Extra = rest.texts
	return c
}

func (c *change) none() bool {
	return reflect.DeepEqual(*c, change{Extra: c.Extra}) && len(c.Extra) == 0
}

func (c change) String() string {
	var b strings.Builder
	for what, ok := range map[string]bool{"VALIDITY": c.Validity, "GUID": c.GUID, "UIDS": c.UIDs, "flags": c.Flags} {
		if ok {
			b.WriteString(" " + what)
		}
	}
	if len(c.Lost) > 0 {
		fmt.Fprintf(&b, " LOST %q", c.Lost)
	}
	if len(c.Extra) > 0 {
		fmt.Fprintf(&b, " EXTRA %q", c.Extra)
	}
	return b.String()
}

func (s *sample) use(t *testing.T, root string, log *logbook, deliver bool) (a, b view, saved row, err error) {
	w := worldAt(t, root, s.format, log)
	defer w.pool.Close()
	ma, err := w.pool.Open(ctx, w.loc("A"), &w.set)
	if err != nil {
		return a, b, saved, fmt.Errorf("A: %w", err)
	}
	defer ma.Close()
	mb, err := w.pool.Open(ctx, w.loc("B"), &w.set)
	if err != nil {
		return a, b, saved, fmt.Errorf("B: %w", err)
	}
	defer mb.Close()
	if deliver {
		uid, err := saveText(ma, bodyOf("new"))
		if err != nil {
			return a, b, saved, err
		}
		saved.UID = uid
		if saved.UID, err = saveText(mb, bodyOf("new")); err != nil {
			return a, b, saved, err
		}
		if _, err := ma.SetFlags(ctx, FlagChange{UIDs: []uint32{uid}, Op: FlagsAdd, Flags: Seen, UnchangedSince: Unconditional}); err != nil {
			return a, b, saved, err
		}
		saved.UID = uid
	}
	if a, err = tryLook(ma); err != nil {
		return a, b, saved, err
	}
	if b, err = tryLook(mb); err != nil {
		return a, b, saved, err
	}
	if !s.rest(w.pool) {
		return a, b, saved, errors.New("a mailbox is still being mended")
	}
	a, err = tryLook(ma) // what was found in B may have mended A
	return a, b, saved, err
}

// rest waits until nothing is done in the background.
func (s *sample) rest(p *Pool) bool {
	for range 60000 {
		busy := false
		p.mu.Lock()
		for _, b := range p.boxes {
			busy = busy || b.users > 1
		}
		p.mu.Unlock()
		if !busy {
			return true
		}
		time.Sleep(time.Millisecond)
	}
	return false
}

// filesOf returns the files of the last tree.
func (s *sample) filesOf(t *testing.T) []string {
	t.Helper()
	var names []string
	for name := range readAll(t, s.last) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestDamageOfEachFile damages each file of a mailbox tree in each way there is, and
// demands that nobody loses more than what was only in that file, that it is logged in few lines, that the
// mailbox is sound afterwards, and that Dovecot thinks so too.
func TestDamageOfEachFile(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, format := range []string{"sdbox", "mdbox", "maildir", "mbox"} {
		t.Run(format, func(t *testing.T) {
			s := grow(t, format)
			r := rand.New(rand.NewPCG(1, 2))
			old, last := readAll(t, s.old), readAll(t, s.last)
			d := &dovecotJudge{t: t, s: s}
			for _, file := range s.filesOf(t) {
				if strings.Contains(file, "dovecot.list.index") {
					continue // nothing here reads it
				}
				for n, wd := range wounds(file, last[file], old[file], r) {
					root, err := os.MkdirTemp("", "w")
					must(t, err)
					o := s.suffer(t, wd, root)
					if bad := s.judge(t, o); bad != "" {
						t.Errorf("%v: %s\nlogged %q\nthen %q %s", wd, bad, o.first, o.second, o.later)
					}
					// Wrong values in the cache are not to be seen.
					if o.err == nil && !s.isMbox(file) && (wd.kind != "bit flipped" || n%8 == 0 && filepath.Base(file) != "dovecot.index.cache") {
						d.add(o)
					} else {
						os.RemoveAll(root)
					}
				}
			}
			d.run()
		})
	}
}

func mkfifo(path string) error { return unix.Mkfifo(path, 0o600) }

// TestFlippedIntro damages the record that says that what follows is about the extension "cache": that must not be
// taken for another's. The cache's reset id would make all changes of that one void.
func TestFlippedIntro(t *testing.T) {
	if asUser(t) {
		return
	}
	const file = ".B/dovecot.index.log"
	s := grow(t, "maildir")
	data := readAll(t, s.last)[file]
	intro := bytes.Index(data, []byte("cache")) - 20
	if intro < 0 || string(data[intro:intro+4]) != "\xff\xff\xff\xff" {
		t.Fatalf("no intro by name at %d", intro)
	}
	for at := intro; at < intro+8; at++ {
		for bit := range 8 {
			root, err := os.MkdirTemp("", "w")
			must(t, err)
			flip := func(path, _ string) error { return patch(path, at, []byte{data[at] ^ 1<<bit}) }
			o := s.suffer(t, &wound{file, fmt.Sprintf("bit %d flipped", bit), at, flip}, root)
			if bad := s.judge(t, o); bad != "" {
				t.Errorf("%v: %s\nlogged %q\nthen %q %s", o.wound, bad, o.first, o.second, o.later)
			}
			os.RemoveAll(root)
		}
	}
}

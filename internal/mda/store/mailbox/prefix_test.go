package mailbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/recordfs"
)

// A prefixOp is an operation of which every prefix of its writes is tried.
type prefixOp struct {
	name    string
	formats string
	prepare func(w *world, a, b *Mailbox) error
	do      func(w *world, a, b *Mailbox) error
}

var prefixOps = []prefixOp{
	{"delivery", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return errOf(saveText(a, bodyOf("new"))) }},
	{"append", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error {
		s, err := a.Save(ctx, SaveOptions{Flags: Seen | Draft, Keywords: []string{"k", "brandnew"}})
		if err != nil {
			return err
		}
		defer s.Abort()
		if _, err = s.Write([]byte(bodyOf("new"))); err == nil {
			_, err = s.Commit(ctx)
		}
		return err
	}},
	{"attachment", "sdbox mdbox", nil, func(w *world, a, b *Mailbox) error {
		return errOf(saveText(a, attachmentMail(attachmentLines(1, 1200, 76))))
	}},
	{"flags", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error {
		return errOf(a.SetFlags(ctx, FlagChange{UIDs: []uint32{1, 2, 3}, Op: FlagsReplace, Flags: Answered, Keywords: []string{"brandnew"}, UnchangedSince: Unconditional}))
	}},
	{"expunge", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return a.Expunge(ctx, []uint32{1, 3}) }},
	{"copy", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return errOf(a.Copy(ctx, []uint32{3}, b)) }},
	{"move", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return errOf(a.Move(ctx, []uint32{2}, b)) }},
	{"purge", "mdbox", nil, func(w *world, a, b *Mailbox) error { return storageOf(a).Purge(ctx) }},
	{"index rewrite", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return a.b.lock(ctx, a.b.ix.Rewrite) }},
	{"log rotation", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return a.b.lock(ctx, a.b.ix.Rotate) }},
	{"uidlist rewrite", "maildir", func(w *world, a, b *Mailbox) error {
		return os.WriteFile(filepath.Join(a.Location().Dir, "new", "1700000000.foreign.host"), []byte(bodyOf("foreign")), 0o600)
	}, func(w *world, a, b *Mailbox) error {
		if _, err := a.Sync(ctx); err != nil {
			return err
		}
		return a.Resync(ctx)
	}},
	{"ALT move", "sdbox mdbox", nil, func(w *world, a, b *Mailbox) error { return a.AltMove(ctx, []uint32{1, 2}, false) }},
	{"ALT move back", "sdbox mdbox", func(w *world, a, b *Mailbox) error { return a.AltMove(ctx, []uint32{1, 2}, false) },
		func(w *world, a, b *Mailbox) error { return a.AltMove(ctx, []uint32{1, 2}, true) }},
	{"resync", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return a.Resync(ctx) }},
	{"create", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return w.pool.Create(ctx, w.loc("C"), &w.set, Identity{}) }},
	{"delete", "sdbox mdbox maildir mbox", nil, func(w *world, a, b *Mailbox) error { return w.pool.Delete(ctx, w.loc("B"), &w.set) }},
}

// TestEveryWrite ends each operation after each system call that changes a file, and in the middle of
// each write. Dovecot opens what is there then, and has all that was acknowledged; so do we; what
// is there then Dovecot opens without a complaint, and sees the same.
func TestEveryWrite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a file system")
	}
	for _, format := range []string{"sdbox", "mdbox", "maildir", "mbox"} {
		for _, op := range prefixOps {
			if slices.Contains(strings.Fields(op.formats), format) {
				t.Run(format+"/"+op.name, func(t *testing.T) { newPrefixTest(t, format, &op).run() })
			}
		}
	}
}

// A prefixTest is one operation, and what it leaves.
type prefixTest struct {
	t             *testing.T
	format        string
	op            *prefixOp
	dir           string // of everything, which the unprivileged user can enter
	before, after [2]view
	states        []*recordfs.State
	acked         int // as many states were there when the operation was acknowledged
	raw, opened   prefixDovecot
}

func newPrefixTest(t *testing.T, format string, op *prefixOp) *prefixTest {
	dir, err := os.MkdirTemp("", "p")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	// In memory, since Dovecot and we flush what nobody needs.
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256m,mode=711"))
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return &prefixTest{t: t, format: format, op: op, dir: dir}
}

// world is the mailboxes below a root.
func (p *prefixTest) world(root string, log *logbook) *world {
	w := worldAt(p.t, root, p.format, log)
	w.set.Fsync = "optimized"
	setMbox(&w.set)
	if strings.HasPrefix(p.op.name, "ALT") {
		w.alt = filepath.Join(root, "alt")
	}
	if p.op.name == "attachment" {
		w.set.AttachmentDir, w.set.AttachmentFS, w.set.AttachmentHash, w.set.AttachmentMinSize = filepath.Join(root, "attachments"), "sis posix", "%{sha1}", 1000
	}
	return w
}

// record does the operation.
func (p *prefixTest) record() {
	t := p.t
	mount := filepath.Join(p.dir, "recorded")
	must(t, os.Mkdir(mount, 0o700))
	recorder, err := recordfs.Mount(mount)
	must(t, err)
	defer func() { must(t, recorder.Unmount()) }()
	var log logbook
	w := p.world(mount, &log)
	defer w.pool.Close()
	a, b := w.create("A"), w.create("B")
	for n, opt := range []SaveOptions{{Flags: Seen}, {Flags: Flagged, Keywords: []string{"k"}}, {}, {}} {
		save(t, a, bodyOf(fmt.Sprint("A", n+1)), opt)
	}
	save(t, b, bodyOf("B1"), SaveOptions{Flags: Draft})
	must(t, errOf(a.Copy(ctx, []uint32{1}, b)))
	must(t, a.Expunge(ctx, []uint32{4}))
	for _, m := range []*Mailbox{a, b} {
		must(t, m.b.lock(ctx, m.b.ix.Rewrite))
	}
	setFlags(t, a, []uint32{3}, FlagsAdd, Answered, "$Late")
	if p.op.prepare != nil {
		must(t, p.op.prepare(w, a, b))
	}
	p.before = [2]view{look(t, a), look(t, b)}
	recorder.Record()
	must(t, p.op.do(w, a, b))
	p.acked = len(recorder.Stop())
	p.after[0] = look(t, a)
	if p.op.name != "delete" {
		p.after[1] = look(t, b)
	}
	a.Close()
	b.Close()
	w.pool.Close()
	if lines := log.take(); lines != nil && p.op.name != "resync" {
		t.Fatalf("logged: %q", lines)
	}
	p.states = recorder.Stop()
}

func (p *prefixTest) run() {
	p.record()
	p.raw, p.opened = prefixDovecot{p: p, complains: true}, prefixDovecot{p: p}
	tried := 0
	for n, s := range p.states {
		if n > 0 && s.Equal(p.states[n-1]) && n != p.acked-1 {
			continue
		}
		tried++
		p.try(n, s)
	}
	p.raw.run()
	p.opened.run()
	if tried < 3 && p.op.name != "resync" {
		p.t.Errorf("only %d states", tried)
	}
	p.t.Logf("%d states of %d", tried, len(p.states))
}

// place writes a state as a killed process leaves it.
func (p *prefixTest) place(n int, s *recordfs.State, kind string) string {
	root := filepath.Join(p.dir, fmt.Sprint(kind, n))
	must(p.t, os.Mkdir(root, 0o700))
	must(p.t, os.Chown(root, unprivileged, unprivileged))
	must(p.t, s.Write(root, unprivileged))
	p.adopt(root)
	host, _ := os.Hostname()
	old := time.Now().Add(-time.Hour)
	must(p.t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.HasSuffix(path, ".lock") {
			err = os.WriteFile(path, fmt.Appendf(nil, "%d:%s", deadProcess, host), 0o600)
		}
		if err == nil && strings.HasSuffix(path, "lock") {
			err = os.Chtimes(path, old, old)
		}
		if err == nil && (kind == "raw" || strings.Contains(path, "C/")) && strings.HasSuffix(path, ".newlock") {
			err = os.Remove(path) // as Dovecot does itself, but only after it has waited for two minutes
		}
		return err
	}))
	return root
}

// adopt has the journal of an mbox name the copy of the file that it is about.
func (p *prefixTest) adopt(root string) {
	for _, name := range []string{"A", "B"} {
		path := filepath.Join(root, ".imap", name, mbox.JournalName)
		journal, err := os.ReadFile(path)
		if err != nil || len(journal) < 24 {
			continue
		}
		var st unix.Stat_t
		must(p.t, unix.Stat(filepath.Join(root, name), &st))
		binary.LittleEndian.PutUint64(journal[16:], st.Ino)
		must(p.t, os.WriteFile(path, journal, 0o600))
	}
}

// deadProcess is the id of none: the kernel gives no larger ones than 4194304.
const deadProcess = 4194305

func (p *prefixTest) try(n int, s *recordfs.State) {
	t := p.t
	what := fmt.Sprintf("state %d of %d (%d acknowledged), after %s", n, len(p.states), p.acked, s.After)
	wantBefore, wantAfter := p.before, p.after
	if n >= p.acked-1 {
		wantBefore = wantAfter
	}
	// Dovecot gives up a log with an unfinished record until that is cut off, and knows nothing of
	// how we finish the rewriting of an mbox.
	if !s.Torn && !s.Has("dovetail.mbox.journal") {
		p.raw.add(&prefixState{what, p.place(n, s, "raw"), wantBefore, wantAfter})
	}
	root := p.place(n, s, "ours")
	var log logbook
	w := p.world(root, &log)
	defer w.pool.Close()
	got, ok := p.use(what, w)
	if !ok {
		return
	}
	for i, name := range []string{"A", "B"} {
		if rest, ok := p.withoutLater(what+": "+name, got[i]); ok {
			p.judge(what+": "+name, wantBefore[i], wantAfter[i], rest)
		}
	}
	p.moved(what, got)
	if lines := log.take(); len(lines) > 4 {
		t.Errorf("%s: logged %q", what, lines)
	}
	w.pool.Close()
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = os.Lchown(path, unprivileged, unprivileged)
		}
		return err
	}))
	if p.op.name != "delete" {
		p.opened.add(&prefixState{what, root, got, got})
	}
}

// use saves a message in each mailbox and waits until nothing is mended any more.
func (p *prefixTest) use(what string, w *world) (got [2]view, ok bool) {
	var boxes [2]*Mailbox
	for i, name := range []string{"A", "B"} {
		m, err := w.pool.Open(ctx, w.loc(name), &w.set)
		if err == nil {
			defer m.Close()
			boxes[i] = m
			_, err = saveText(m, bodyOf("later"))
		}
		if err == nil {
			_, err = tryLook(m)
		}
		if isGone(err) || errors.Is(err, ErrNotExist) {
			if name == "B" && p.op.name == "delete" {
				boxes[i] = nil
				continue
			}
		}
		if err != nil {
			p.t.Errorf("%s: %s: %v", what, name, err)
			return got, false
		}
	}
	new(sample).rest(w.pool)
	for i, m := range boxes {
		if m != nil {
			got[i] = look(p.t, m)
		}
	}
	return got, true
}

// withoutLater returns what was there before a message was saved.
func (p *prefixTest) withoutLater(what string, got view) (view, bool) {
	if got.texts == nil && p.op.name == "delete" {
		return got, false
	}
	k := slices.Index(got.texts, bodyOf("later"))
	if k < 0 {
		p.t.Errorf("%s: what was saved afterwards is lost", what)
		return got, false
	}
	got = got.clone()
	got.rows, got.texts = slices.Delete(got.rows, k, k+1), slices.Delete(got.texts, k, k+1)
	return got, true
}

// moved demands that a message that is moved is somewhere.
func (p *prefixTest) moved(what string, got [2]view) {
	if p.op.name == "move" && !slices.Contains(got[0].texts, bodyOf("A2")) && !slices.Contains(got[1].texts, bodyOf("A2")) {
		p.t.Errorf("%s: what is moved is lost", what)
	}
}

// judge compares a mailbox with what it was before and after the operation.
func (p *prefixTest) judge(what string, before, after, got view) {
	for i, text := range got.texts {
		var known []row
		for _, v := range []view{before, after} {
			if k := slices.Index(v.texts, text); k >= 0 {
				known = append(known, v.rows[k])
			}
		}
		switch {
		case len(known) == 0:
			p.t.Errorf("%s: nobody sent %.60q", what, text)
		case slices.Contains(got.texts[:i], text):
			p.t.Errorf("%s: %.60q is there twice", what, text)
		case !slices.Contains(known, got.rows[i]) && slices.Contains(before.texts, text):
			p.t.Errorf("%s: %.60q is %v, want one of %v", what, text, got.rows[i], known)
		}
	}
	for _, text := range before.texts {
		if slices.Contains(after.texts, text) && !slices.Contains(got.texts, text) {
			p.t.Errorf("%s: %.60q is lost", what, text)
		}
	}
	if before.validity == after.validity && got.validity != after.validity {
		p.t.Errorf("%s: uid validity %d, was %d", what, got.validity, after.validity)
	}
}

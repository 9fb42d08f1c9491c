package mailbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A smallDisk is a file system in memory, of which a part can be taken.
type smallDisk struct {
	t    *testing.T
	root string
}

const diskPage = 4096

func newSmallDisk(t *testing.T) *smallDisk {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	d := &smallDisk{t: t, root: t.TempDir()}
	must(t, unix.Mount("tmpfs", d.root, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { unix.Unmount(d.root, unix.MNT_DETACH) })
	return d
}

func (d *smallDisk) ballast() string { return filepath.Join(d.root, "ballast") }

// fill leaves so many pages.
func (d *smallDisk) fill(pages int) {
	var st unix.Statfs_t
	must(d.t, unix.Statfs(d.root, &st))
	f, err := os.Create(d.ballast())
	must(d.t, err)
	defer f.Close()
	must(d.t, unix.Fallocate(int(f.Fd()), 0, 0, max(int64(st.Bfree)-int64(pages), 1)*diskPage))
}

func (d *smallDisk) release() { must(d.t, os.Remove(d.ballast())) }

// tree returns an empty directory on the disk, which has nothing else then.
func (d *smallDisk) tree() string {
	entries, err := os.ReadDir(d.root)
	must(d.t, err)
	for _, e := range entries {
		must(d.t, os.RemoveAll(filepath.Join(d.root, e.Name())))
	}
	root := filepath.Join(d.root, "mail")
	must(d.t, os.Mkdir(root, 0o700))
	return root
}

// A diskOp is an operation that needs space.
type diskOp struct {
	name   string
	format string // "" for all
	do     func(w *world, a, b *Mailbox) error
}

var diskOps = []diskOp{
	{"save", "", func(w *world, a, b *Mailbox) error { return errOf(saveText(a, bodyOf("small"))) }},
	{"save with keywords", "", func(w *world, a, b *Mailbox) error {
		s, err := a.Save(ctx, SaveOptions{Flags: Seen, Keywords: []string{"k", "brandnew"}})
		if err == nil {
			_, err = s.Write([]byte(bodyOf("keyword")))
		}
		if err == nil {
			_, err = s.Commit(ctx)
		}
		s.Abort()
		return err
	}},
	{"save much", "", func(w *world, a, b *Mailbox) error {
		return errOf(saveText(a, bodyOf("much")+strings.Repeat("0123456789abcde\n", 3000)))
	}},
	{"copy", "", func(w *world, a, b *Mailbox) error { return errOf(a.Copy(ctx, []uint32{1, 2, 3}, b)) }},
	{"move", "", func(w *world, a, b *Mailbox) error { return errOf(a.Move(ctx, []uint32{2}, b)) }},
	{"flags", "", func(w *world, a, b *Mailbox) error {
		_, err := a.SetFlags(ctx, FlagChange{UIDs: []uint32{1, 2, 3}, Op: FlagsAdd, Flags: Draft, Keywords: []string{"brandnew"}, UnchangedSince: Unconditional})
		return err
	}},
	{"expunge", "", func(w *world, a, b *Mailbox) error { return a.Expunge(ctx, []uint32{1, 3}) }},
	{"index rewrite", "", func(w *world, a, b *Mailbox) error { return a.b.lock(ctx, a.b.ix.Rewrite) }},
	{"log rotation", "", func(w *world, a, b *Mailbox) error { return a.b.lock(ctx, a.b.ix.Rotate) }},
	{"resync", "", func(w *world, a, b *Mailbox) error { return a.Resync(ctx) }},
	{"cache", "", func(w *world, a, b *Mailbox) error { return a.FillCache(ctx) }},
	{"purge", "mdbox", func(w *world, a, b *Mailbox) error { return storageOf(a).Purge(ctx) }},
	{"delete", "", func(w *world, a, b *Mailbox) error {
		loc := w.loc("B")
		if _, err := os.Stat(loc.Dir); err != nil {
			return nil
		}
		return w.pool.Delete(ctx, loc, &w.set)
	}},
	{"create", "", func(w *world, a, b *Mailbox) error {
		err := w.pool.Create(ctx, w.loc("C"), &w.set, Identity{UIDValidity: 7})
		if errors.Is(err, ErrExists) {
			err = nil
		}
		return err
	}},
}

// TestFullDiskInEachOperation has less and less space for each operation. It succeeds or fails as
// a whole; what was there before stays readable, nothing is left behind, and with space it succeeds.
func TestFullDiskInEachOperation(t *testing.T) {
	d := newSmallDisk(t)
	for _, format := range []string{"sdbox", "mdbox", "maildir", "mbox"} {
		for _, op := range diskOps {
			if op.format != "" && op.format != format {
				continue
			}
			t.Run(format+"/"+op.name, func(t *testing.T) {
				d.t = t
				failed := 0
				for pages := range 24 {
					for _, left := range []int64{2000, 100, 20} { // of the page that the log ends in
						if d.try(format, &op, pages, left) {
							failed++
						}
					}
				}
				t.Logf("failed %d times", failed)
			})
		}
	}
}

// try does an operation with so many pages left and reports whether it failed.
func (d *smallDisk) try(format string, op *diskOp, pages int, left int64) (failed bool) {
	t := d.t
	t.Helper()
	var log logbook
	w := worldAt(t, d.tree(), format, &log)
	w.set.Fsync = "optimized"
	a, b := w.create("A"), w.create("B")
	for n := range 4 {
		save(t, a, bodyOf(fmt.Sprint("A", n+1)), SaveOptions{Keywords: []string{"k"}})
	}
	save(t, b, bodyOf("B1"), SaveOptions{})
	must(t, a.Expunge(ctx, []uint32{4}))
	fillLog(t, a, left)
	beforeA, beforeB := look(t, a), look(t, b)
	log.take()
	what := fmt.Sprintf("%d pages, %d bytes in the log's", pages, left)

	d.fill(pages)
	err := op.do(w, a, b)
	if err != nil && !errors.Is(err, ErrNoSpace) && !errors.Is(err, index.ErrNoSpace) && !errors.Is(err, unix.ENOSPC) {
		t.Errorf("%s: %v", what, err)
	}
	// Where messages have moved in an mbox the index must be written before they can be read.
	moved := format == "mbox" && (op.name == "expunge" || op.name == "move")
	if err != nil && op.name != "delete" && !moved {
		d.compare(what+", while the disk is full", op, beforeA, a)
		d.compare(what+", while the disk is full", op, beforeB, b)
	}
	d.release()
	if err != nil {
		failed = true
		if err := op.do(w, a, b); err != nil {
			t.Errorf("%s: with space again: %v", what, err)
		}
	}
	var afterB view
	if _, err = tryLook(a); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if op.name != "delete" {
		if afterB, err = tryLook(b); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	save(t, a, bodyOf("last"), SaveOptions{})
	afterA := look(t, a)
	a.Close()
	b.Close()
	w.restartWith(&log)
	log.take()
	a = w.open("A")
	d.compare(what+", opened again", op, afterA, a)
	a.Close()
	if op.name != "delete" {
		b = w.open("B")
		d.compare(what+", opened again", op, afterB, b)
		b.Close()
	}
	if lines := log.take(); len(lines) > 0 {
		t.Errorf("%s: opening again logs %q", what, lines)
	}
	w.pool.Close()
	for _, name := range leftOver(t, w.root) {
		t.Errorf("%s: %s was left behind", what, name)
	}
	return failed
}

// restartWith is restart with a log.
func (w *world) restartWith(log *logbook) {
	w.pool.Close()
	w.pool = NewPool(log.logger())
}

func (d *smallDisk) compare(what string, op *diskOp, want view, m *Mailbox) {
	d.t.Helper()
	got, err := tryLook(m)
	if err != nil {
		d.t.Errorf("%s: %v", what, err)
		return
	}
	c := differ(want, got)
	if op.name == "move" && !c.Validity && !c.GUID && !c.UIDs && !c.Flags && len(c.Lost) == 0 {
		return // the copies were made, but the originals could not be expunged
	}
	if !c.none() {
		d.t.Errorf("%s: %v", what, c)
	}
}

// fillLog appends to the log until it ends so many bytes before the end of a page.
func fillLog(t *testing.T, m *Mailbox, left int64) {
	t.Helper()
	for n := 0; ; n++ {
		loc := m.Location()
		st, err := os.Stat(filepath.Join(loc.indexDir(), index.LogName))
		must(t, err)
		room := diskPage - st.Size()%diskPage
		if room <= left {
			return
		}
		op := FlagOp(n % 2)
		setFlags(t, m, []uint32{1}, op, Flagged)
	}
}

// leftOver returns temporary and lock files.
func leftOver(t *testing.T, root string) (names []string) {
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		name := e.Name()
		if strings.HasPrefix(name, ".temp") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".lock") || strings.HasSuffix(name, ".newlock") ||
			filepath.Base(filepath.Dir(path)) == "tmp" || strings.Contains(name, ".broken") {
			names = append(names, path)
		}
		return nil
	}))
	slices.Sort(names)
	return names
}

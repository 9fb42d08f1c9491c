package mailbox

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// TestEveryPrefix stops each operation after every byte that it writes to the
// log, and after the mail file got its name. The mailbox then is as before or as
// after the operation, nothing in between, and works.
func TestEveryPrefix(t *testing.T) {
	for _, op := range []struct {
		name  string
		do    func(t *testing.T, m *Mailbox)
		after []row
	}{
		{"save", func(t *testing.T, m *Mailbox) {
			save(t, m, "new\n", SaveOptions{Flags: Seen, Keywords: []string{"k", "n"}})
		}, []row{{1, 0, ""}, {2, Flagged, "k"}, {3, Seen, "k n"}}},
		{"flags", func(t *testing.T, m *Mailbox) {
			setFlags(t, m, []uint32{1, 2}, FlagsReplace, Seen, "n")
		}, []row{{1, Seen, "n"}, {2, Seen, "n"}}},
		{"expunge", func(t *testing.T, m *Mailbox) {
			if err := m.Expunge(ctx, []uint32{1}); err != nil {
				t.Fatal(err)
			}
		}, []row{{2, Flagged, "k"}}},
	} {
		t.Run(op.name, func(t *testing.T) {
			w := newWorld(t)
			m := w.create("A")
			save(t, m, "one\n", SaveOptions{})
			save(t, m, "two\n", SaveOptions{Flags: Flagged, Keywords: []string{"k"}})
			before := rows(m.Snapshot())
			dir := m.Location().Dir
			old := readTree(t, dir)
			op.do(t, m)
			m.Close()
			w.restart()
			new := readTree(t, dir)
			start, end := len(old[index.LogName]), len(new[index.LogName])
			for n := start; n <= end; n++ {
				tree := map[string][]byte{}
				for _, from := range []map[string][]byte{new, old} { // files removed last, made first
					for name, data := range from {
						tree[name] = data
					}
				}
				tree[index.LogName] = new[index.LogName][:n]
				want, unfinished := before, []row(nil)
				if n == end {
					want = op.after
				} else if op.name == "save" {
					// The file has its name: nobody can know that the sender was not told so.
					unfinished = []row{{3, 0, ""}}
				}
				checkPrefix(t, tree, want, unfinished)
			}
		})
	}
}

// checkPrefix opens a mailbox of which the tree has been written. What is unfinished may become
// messages when the next one is saved.
func checkPrefix(t *testing.T, tree map[string][]byte, want, unfinished []row) {
	t.Helper()
	w := newWorld(t)
	loc := w.loc("A")
	if err := os.MkdirAll(loc.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range tree {
		if err := os.WriteFile(filepath.Join(loc.Dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := w.open("A")
	wantRows(t, m.Snapshot(), want)
	r := save(t, m, "later\n", SaveOptions{})
	wantRows(t, m.Snapshot(), append(slices.Concat(want, unfinished), row{r.UID, 0, ""}))
	if got := text(t, m, r.UID); got != "later\n" {
		t.Errorf("text %q", got)
	}
	m.Close()
}

func readTree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	tree := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if tree[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// TestKill kills a process that saves, again and again. Everything it was told
// to be saved is there once, and nothing is there twice.
func TestKill(t *testing.T) {
	if dir := os.Getenv("MAILBOX_TEST_KILL"); dir != "" {
		saveForever(t, dir)
	}
	for _, format := range []string{"sdbox", "maildir", "mbox"} {
		t.Run(format, func(t *testing.T) { kill(t, format) })
	}
}

func kill(t *testing.T, format string) {
	w := newWorld(t)
	w.format = format
	setMbox(&w.set)
	w.create("A").Close()
	w.restart()
	acked := map[string]uint32{}
	for round := range 12 {
		killed(t, w, round, acked)
	}
	if len(acked) == 0 {
		t.Fatal("nothing was saved")
	}
	m := w.open("A")
	s := synced(t, m)
	seen := map[string]uint32{}
	for i := range s.Len() {
		body := text(t, m, s.UID(i))
		if other, twice := seen[body]; twice {
			t.Errorf("uids %d and %d are both %q", other, s.UID(i), body)
		}
		seen[body] = s.UID(i)
	}
	for body, uid := range acked {
		if seen[body] != uid {
			t.Errorf("%q was saved as uid %d, found as %d", body, uid, seen[body])
		}
	}
}

// killed runs a saving process for a while.
func killed(t *testing.T, w *world, round int, acked map[string]uint32) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), "MAILBOX_TEST_KILL="+w.root, "MAILBOX_TEST_FORMAT="+w.format, fmt.Sprint("MAILBOX_TEST_ROUND=", round))
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	stop := 20 + rand.IntN(150)
	scan := bufio.NewScanner(out)
	for n := 0; scan.Scan(); n++ {
		var body string
		var uid uint32
		if _, err := fmt.Sscanf(scan.Text(), "saved %d %q", &uid, &body); err != nil {
			t.Fatalf("%q: %v", scan.Text(), err)
		}
		acked[body] = uid
		if n == stop {
			cmd.Process.Kill()
		}
	}
	cmd.Wait()
}

func saveForever(t *testing.T, root string) {
	p := NewPool(nil)
	w := &world{t: t, root: root, format: os.Getenv("MAILBOX_TEST_FORMAT"), pool: p}
	setMbox(&w.set)
	w.set.RotateMax = 4 << 10 // so that rotation is interrupted, too
	w.set.RewriteMax = 1 << 10
	m := w.open("A")
	for g := range 4 {
		go func() {
			for n := 0; ; n++ {
				body := fmt.Sprintf("Subject: round %s session %d message %d\n\n", os.Getenv("MAILBOX_TEST_ROUND"), g, n)
				s, err := m.Save(ctx, SaveOptions{Keywords: []string{"k"}})
				if err == nil {
					_, err = s.Write([]byte(body))
				}
				var r SaveResult
				if err == nil {
					r, err = s.Commit(ctx)
				}
				if err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				os.Stdout.WriteString(fmt.Sprintf("saved %d %q\n", r.UID, body))
			}
		}()
	}
	select {}
}

// TestFullDisk saves, copies and changes flags while the disk fills up: each
// succeeds or leaves no trace.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may mount a small file system")
	}
	w := newWorld(t)
	if err := unix.Mount("tmpfs", w.root, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount: %v", err)
	}
	defer unix.Unmount(w.root, unix.MNT_DETACH)
	m := w.create("A")
	other := w.create("B")
	body := strings.Repeat("some text\n", 500)
	full, ok := 0, 0
	for full < 30 && ok < 500 {
		before := m.Snapshot().Len()
		err := trySave(m, body)
		switch {
		case errors.Is(err, ErrNoSpace):
			full++
			if n := m.Snapshot().Len(); n != before {
				t.Fatalf("%d messages after a save that failed, %d before", n, before)
			}
			body = body[:len(body)/2+1] // fill up the rest
		case err != nil:
			t.Fatal(err)
		default:
			ok++
		}
		if _, err := m.Copy(ctx, []uint32{1}, other); err != nil && !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
		if _, err := m.SetFlags(ctx, FlagChange{UIDs: []uint32{1}, Op: FlagOp(ok % 2), Flags: Seen, UnchangedSince: Unconditional}); err != nil && !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
	}
	if full == 0 {
		t.Fatal("the disk did not fill up")
	}
	l, err := dbox.List(m.b.dir)
	if err != nil || len(l.UIDs) != m.Snapshot().Len() || len(l.Temps) != 0 {
		t.Errorf("%d files, %d messages, temporary files %v, %v", len(l.UIDs), m.Snapshot().Len(), l.Temps, err)
	}
	want := rows(m.Snapshot())
	m.Close()
	other.Close()
	w.restart()
	m = w.open("A")
	wantRows(t, m.Snapshot(), want)
	if err := m.Expunge(ctx, []uint32{1, 2, 3, 4, 5}); err != nil {
		t.Fatalf("expunge on a full disk: %v", err)
	}
	save(t, m, "fits again\n", SaveOptions{})
}

// TestStaleTemps finds what killed saves leave.
func TestStaleTemps(t *testing.T) {
	w := newWorld(t)
	w.set.TempScanInterval = time.Hour
	m := w.create("A")
	dir := m.Location().Dir
	m.Close()
	old, fresh := filepath.Join(dir, dbox.TempName()), filepath.Join(dir, dbox.TempName())
	for _, path := range []string{old, fresh} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open := func(at time.Time) {
		w.restart()
		w.pool.now = func() time.Time { return at }
		w.open("A").Close()
	}
	exists := func(path string) bool { _, err := os.Stat(path); return !errors.Is(err, fs.ErrNotExist) }
	open(time.Now().Add(dbox.StaleAge / 2))
	if !exists(old) || !exists(fresh) {
		t.Error("a temporary file was removed too early")
	}
	open(time.Now().Add(2 * dbox.StaleAge))
	if exists(old) {
		t.Error("a stale temporary file was not removed")
	}
}

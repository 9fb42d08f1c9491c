package mailbox

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mda/store/maildir"
)

func newMaildirWorld(t *testing.T) *world {
	w := newWorld(t)
	w.format = "maildir"
	return w
}

// TestMaildirTurns has Dovecot and this package change the same mailboxes in turn.
func TestMaildirTurns(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, creator := range []string{"ours", "theirs"} {
		t.Run(creator, func(t *testing.T) { turns(t, newMaildirWorld(t), creator) })
	}
}

// TestMaildirTogether has both save, flag and expunge at the same time.
func TestMaildirTogether(t *testing.T) {
	if asUser(t) {
		return
	}
	m := together(t, newMaildirWorld(t))
	if n := len(files(t, m, "cur")) + len(files(t, m, "new")); n != 120 {
		t.Errorf("%d files, want 120", n)
	}
	if left := files(t, m, "tmp"); len(left) != 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

// files returns the names in a directory of a mailbox.
func files(t *testing.T, m *Mailbox, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.Location().Dir, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// drop puts a file into new, as maildrop does.
func drop(t *testing.T, m *Mailbox, name, text string) {
	t.Helper()
	dir := m.Location().Dir
	err := os.WriteFile(filepath.Join(dir, "tmp", name), []byte(text), 0o600)
	if err == nil {
		err = os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "new", name))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func synced(t *testing.T, m *Mailbox) *Snapshot {
	t.Helper()
	s, err := m.Sync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestMaildirForeign has another program deliver, rename and remove files.
func TestMaildirForeign(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	save(t, m, "Subject: 1\r\n\r\nx\r\n", SaveOptions{Flags: Seen, Keywords: []string{"Work"}})
	drop(t, m, "1700000002.2.host", "Subject: 3\n\nx\n")
	drop(t, m, "1700000001.9.host", "Subject: 2\n\nx\n")
	wantRows(t, synced(t, m), []row{{1, Seen, "Work"}, {2, 0, ""}, {3, 0, ""}})

	dir := m.Location().Dir
	// Unknown letters stay; letters without a keyword get one.
	if err := os.Rename(dir+"/new/1700000001.9.host", dir+"/cur/1700000001.9.host:2,FSXaz"); err != nil {
		t.Fatal(err)
	}
	wantRows(t, synced(t, m), []row{{1, Seen, "Work"}, {2, Flagged | Seen, "Work unknown-25"}, {3, 0, ""}})
	setFlags(t, m, []uint32{2}, FlagsRemove, Flagged, "Work")
	if _, err := os.Stat(dir + "/cur/1700000001.9.host:2,SXz"); err != nil {
		t.Errorf("%v; there are %v", err, files(t, m, "cur"))
	}
	if err := os.Remove(dir + "/new/1700000002.2.host"); err != nil {
		t.Fatal(err)
	}
	wantRows(t, synced(t, m), []row{{1, Seen, "Work"}, {2, Seen, "unknown-25"}})

	// A session that takes \Recent empties new.
	drop(t, m, "1700000003.1.host", "Subject: 4\n\nx\n")
	synced(t, m)
	if first, err := m.ClaimRecent(ctx); err != nil || first != 1 {
		t.Errorf("first recent %d, %v", first, err)
	}
	if left := files(t, m, "new"); len(left) != 0 {
		t.Errorf("left in new: %v", left)
	}
	msg, err := m.Message(4)
	if err != nil {
		t.Fatal(err)
	}
	if d, err := msg.details(); err != nil || d.GUID != "1700000003.1.host" || d.Virtual != 17 || d.Physical != 14 {
		t.Errorf("%+v, %v", d, err)
	}

	// All of it is still so for a new process, whatever happens to the index.
	want := []row{{1, Seen, "Work"}, {2, Seen, "unknown-25"}, {4, 0, ""}}
	for _, lost := range []string{"", "dovecot.index", "dovecot.index.log", "dovecot.index*"} {
		m.Close()
		w.restart()
		paths, err := filepath.Glob(dir + "/" + lost)
		for _, path := range paths {
			if lost != "" && err == nil {
				err = os.Remove(path)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		m = w.open("A")
		s := synced(t, m)
		got := rows(s)
		for i := range got {
			got[i].Keywords = sortWords(got[i].Keywords)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("without %q (-want +got)\n%s", lost, d)
		}
	}
}

// TestMaildirSameTick has a program deliver right after new was listed, so soon that the time of the
// directory stays the same.
func TestMaildirSameTick(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	dir := m.Location().Dir + "/new"
	for i := range uint32(20) {
		drop(t, m, fmt.Sprintf("17000000%02d.1.host", 2*i), "Subject: 1\n\nx\n")
		if n := synced(t, m).Len(); n != int(2*i+1) {
			t.Fatalf("%d messages, want %d", n, 2*i+1)
		}
		listed, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		drop(t, m, fmt.Sprintf("17000000%02d.1.host", 2*i+1), "Subject: 2\n\nx\n")
		if err := os.Chtimes(dir, listed.ModTime(), listed.ModTime()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(25 * time.Millisecond)
		if n := synced(t, m).Len(); n != int(2*i+2) {
			t.Fatalf("%d messages, want %d", n, 2*i+2)
		}
	}
}

// TestMaildirNotify has a session hear of a file put into new.
func TestMaildirNotify(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	synced(t, m)
	heard := make(chan struct{}, 10)
	m.Notify(func() { heard <- struct{}{} })
	drop(t, m, "1700000001.1.host", "Subject: 1\n\nx\n")
	for m.Snapshot().Len() == 0 {
		select {
		case <-heard:
		case <-time.After(60 * time.Second):
			t.Fatal("heard nothing")
		}
	}
}

// TestMaildirOfOthers opens what another program made: neither index nor uidlist, nor tmp.
func TestMaildirOfOthers(t *testing.T) {
	w := newMaildirWorld(t)
	dir := w.loc("A").Dir
	for _, name := range []string{"cur", "new"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"cur/1700000002.1.host:2,RS": "b\n", "new/1700000001.1.host": "a\n", "cur/1700000003.1.host:2,": "c\r\n",
		"cur/:2,S": "no base name\n", "new/1700000002.1.host": "one name twice\n", "cur/.nfs0001": "not a message",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := w.open("A")
	s := synced(t, m)
	wantRows(t, s, []row{{1, 0, ""}, {2, Answered | Seen, ""}, {3, 0, ""}, {4, 0, ""}, {5, 0, ""}})
	if c := s.Counts(); c.Recent != 2 {
		t.Errorf("%d recent messages, want the 2 that got new names in new", c.Recent)
	}
	for uid, want := range map[uint32]string{1: "a\n", 2: "b\n", 3: "c\r\n"} {
		if got := text(t, m, uid); got != want {
			t.Errorf("uid %d is %q, want %q", uid, got, want)
		}
	}
	msg, err := m.Message(3)
	if err != nil {
		t.Fatal(err)
	}
	if size, err := msg.VirtualSize(); err != nil || size != 3 {
		t.Errorf("virtual size %d, %v", size, err)
	}
}

// TestMaildirRenamed has a message read while another program renames it all the time.
func TestMaildirRenamed(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	save(t, m, "text\r\n", SaveOptions{Flags: Seen})
	dir := m.Location().Dir + "/cur/"
	names := [2]string{files(t, m, "cur")[0]}
	names[1] = strings.TrimSuffix(names[0], "S") + "FS"
	done := make(chan error)
	var over atomic.Bool
	go func() {
		var err error
		for n := 0; err == nil && !over.Load(); n++ {
			err = os.Rename(dir+names[n%2], dir+names[(n+1)%2])
		}
		done <- err
	}()
	for range 300 {
		if got := text(t, m, 1); got != "text\n" {
			t.Fatalf("read %q", got)
		}
		if s := synced(t, m); s.Len() != 1 || s.UID(0) != 1 {
			t.Fatalf("messages: %v", rows(s))
		}
	}
	over.Store(true)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestMaildirCopy checks that copies share file and GUID.
func TestMaildirCopy(t *testing.T) {
	w := newMaildirWorld(t)
	a, b := w.create("A"), w.create("B")
	save(t, a, "Subject: 1\r\n\r\nx\r\n", SaveOptions{Flags: Seen, Keywords: []string{"One", "Two"}})
	setFlags(t, a, []uint32{1}, FlagsRemove, 0, "One")
	for range 2 {
		if _, err := a.Copy(ctx, []uint32{1}, b); err != nil {
			t.Fatal(err)
		}
	}
	w.set.MaildirCopyHardlinks = true
	for range 2 {
		if _, err := a.Copy(ctx, []uint32{1}, b); err != nil {
			t.Fatal(err)
		}
	}
	wantRows(t, synced(t, b), []row{{1, Seen, "Two"}, {2, Seen, "Two"}, {3, Seen, "Two"}, {4, Seen, "Two"}})
	guid := func(m *Mailbox, uid uint32) string {
		msg, err := m.Message(uid)
		if err != nil {
			t.Fatal(err)
		}
		g, err := msg.GUID()
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	for uid := range uint32(4) {
		if got, want := guid(b, uid+1), guid(a, 1); got != want {
			t.Errorf("copy %d has GUID %s, the original %s", uid+1, got, want)
		}
	}
	st, err := os.Stat(filepath.Join(a.Location().Dir, "cur", files(t, a, "cur")[0]))
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for _, name := range files(t, b, "cur") {
		if st2, err := os.Stat(filepath.Join(b.Location().Dir, "cur", name)); err == nil && os.SameFile(st, st2) {
			same++
		}
	}
	if same != 2 {
		t.Errorf("%d copies are links, want 2", same)
	}
	if left := files(t, b, "tmp"); len(left) != 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

// TestMaildirDamage damages the files beside the messages.
func TestMaildirDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(list string) string
		want   []uint32
	}{
		{"cut line", func(s string) string { return s[:len(s)-5] }, []uint32{1, 2, 4}},
		{"garbage line", func(s string) string { return strings.Replace(s, "\n2 ", "\nxx ", 1) }, []uint32{1, 3, 4}},
		{"uids descend", func(s string) string { return strings.Replace(s, "\n3 ", "\n1 ", 1) }, []uint32{1, 2, 4}},
		{"no version", func(s string) string { return "9" + s[1:] }, []uint32{1, 2, 3}},
		{"removed", nil, []uint32{4, 5, 6}},
		{"another uidvalidity", func(s string) string {
			v, rest, _ := strings.Cut(s, " N")
			return v[:3] + "77 N" + rest
		}, []uint32{4, 5, 6}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newMaildirWorld(t)
			m := w.create("A")
			for range 3 {
				save(t, m, "Subject: 1\r\n\r\nx\r\n", SaveOptions{})
			}
			path := filepath.Join(m.Location().Dir, "dovecot-uidlist")
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m.Close()
			w.restart()
			if c.damage == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, []byte(c.damage(string(text))), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			m = w.open("A")
			s := synced(t, m)
			var got []uint32
			for i := range s.Len() {
				got = append(got, s.UID(i))
				if f, err := (&Message{b: m.b, uid: s.UID(i), st: s.st, i: i}).open(); err != nil {
					t.Errorf("uid %d: %v", s.UID(i), err)
				} else {
					f.Close()
				}
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("uids (-want +got)\n%s", d)
			}
			if r := save(t, m, "Subject: 1\r\n\r\nx\r\n", SaveOptions{}); r.UID != s.UIDNext() {
				t.Errorf("saved as %d, next was %d", r.UID, s.UIDNext())
			}
		})
	}
}

// TestMaildirListRemoved removes the uidlist while the mailbox is open: memory has it.
func TestMaildirListRemoved(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	for range 3 {
		save(t, m, "Subject: 1\r\n\r\nx\r\n", SaveOptions{})
	}
	guid := m.GUID()
	if err := os.Remove(filepath.Join(m.Location().Dir, "dovecot-uidlist")); err != nil {
		t.Fatal(err)
	}
	wantRows(t, synced(t, m), []row{{1, 0, ""}, {2, 0, ""}, {3, 0, ""}})
	m.Close()
	w.restart()
	m = w.open("A")
	wantRows(t, synced(t, m), []row{{1, 0, ""}, {2, 0, ""}, {3, 0, ""}})
	if m.GUID() != guid {
		t.Errorf("GUID %x, was %x", m.GUID(), guid)
	}
}

// TestMaildirKilled replays what is on disk when a process is killed between renaming
// a file and writing the log.
func TestMaildirKilled(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	for range 3 {
		save(t, m, "Subject: 1\r\n\r\nx\r\n", SaveOptions{})
	}
	dir := m.Location().Dir
	log, err := os.ReadFile(dir + "/dovecot.index.log")
	if err != nil {
		t.Fatal(err)
	}
	setFlags(t, m, []uint32{2}, FlagsAdd, Seen, "k")
	if err := m.Expunge(ctx, []uint32{3}); err != nil {
		t.Fatal(err)
	}
	save(t, m, "Subject: 4\r\n\r\nx\r\n", SaveOptions{Flags: Flagged})
	m.Close()
	w.restart()
	if err := os.WriteFile(dir+"/dovecot.index.log", log, 0o600); err != nil {
		t.Fatal(err)
	}
	wantRows(t, synced(t, w.open("A")), []row{{1, 0, ""}, {2, Seen, "k"}, {4, Flagged, ""}})
}

// TestMaildirManyKeywords uses more keywords than there are letters.
func TestMaildirManyKeywords(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	var names []string
	for n := range maildir.MaxKeywords + 4 {
		names = append(names, "k"+string(rune('A'+n)))
	}
	save(t, m, "Subject: 1\r\n\r\nx\r\n", SaveOptions{Keywords: names})
	drop(t, m, "1700000001.1.host", "x\n") // has the directories listed
	s := synced(t, m)
	if d := cmp.Diff(names, s.Keywords(0)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestMaildirSamples compares with what doveadm fetch said of mailboxes written by Dovecot 2.3.19.
func TestMaildirSamples(t *testing.T) {
	const dated = "2024-01-01 10:00:0"
	t.Setenv("TZ", "UTC")
	for _, c := range []struct{ path, box, want string }{
		{"maildir/Maildir", "INBOX", "1\t$Forwarded \\Seen\t8\t1795337756.M213666P32097.vm,S=157,W=164\t164\t" + dated + "1\n" +
			"2\t\\Seen\t9\t1795337756.M215844P32097.vm,S=157,W=164\t164\t" + dated + "2\n" +
			"3\tCustom \\Flagged\t12\t1795337756.M217346P32097.vm,S=157,W=164\t164\t" + dated + "3\n" +
			"5\t\\Recent\t16\t1795337756.M227856P32087.vm,S=374,W=388\t388\t2026-11-22 08:55:56\n" +
			"messages=4 recent=1 uidnext=6 uidvalidity=1795337758 unseen=2 highestmodseq=16 guid=8924470c1cae026b617d000083ecc375\n"},
		{"maildir/Maildir/.Work.Projects", "Work.Projects", "1\t$Forwarded \\Recent \\Seen\t3\t1795337756.M213666P32097.vm,S=157,W=164\t164\t" + dated + "1\n" +
			"2\tCustom \\Flagged \\Recent\t4\t1795337756.M217346P32097.vm,S=157,W=164\t164\t" + dated + "3\n" +
			"messages=2 recent=2 uidnext=3 uidvalidity=1795337756 unseen=1 highestmodseq=4 guid=5192220c1cae026b617d000083ecc375\n"},
		{"maildir-fs/Maildir/Work/Projects", "Work/Projects", "1\t$Forwarded \\Recent \\Seen\t3\t1795337756.M279025P32102.vm,S=157,W=164\t164\t" + dated + "1\n" +
			"2\tCustom \\Flagged \\Recent\t4\t1795337756.M282887P32102.vm,S=157,W=164\t164\t" + dated + "3\n" +
			"messages=2 recent=2 uidnext=3 uidvalidity=1795337756 unseen=1 highestmodseq=4 guid=6cb3f60f1cae026b667d000083ecc375\n"},
	} {
		t.Run(c.path, func(t *testing.T) {
			w := newWorld(t)
			unpackDated(t, "testdata/maildir-2.3.19.tar.gz", w.root)
			m, err := w.pool.Open(context.Background(), Location{Format: "maildir", Name: c.box, Dir: filepath.Join(w.root, c.path)}, &w.set)
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			if d := cmp.Diff(c.want, ourTable(t, m)); d != "" {
				t.Errorf("(-Dovecot +ours)\n%s", d)
			}
		})
	}
}

// unpackDated unpacks an archive with the times of files and directories.
func unpackDated(t *testing.T, path, dir string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var dirs []*tar.Header
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			dirs = append(dirs, h)
			err = os.MkdirAll(path, 0o700)
		} else {
			var data []byte
			if data, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(path, data, 0o600)
			}
			if err == nil {
				err = os.Chtimes(path, h.ModTime, h.ModTime)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range dirs {
		if err := os.Chtimes(filepath.Join(dir, h.Name), h.ModTime, h.ModTime); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMaildirSettings checks what each setting changes.
func TestMaildirSettings(t *testing.T) {
	const name = "1700000001.1.host,S=99,W=100"
	size := func(m *Mailbox) int64 {
		msg, err := m.Message(1)
		if err != nil {
			t.Fatal(err)
		}
		n, err := msg.VirtualSize()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	t.Run("wrong sizes in names", func(t *testing.T) {
		w := newMaildirWorld(t)
		m := w.create("A")
		drop(t, m, name, "text\n")
		synced(t, m)
		if n := size(m); n != 6 {
			t.Errorf("virtual size %d, want 6", n)
		}
	})
	t.Run("maildir_broken_filename_sizes", func(t *testing.T) {
		w := newMaildirWorld(t)
		w.set.MaildirBrokenSizes = true
		m := w.create("A")
		drop(t, m, "1700000001.1.host,S=5,W=100", "text\n")
		synced(t, m)
		if n := size(m); n != 6 {
			t.Errorf("virtual size %d, want 6", n)
		}
	})
	t.Run("maildir_empty_new", func(t *testing.T) {
		w := newMaildirWorld(t)
		w.set.MaildirEmptyNew = true
		m := w.create("A")
		drop(t, m, "1700000001.1.host", "text\n")
		if s := synced(t, m); s.Counts().Recent != 1 {
			t.Errorf("%d recent messages, want 1", s.Counts().Recent)
		}
		if got := files(t, m, "cur"); len(got) != 1 || got[0] != "1700000001.1.host:2," {
			t.Errorf("in cur: %v", got)
		}
	})
	t.Run("maildir_very_dirty_syncs", func(t *testing.T) {
		w := newMaildirWorld(t)
		w.set.MaildirVeryDirtySyncs = true
		m := w.create("A")
		save(t, m, "text\r\n", SaveOptions{Flags: Seen})
		synced(t, m)
		dir := m.Location().Dir + "/cur/"
		name := files(t, m, "cur")[0]
		if err := os.Rename(dir+name, strings.TrimSuffix(dir+name, "S")+"FS"); err != nil {
			t.Fatal(err)
		}
		wantRows(t, synced(t, m), []row{{1, Seen, ""}})
		if got := text(t, m, 1); got != "text\n" {
			t.Errorf("the renamed file is %q", got)
		}
		drop(t, m, "1700000001.1.host", "text\n") // now the directories are listed
		wantRows(t, synced(t, m), []row{{1, Seen | Flagged, ""}, {2, 0, ""}})
	})
}

// TestMaildirAnnounced has Dovecot killed after it announced a change of flags and before it
// renamed the file.
func TestMaildirAnnounced(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	save(t, m, "text\r\n", SaveOptions{})
	save(t, m, "text\r\n", SaveOptions{})
	log, err := os.OpenFile(m.Location().Dir+"/dovecot.index.log", os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	// An internal FLAG_UPDATE: uid 1 gets \Seen.
	_, err = log.WriteString("\x80\x80\x80\x85\x04\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x08\x00\x00\x00")
	log.Close()
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	w.restart()
	m = w.open("A")
	drop(t, m, "1700000001.1.host", "text\n") // has names compared with the index
	wantRows(t, synced(t, m), []row{{1, Seen, ""}, {2, 0, ""}, {3, 0, ""}})
	if got := files(t, m, "cur"); len(got) != 1 || !strings.HasSuffix(got[0], ":2,S") {
		t.Errorf("in cur: %v", got)
	}
	if left := m.b.ix.State().Unsynced(); len(left) != 0 {
		t.Errorf("still to be done: %v", left)
	}
	setFlags(t, m, []uint32{1}, FlagsRemove, Seen)
	wantRows(t, synced(t, m), []row{{1, 0, ""}, {2, 0, ""}, {3, 0, ""}})
}

// A mailbox whose deletion was cut off can be made anew.
func TestMakeHalfDeletedMaildir(t *testing.T) {
	w := newWorld(t)
	w.format = "maildir"
	ctx := t.Context()
	m := w.create("A")
	save(t, m, "text\n", SaveOptions{})
	m.Close()
	w.pool.Close()
	w.pool = NewPool(nil)
	dir := w.loc("A").Dir
	if err := os.Rename(filepath.Join(dir, "cur"), filepath.Join(dir, "tmp", "gone")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "new")); err != nil {
		t.Fatal(err)
	}
	if err := w.pool.Create(ctx, w.loc("A"), &w.set, Identity{UIDValidity: 4711}); err != nil {
		t.Fatal(err)
	}
	again, err := w.pool.Open(ctx, w.loc("A"), &w.set)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if s := again.Snapshot(); s.Len() != 0 || s.UIDValidity() != 4711 {
		t.Errorf("%d messages, UIDVALIDITY %d", s.Len(), s.UIDValidity())
	}
}

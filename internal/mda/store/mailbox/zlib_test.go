package mailbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
)

// configure appends to Dovecot's configuration.
func (d *doveadm) configure(text string) {
	d.t.Helper()
	f, err := os.OpenFile(d.conf, os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// theirText returns the text of a message as Dovecot reads it.
func (d *doveadm) theirText(mailbox string, uid uint32) string {
	d.t.Helper()
	return strings.TrimSuffix(strings.TrimPrefix(d.run("", "-f", "pager", "fetch", "text", "mailbox", mailbox, "uid", fmt.Sprint(uid)), "text:\n"), "\n\f\n")
}

// sizes returns the sizes of a message as both see them.
func wantSameSizes(t *testing.T, d *doveadm, m *Mailbox, uid uint32) {
	t.Helper()
	msg, err := m.Message(uid)
	if err != nil {
		t.Fatal(err)
	}
	physical, err1 := msg.PhysicalSize()
	virtual, err2 := msg.VirtualSize()
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	guid, err := msg.GUID()
	if err != nil {
		t.Fatal(err)
	}
	ours := fmt.Sprintf("%d\t%d\t%s", physical, virtual, guid)
	theirs := d.run("", "-f", "tab", "fetch", "size.physical size.virtual guid", "mailbox", "A", "uid", fmt.Sprint(uid))
	if _, theirs, _ = strings.Cut(strings.TrimSpace(theirs), "\n"); theirs != ours {
		t.Errorf("sizes and GUID: ours %q, Dovecot's %q", ours, theirs)
	}
}

// mails are texts of several sizes.
func mails() []string {
	var large strings.Builder
	for i := range 12000 {
		fmt.Fprintf(&large, "line %d of a message that does not fit into memory\n", i)
	}
	return []string{"Subject: small\n\ntext\n", "Subject: without end\n\ntext", "Subject: large\n\n" + large.String()}
}

// TestZlibBothWays has Dovecot and this package compress messages by each method, and read
// those of the other.
func TestZlibBothWays(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		for _, method := range []string{"gz", "bz2", "lz4", "zstd"} {
			t.Run(format+"/"+method, func(t *testing.T) {
				w := newWorld(t)
				w.format = format
				w.set.Plugins, w.set.ZlibSave, w.set.TempDir = "acl zlib quota", method, t.TempDir()
				zlibBothWays(t, w)
			})
		}
	}
}

func zlibBothWays(t *testing.T, w *world) {
	d := newDoveadm(t, w)
	d.configure("mail_plugins = zlib\nplugin {\n  zlib_save = " + w.set.ZlibSave + "\n}\n")
	a, b := w.create("A"), w.create("B")
	var want []string
	for _, text := range mails() {
		save(t, a, text, SaveOptions{})
		d.run(text, "save", "-m", "A")
		want = append(want, text, text)
	}
	checkTexts(t, d, a, want)
	stored := int64(0)
	for _, data := range readAll(t, w.root) {
		stored += int64(len(data))
	}
	if plain := int64(2 * len(mails()[2])); stored > plain/2 {
		t.Errorf("%d bytes are stored for %d", stored, plain)
	}
	// Copies, by links and anew.
	if _, err := a.Copy(ctx, []uint32{1, 2, 5, 6}, b); err != nil {
		t.Fatal(err)
	}
	w.restart()
	for i, n := range []int{0, 1, 4, 5} {
		if got := text(t, w.open("B"), uint32(i+1)); got != want[n] {
			t.Errorf("copy %d has %d bytes, want %d", i+1, len(got), len(want[n]))
		}
	}
}

// checkTexts compares the texts of A as both see them.
func checkTexts(t *testing.T, d *doveadm, m *Mailbox, want []string) {
	t.Helper()
	s := synced(t, m)
	if s.Len() != len(want) {
		t.Fatalf("%d messages, want %d", s.Len(), len(want))
	}
	for i := range want {
		uid := s.UID(i)
		if got := text(t, m, uid); got != want[i] {
			t.Errorf("UID=%d: ours %d bytes, want %d", uid, len(got), len(want[i]))
		}
		if got := d.theirText("A", uid); got != want[i] {
			t.Errorf("UID=%d: Dovecot's %d bytes, want %d", uid, len(got), len(want[i]))
		}
		wantSameSizes(t, d, m, uid)
	}
}

// TestZlibForeign reads what other programs compressed in a Maildir, with the right size in the
// file's name, with none, and with the wrong one. Of the last Dovecot fails to read.
func TestZlibForeign(t *testing.T) {
	for _, tool := range []string{"gzip", "bzip2", "xz", "zstd"} {
		for _, name := range []string{"size", "no size", "stored size"} {
			t.Run(tool+"/"+name, func(t *testing.T) {
				w := newWorld(t)
				w.format = "maildir"
				w.set.Plugins, w.set.TempDir = "zlib", t.TempDir()
				w.create("A").Close()
				want := mails()[2]
				cmd := exec.Command(tool, "-c")
				cmd.Stdin = strings.NewReader(want)
				packed, err := cmd.Output()
				if err != nil {
					t.Fatalf("%s: %v: run test/install-packages", tool, err)
				}
				file := "1700000000.M1P1.host"
				switch name {
				case "size":
					file += fmt.Sprintf(",S=%d", len(want))
				case "stored size":
					file += fmt.Sprintf(",S=%d", len(packed))
				}
				if err := os.WriteFile(filepath.Join(w.root, ".A", "cur", file+":2,SZ"), packed, 0o600); err != nil {
					t.Fatal(err)
				}
				m := w.open("A")
				s := synced(t, m)
				if s.Len() != 1 || text(t, m, s.UID(0)) != want {
					t.Fatal("another text")
				}
				msg, _ := m.Message(s.UID(0))
				if n, err := msg.VirtualSize(); err != nil || n != int64(len(want)+strings.Count(want, "\n")) {
					t.Errorf("virtual size %d, %v", n, err)
				}
			})
		}
	}
}

// Without the plugin what the metadata or the file's name tell to be compressed is read, and
// what only looks so is left alone. With it, but without zlib_save, nobody may save such.
func TestZlibNotLoaded(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t)
			w.format = format
			w.set.Plugins, w.set.ZlibSave, w.set.TempDir = "zlib", "gz", t.TempDir()
			want := mails()[2]
			save(t, w.create("A"), want, SaveOptions{})
			var looks bytes.Buffer
			m, err := compress.Lookup("gz")
			if err != nil {
				t.Fatal(err)
			}
			z, err := m.NewWriter(&looks, 6)
			if err == nil {
				_, err = io.WriteString(z, "Subject: client's\n\n")
				err = errors.Join(err, z.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			w.restart()
			w.set.ZlibSave = ""
			if err := trySave(w.open("A"), looks.String()); !errors.Is(err, compress.ErrRefused) {
				t.Errorf("saved: %v", err)
			}
			w.restart()
			w.set.Plugins = ""
			a := w.open("A")
			if got := text(t, a, 1); got != want {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
			uid := save(t, a, looks.String(), SaveOptions{}).UID
			if got := text(t, a, uid); got != strings.ReplaceAll(looks.String(), "\r\n", "\n") {
				t.Errorf("%q was changed to %q", looks.String(), got)
			}
		})
	}
}

func TestCompressionSettings(t *testing.T) {
	for _, c := range []struct{ plugins, save, level, method, err string }{
		{"", "gz", "", "", ""}, {"zlib", "", "9", "", ""}, {"acl zlib", "gz", "9", "gz", ""}, {"zlib", "gz", "10", "gz", "zlib_save_level: Level must be between 0..9"},
		{"zlib", "zstd", "-5", "zstd", ""}, {"zlib", "bz2", "0", "bz2", "between 1..9"}, {"zlib", "xz", "", "", "Support not compiled in"}, {"zlibx", "gz", "", "", ""},
	} {
		set := Settings{Plugins: c.plugins, ZlibSave: c.save, ZlibLevel: c.level}
		m, _, err := set.Compression()
		name := ""
		if m != nil {
			name = m.Name
		}
		if name != c.method || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%+v: %s, %v", c, name, err)
		}
	}
}

// A message whose compressed text is damaged is an error each time, and stays as it is.
func TestZlibDamaged(t *testing.T) {
	w := newWorld(t)
	w.set.Plugins, w.set.ZlibSave, w.set.TempDir = "zlib", "gz", t.TempDir()
	m := w.create("A")
	save(t, m, mails()[2], SaveOptions{})
	path := filepath.Join(m.Location().Dir, "u.1")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 0xff
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		msg, err := m.Message(1)
		if err != nil {
			t.Fatal(err)
		}
		body, err := msg.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err = io.Copy(io.Discard, io.NewSectionReader(body, 0, body.Size())); !errors.Is(err, compress.ErrDamaged) {
			t.Errorf("read: %v", err)
		}
		body.Close()
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
		t.Errorf("the file was changed, %v", err)
	}
}

// BenchmarkSaveZlib is BenchmarkSave with compression.
func BenchmarkSaveZlib(b *testing.B) {
	for _, method := range []string{"gz", "lz4", "zstd"} {
		b.Run(method, func(b *testing.B) {
			w := newWorld(b)
			w.set.Plugins, w.set.ZlibSave = "zlib", method
			benchmarkSaveTo(b, w, 20, 100, func(n int) Location { return w.loc(fmt.Sprint(n)) })
		})
	}
}

// Of a compressed mail file that was cut what is left can be read afterwards.
func TestZlibCut(t *testing.T) {
	for _, method := range []string{"gz", "lz4", "zstd"} {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			w.set.Plugins, w.set.ZlibSave, w.set.TempDir = "zlib", method, t.TempDir()
			m := w.create("A")
			want := mails()[2]
			save(t, m, want, SaveOptions{})
			path := filepath.Join(m.Location().Dir, "u.1")
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, st.Size()*3/4); err != nil {
				t.Fatal(err)
			}
			got := text(t, m, 1)
			if len(got) < len(want)/10 || !strings.HasPrefix(want, got) {
				t.Errorf("%d bytes of %d are left", len(got), len(want))
			}
			msg, err := m.Message(1)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := msg.PhysicalSize(); err != nil || n != int64(len(got)) {
				t.Errorf("size %d, %v; want %d", n, err, len(got))
			}
		})
	}
}

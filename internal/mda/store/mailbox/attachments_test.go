package mailbox

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// attachmentLines is base64 of n bytes, which the seed decides.
func attachmentLines(seed byte, n, line int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	s := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	for len(s) > line {
		out.WriteString(s[:line] + "\n")
		s = s[line:]
	}
	return out.String() + s
}

// attachmentMail is a message with parts as they come, of which those of at least 1000 bytes
// that are no text are attachments.
func attachmentMail(parts ...string) string {
	s := "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_b\"\n\n--=_b\nContent-Type: text/plain\n\n" +
		strings.Repeat("some text that is long enough to be one\n", 50)
	for _, p := range parts {
		s += "\n--=_b\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment\n\n" + p
	}
	return s + "\n--=_b--\n"
}

func attachmentMails() []string {
	return []string{
		attachmentMail(attachmentLines(1, 3000, 76)),
		attachmentMail(attachmentLines(1, 3000, 76)+"\n", attachmentLines(2, 1501, 60)),
		attachmentMail(attachmentLines(3, 57*40, 76), strings.Repeat("no base64\n", 200), attachmentLines(4, 200, 76)),
		attachmentMail(attachmentLines(5, 3000, 76) + "\n\nand a note\n"),
		attachmentMail(attachmentLines(6, 300_000, 76)),
		"Subject: none\n\n" + strings.Repeat("text\n", 2000),
		"MIME-Version: 1.0\nContent-Type: application/pdf\n\n" + attachmentLines(7, 4000, 4000*4),
		"MIME-Version: 1.0\nContent-Type: message/rfc822\n\n" + attachmentMail(attachmentLines(1, 3000, 76)),
	}
}

// attachmentWorld has attachments of both in one directory.
func attachmentWorld(t *testing.T, format, fsName string) (*world, *doveadm) {
	w := newWorld(t)
	w.format = format
	w.set.AttachmentDir, w.set.AttachmentFS, w.set.AttachmentHash, w.set.AttachmentMinSize, w.set.TempDir = t.TempDir(), fsName, "%{sha1}", 1000, t.TempDir()
	d := newDoveadm(t, w)
	d.configure("mail_attachment_dir = " + w.set.AttachmentDir + "\nmail_attachment_fs = " + fsName + "\nmail_attachment_min_size = 1000\n")
	return w, d
}

// attachments lists their files, without those of hashes.
func (w *world) attachments() (names []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.set.AttachmentDir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Base(filepath.Dir(p)) != "hashes" {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

// TestAttachmentsBothWays has both save messages with attachments, and read those of the other, with
// compression and without.
func TestAttachmentsBothWays(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, format := range []string{"sdbox", "mdbox"} {
		for _, fsName := range []string{"posix", "sis posix"} {
			for _, method := range []string{"", "gz"} {
				if method != "" && fsName == "posix" {
					continue
				}
				t.Run(format+"/"+fsName+"/"+method, func(t *testing.T) {
					w, d := attachmentWorld(t, format, fsName)
					if method != "" {
						w.set.Plugins, w.set.ZlibSave = "zlib", method
						d.configure("mail_plugins = zlib\nplugin {\n  zlib_save = " + method + "\n}\n")
					}
					attachmentsBothWays(t, w, d)
				})
			}
		}
	}
}

func attachmentsBothWays(t *testing.T, w *world, d *doveadm) {
	a := w.create("A")
	var want []string
	for i, text := range attachmentMails() {
		before := len(w.attachments())
		save(t, a, text, SaveOptions{})
		ours := len(w.attachments()) - before
		d.run(text, "save", "-m", "A")
		if theirs := len(w.attachments()) - before - ours; ours != theirs {
			t.Errorf("message %d: %d attachments, Dovecot's %d", i, ours, theirs)
		}
		want = append(want, text, text)
	}
	checkTexts(t, d, a, want)
	wantSameReferences(t, w)
}

// wantSameReferences compares what the metadata of equal messages say, which come in pairs, except
// for the names.
func wantSameReferences(t *testing.T, w *world) {
	t.Helper()
	if w.format != "sdbox" {
		return
	}
	for uid := 1; uid <= 2*len(attachmentMails()); uid += 2 {
		ours, theirs := references(t, w, uid), references(t, w, uid+1)
		if ours != theirs {
			t.Errorf("u.%d: %q, Dovecot's u.%d: %q", uid, ours, uid+1, theirs)
		}
	}
}

// references is line X without the GUIDs.
func references(t *testing.T, w *world, uid int) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.loc("A").Dir, fmt.Sprint("u.", uid)))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "\nX")
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	words := strings.Fields(line)
	for i := 3; i < len(words); i += 4 {
		words[i], _, _ = strings.Cut(words[i], "-")
	}
	return strings.Join(words, " ")
}

// Copies have attachments of their own, or share them, and with the last message they go, whoever
// removes it.
func TestAttachmentsGo(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, format := range []string{"sdbox", "mdbox"} {
		for _, fsName := range []string{"posix", "sis posix"} {
			t.Run(format+"/"+fsName, func(t *testing.T) { attachmentsGo(t, format, fsName) })
		}
	}
}

func attachmentsGo(t *testing.T, format, fsName string) {
	w, d := attachmentWorld(t, format, fsName)
	a, b := w.create("A"), w.create("B")
	want := attachmentMails()[1]
	save(t, a, want, SaveOptions{})
	d.run(want, "save", "-m", "A")
	synced(t, a)
	if _, err := a.Copy(ctx, []uint32{1, 2}, b); err != nil {
		t.Fatal(err)
	}
	d.run("", "copy", "B", "mailbox", "A", "uid", "1,2")
	wantB := func(uids ...uint32) {
		t.Helper()
		s := synced(t, b)
		if s.Len() != len(uids) {
			t.Fatalf("%d messages in B, want %v", s.Len(), uids)
		}
		for _, uid := range uids {
			if text(t, b, uid) != want || d.theirText("B", uid) != want {
				t.Errorf("UID=%d has another text", uid)
			}
		}
	}
	wantB(1, 2, 3, 4)
	if err := a.Expunge(ctx, []uint32{1}); err != nil {
		t.Fatal(err)
	}
	d.run("", "expunge", "mailbox", "A", "uid", "2")
	wantB(1, 2, 3, 4)
	if err := b.Expunge(ctx, []uint32{2, 3}); err != nil {
		t.Fatal(err)
	}
	purge := func() {
		if format == "mdbox" {
			if err := storageOf(b).Purge(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	purge()
	wantB(1, 4)
	if err := b.Expunge(ctx, []uint32{1, 4}); err != nil {
		t.Fatal(err)
	}
	purge()
	var left []string
	for name := range readAll(t, w.set.AttachmentDir) {
		left = append(left, name)
	}
	if len(left) > 0 {
		t.Errorf("attachments are left: %v", left)
	}
}

// Between mailboxes with different directories, and to formats without, messages are copied whole.
func TestAttachmentsCopiedElsewhere(t *testing.T) {
	w := newWorld(t)
	w.set.AttachmentDir, w.set.AttachmentFS, w.set.AttachmentHash, w.set.AttachmentMinSize, w.set.TempDir = t.TempDir(), "sis posix", "%{sha256:80}", 1000, t.TempDir()
	a := w.create("A")
	want := attachmentMails()[1]
	save(t, a, want, SaveOptions{})
	for _, c := range []struct {
		format, dir string
	}{{"sdbox", t.TempDir()}, {"sdbox", ""}, {"maildir", ""}, {"mdbox", t.TempDir()}} {
		other := newWorld(t)
		other.format, other.set = c.format, w.set
		other.set.AttachmentDir = c.dir
		b := other.create("B")
		if _, err := a.Copy(ctx, []uint32{1}, b); err != nil {
			t.Fatal(err)
		}
		if got := text(t, b, 1); got != want {
			t.Errorf("%+v: another text", c)
		}
	}
	// Without the directory it is an error, not a shorter message.
	w.restart()
	w.set.AttachmentDir = ""
	a = w.open("A")
	synced(t, a)
	msg, err := a.Message(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := msg.Open(); err == nil || !strings.Contains(err.Error(), "mail_attachment_dir is unset") {
		t.Errorf("opened: %v", err)
	}
}

// What a save made that fails is gone.
func TestAttachmentsAborted(t *testing.T) {
	for _, format := range []string{"sdbox", "mdbox"} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t)
			w.format = format
			w.set.AttachmentDir, w.set.AttachmentFS, w.set.AttachmentHash, w.set.AttachmentMinSize = t.TempDir(), "sis posix", "%{sha1}", 1000
			m := w.create("A")
			other := w.create("B")
			s, err := m.Save(ctx, SaveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s.Write([]byte(attachmentMails()[4])) //nolint:errcheck // below
			s2, err := m.Save(ctx, SaveOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s2.Abort()
			// Mailbox A is gone when the messages are to become its own.
			other.Close()
			if err := w.pool.Delete(ctx, w.loc("A"), &w.set); err != nil {
				t.Fatal(err)
			}
			if _, err := CommitAll(ctx, []*Save{s}); err == nil {
				t.Fatal("saved into a deleted mailbox")
			}
			if format == "mdbox" {
				return // the message is in the storage, without references, until a purge
			}
			if left := readAll(t, w.set.AttachmentDir); len(left) > 0 {
				t.Errorf("%d attachments are left", len(left))
			}
		})
	}
}

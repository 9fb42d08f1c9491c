package mailbox

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRenderedAfterRestore puts an older state of the files of a mailbox back while it is open. A message
// that then gets the uid of one that is gone is shown as what it is.
func TestRenderedAfterRestore(t *testing.T) {
	w := newWorld(t)
	m := w.create("A")
	save(t, m, "Subject: first\r\n\r\nx\r\n", SaveOptions{})
	synced(t, m)
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(m.Location().Dir)); err != nil {
		t.Fatal(err)
	}
	save(t, m, "Subject: lost\r\n\r\nx\r\n", SaveOptions{})
	shows := func(subject string) {
		t.Helper()
		synced(t, m)
		msg, err := m.Message(2)
		if err != nil {
			t.Fatal(err)
		}
		s, err := msg.Structure(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for name, render := range map[string]func() ([]byte, error){
			"from memory": func() ([]byte, error) { return msg.AppendEnvelope(ctx, nil) },
			"parsed":      func() ([]byte, error) { return s.AppendEnvelope(nil), nil },
		} {
			if text, err := render(); err != nil || !strings.Contains(string(text), subject) {
				t.Errorf("%s: %s, %v, want %s", name, text, err, subject)
			}
		}
	}
	shows("lost")

	entries, err := os.ReadDir(m.Location().Dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(m.Location().Dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(m.Location().Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	synced(t, m)
	save(t, m, "Subject: second\r\n\r\nx\r\n", SaveOptions{})
	shows("second")
}

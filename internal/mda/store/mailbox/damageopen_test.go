package mailbox

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDamageWhileOpen damages each file while a session has the mailboxes open.
func TestDamageWhileOpen(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		t.Run(format, func(t *testing.T) {
			s := grow(t, format)
			r := rand.New(rand.NewPCG(1, 2))
			old, last := readAll(t, s.old), readAll(t, s.last)
			for _, file := range s.filesOf(t) {
				if isMail(file) || strings.HasPrefix(file, "dovecot.list.index") || filepath.Base(file) == "dovecot-keywords" {
					continue
				}
				for _, wd := range wounds(file, last[file], old[file], r) {
					if wd.kind == "bit flipped" && wd.at%4 != 0 {
						continue
					}
					s.woundOpen(t, wd)
				}
			}
		})
	}
}

// woundOpen damages a file under two sessions, which then go on.
func (s *sample) woundOpen(t *testing.T, wd *wound) {
	t.Helper()
	root, err := os.MkdirTemp("", "w")
	must(t, err)
	defer os.RemoveAll(root)
	copyTree(t, s.last, root)
	stuck := time.AfterFunc(3*time.Minute, func() { panic("stuck: " + s.format + " " + wd.String()) })
	defer stuck.Stop()
	var log logbook
	w := worldAt(t, root, s.format, &log)
	defer w.pool.Close()
	a, b := w.open("A"), w.open("B")
	defer a.Close()
	defer b.Close()
	look(t, a)
	look(t, b)
	must(t, wd.do(filepath.Join(root, wd.file), filepath.Join(s.old, wd.file)))
	wantA, wantB := s.a.clone(), s.b.clone()
	for _, m := range []*Mailbox{a, b} {
		if _, err := m.Sync(ctx); err != nil {
			t.Errorf("%v: %v", wd, err)
			return
		}
		uid, err := saveText(m, bodyOf("new"))
		if err == nil {
			_, err = m.SetFlags(ctx, FlagChange{UIDs: []uint32{uid}, Op: FlagsAdd, Flags: Seen, UnchangedSince: Unconditional})
		}
		if err != nil {
			t.Errorf("%v: %v", wd, err)
			return
		}
	}
	s.rest(w.pool)
	for m, want := range map[*Mailbox]*view{a: &wantA, b: &wantB} {
		got, err := tryLook(m)
		if err != nil {
			t.Errorf("%v: %v", wd, err)
			return
		}
		// A session remembers what the files have forgotten.
		if c := differ(*want, got); len(c.Lost) > 0 || (c.UIDs || c.Flags) && wd.kind != "bit flipped" && wd.kind != "stale" {
			t.Errorf("%v: mailbox %s: %v\nlogged %q", wd, m.Location().Name, c, log.take())
		}
	}
	if lines := log.take(); len(lines) > 6 {
		t.Errorf("%v: logged %q", wd, lines)
	}
}

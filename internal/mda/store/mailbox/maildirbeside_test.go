package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Dovecot reads dovecot-keywords again only if its time has changed by a second at least: else
// it would give away letters that are taken.
func TestMaildirKeywordsTime(t *testing.T) {
	w := newMaildirWorld(t)
	m := w.create("A")
	last := int64(0)
	for _, name := range []string{"one", "two", "three"} {
		save(t, m, "Subject: 1\r\n\r\nx\r\n", SaveOptions{Keywords: []string{name}})
		st, err := os.Stat(filepath.Join(m.Location().Dir, "dovecot-keywords"))
		if err != nil {
			t.Fatal(err)
		}
		if at := st.ModTime().Unix(); at <= last {
			t.Errorf("after keyword %s the time is %d, was %d", name, at, last)
		} else {
			last = at
		}
	}
}

// A mailbox that Dovecot has just made has neither index nor uidlist, and Dovecot is about to choose
// its uid validity under the uidlist's lock: whoever is first decides.
func TestMaildirBeingMade(t *testing.T) {
	w := newMaildirWorld(t)
	dir := w.loc("A").Dir
	for _, name := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m := w.open("A")
	list, err := os.ReadFile(filepath.Join(dir, "dovecot-uidlist"))
	if err != nil {
		t.Fatalf("after the mailbox was opened: %v", err)
	}
	if want := "3 V" + fmt.Sprint(synced(t, m).UIDValidity()) + " "; !strings.HasPrefix(string(list), want) {
		t.Errorf("the uidlist is %q, want %q", list, want)
	}
}

// The same a moment later: there is an index, without uid validity yet.
func TestMaildirHalfMade(t *testing.T) {
	w := newMaildirWorld(t)
	loc := w.loc("A")
	for _, name := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(loc.Dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	d, err := index.OpenDir(loc.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var tx index.Tx
	tx.Intro(&extMaildir)
	x, err := index.Create(d, index.Options{Log: w.pool.log}, &tx)
	if err != nil {
		t.Fatal(err)
	}
	x.Close()
	m := w.open("A")
	const theirs = "3 V4711 N1 Gbc063b45c92f64f79f0d1ed01e6d5b31\n"
	if err := os.WriteFile(filepath.Join(loc.Dir, "dovecot-uidlist"), []byte(theirs), 0o600); err != nil {
		t.Fatal(err)
	}
	if v := synced(t, m).UIDValidity(); v != 4711 {
		t.Errorf("UIDVALIDITY is %d, the uidlist says 4711", v)
	}
}

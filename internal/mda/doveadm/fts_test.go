package doveadm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// indexes returns how many mailboxes have a full-text index.
func (h *home) indexes() int {
	h.t.Helper()
	n := 0
	err := filepath.Walk(h.home(), func(path string, _ os.FileInfo, err error) error {
		if filepath.Base(path) == "dovecot.index.fts" {
			n++
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// Indexes are made, rewritten and removed, and searches find the same with and without them.
func TestFullTextIndexes(t *testing.T) {
	h := newHome(t, "maildir:~/Maildir")
	h.fill()
	search := []string{"search", "mailbox", "*", "text", "subject"}
	want := h.ours("", search...)
	if n := h.indexes(); n != 0 {
		t.Fatalf("without the plugin there are %d indexes", n)
	}
	if got := h.ours("", "fts", "rescan"); got.Code != exNotFound || !strings.Contains(got.Err, "fts not enabled for user's namespace INBOX") {
		t.Errorf("without the plugin rescan says %+v", got)
	}
	h.appendConf("mail_plugins = fts\nplugin {\n fts = squat\n fts_enforced = yes\n}\n")
	h.ours("", "index", "*")
	made := h.indexes()
	if made == 0 {
		t.Error("index has made none")
	}
	for _, args := range [][]string{search, {"fts", "optimize"}, search} {
		got := h.ours("", args...)
		if got.Code != 0 || got.Err != "" || args[0] == "search" && got != want {
			t.Errorf("doveadm %q with index: %+v, without: %+v", args, got, want)
		}
	}
	h.ours("", "fts", "rescan")
	if n := h.indexes(); n != 0 {
		t.Errorf("%d indexes are left by rescan", n)
	}
	if got := h.ours("", search...); got != want || h.indexes() == 0 {
		t.Errorf("a search after rescan gives %+v with %d indexes; want %+v", got, h.indexes(), want)
	}
	if got := h.ours("", "fts", "rescan", "none/"); got.Code != exNotFound || !strings.Contains(got.Err, "Namespace prefix not found: none/") {
		t.Errorf("rescan of no namespace says %+v", got)
	}
}

// A lookup tells of each mailbox what it finds there. Debian's doveadm 2.3.19.1 crashes with its only index, squat: there
// is nothing to compare with.
func TestFullTextLookup(t *testing.T) {
	h := newHome(t, "sdbox:~/mail")
	h.setUp("", "mailbox", "create", "Box")
	for i, text := range []string{"first message", "second message", "nothing", "last message", "Message once more"} {
		box := []string{"INBOX", "Box"}[i/4]
		h.setUp("Subject: x\n\n"+text+"\n", "save", "-m", box)
	}
	query := []string{"fts", "lookup", "body", "message"}
	if ours := h.ours("", query...); ours.Code != exConfig || !strings.Contains(ours.Err, "fts not enabled for INBOX") {
		t.Errorf("without the plugin lookup says %+v", ours)
	}
	h.appendConf("mail_plugins = fts fts_squat\nplugin {\n fts = squat\n}\n")
	for word, want := range map[string]string{
		"message": "INBOX: 1:2,4\nBox: 1\n",
		"nothing": "INBOX: 3\nBox: no results\n",
		"unheard": "INBOX: no results\nBox: no results\n",
	} {
		query[3] = word
		if got := h.ours("", query...); got != (outcome{Out: want}) {
			t.Errorf("lookup of %q: %+v, want %q", word, got, want)
		}
	}
}

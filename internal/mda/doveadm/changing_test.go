package doveadm

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestChangesAreThoseOfTheOriginal gives both programs the same mail and the same
// commands; output and mail must be the same after each.
func TestChangesAreThoseOfTheOriginal(t *testing.T) {
	for _, location := range formats {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, location)
			a.fill()
			b := a.clone()
			for _, args := range [][]string{
				{"flags", "add", `\Answered New`, "mailbox", "INBOX", "uid", "4:5"},
				{"flags", "remove", `\Seen Custom`, "mailbox", "*", "all"},
				{"flags", "replace", `\Deleted Only`, "mailbox", "Work", "uid", "2"},
				{"flags", "replace", `\Seen`, "mailbox", "Folder/Entwürfe", "subject", "mail 11"},
				{"copy", "Empty", "mailbox", "INBOX", "flagged"},
				{"move", "Work", "mailbox", "INBOX", "uid", "5:6"},
				{"move", "Trash", "mailbox", "Folder/*", "uid", "1"},
				{"deduplicate", "mailbox", "Work", "all"},
				{"deduplicate", "-m", "mailbox", "*", "all"},
				{"expunge", "mailbox", "Trash", "all"},
				{"expunge", "-d", "mailbox", "Empty", "all"},
				{"index", "*"},
				{"purge"},
				{"altmove", "mailbox", "INBOX", "all"},
				{"batch", ":", "flags", "add", "Batched", "mailbox", "INBOX", "all", ":", "search", "mailbox", "Nosuch", "all", ":", "flags", "remove", "New", "mailbox", "*", "all"},
			} {
				both(t, a, b, "", args...)
				fields := allFields
				if diff := cmp.Diff(a.state(fields), b.state(fields)); diff != "" {
					t.Fatalf("mail after doveadm %q (-original +ours):\n%s", args, diff)
				}
			}
			for _, h := range []outcome{a.original("", "force-resync", "*"), b.ours("", "force-resync", "*")} {
				if h.Code != 0 || h.Out != "" { // what is logged about it is each program's own
					t.Errorf("force-resync: %+v", h)
				}
			}
			both(t, a, b, testMail(30), "save", "-m", "Work")
			both(t, a, b, strings.ReplaceAll(testMail(31), "\n", "\r\n"), "save")
			dumpsAlike(t, b)
			fields := "mailbox uid flags date.sent size.physical size.virtual hdr body"
			if diff := cmp.Diff(a.state(fields), b.state(fields)); diff != "" {
				t.Errorf("mail after save (-original +ours):\n%s", diff)
			}
		})
	}
}

// dumpsAlike compares what both programs show of files that ours has written.
func dumpsAlike(t *testing.T, h *home) {
	t.Helper()
	err := filepath.WalkDir(h.home(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			both(t, h, h, "", "dump", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	a := newHome(t, "sdbox:~/mail")
	a.fill()
	b := a.clone()
	for _, args := range readCommands(t, "mistakes.txt") {
		both(t, a, b, "", args...)
	}
	if diff := cmp.Diff(a.state(allFields), b.state(allFields)); diff != "" {
		t.Errorf("mail after mistakes (-original +ours):\n%s", diff)
	}
}

package doveadm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestUpdateIsThatOfTheOriginal changes what identifies mailboxes with both programs. The
// original sees the same afterwards, also after the next message has come.
func TestUpdateIsThatOfTheOriginal(t *testing.T) {
	for _, location := range formats {
		t.Run(location, func(t *testing.T) {
			t.Parallel()
			a := newHome(t, location)
			a.fill()
			b := a.clone()
			for _, args := range readCommands(t, "update.txt") {
				// The original gives messages of a Maildir new uids where the uid validity changes.
				if strings.HasPrefix(location, "maildir") && strings.Contains(strings.Join(args, " "), "uid-validity") {
					args = append(args[:len(args)-1:len(args)-1], "Empty")
				}
				both(t, a, b, "", args...)
			}
			if diff := cmp.Diff(a.identities(), b.identities()); diff != "" {
				t.Errorf("mailboxes (-original +ours):\n%s", diff)
			}
			a.setUp(testMail(60), "save", "-m", "Work")
			if r := b.ours(testMail(60), "save", "-m", "Work"); r != (outcome{}) {
				t.Errorf("save: %+v", r)
			}
			if diff := cmp.Diff(a.identities(), b.identities()); diff != "" {
				t.Errorf("mailboxes after another message (-original +ours):\n%s", diff)
			}
		})
	}
}

// identities are what the original sees of mailboxes.
func (h *home) identities() string {
	h.t.Helper()
	return sortedLines(h.setUp("", "mailbox", "status", "messages recent uidnext uidvalidity unseen highestmodseq guid", "*"))
}

// TestMaildirKeepsUIDs changes the uid validity of a Maildir with messages, in which the
// original would give them new uids.
func TestMaildirKeepsUIDs(t *testing.T) {
	h := newHome(t, "maildir:~/Maildir")
	h.fill()
	want := h.setUp("", "fetch", "uid hdr.subject flags", "mailbox", "INBOX")
	if r := h.ours("", "mailbox", "update", "--uid-validity", "4711", "INBOX"); r != (outcome{}) {
		t.Fatalf("update: %+v", r)
	}
	if diff := cmp.Diff(want, h.setUp("", "fetch", "uid hdr.subject flags", "mailbox", "INBOX")); diff != "" {
		t.Errorf("messages (-before +after):\n%s", diff)
	}
	if status := h.setUp("", "mailbox", "status", "uidvalidity", "INBOX"); status != "INBOX uidvalidity=4711\n" {
		t.Error(status)
	}
}

package crash

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

var appendUID = regexp.MustCompile(`^\[APPENDUID \d+ (\d+)\]`)

// A client appends messages and flags them. What it was told about UIDs and
// flags must hold as well.
func TestAppendUnderKills(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{Users: users})
	var mu sync.Mutex
	uids := make(map[string]string)  // by id
	flagged := make(map[string]bool) // ids
	l := startLoad(t, func(l *load, worker int, next func() string) {
		c, err := harness.Dial(mb.IMAP)
		if err != nil {
			pause()
			return
		}
		defer c.Close()
		if c.Login(worker%users) != nil {
			pause()
			return
		}
		if _, _, err := c.IMAP("SELECT INBOX"); err != nil {
			return
		}
		for range 20 {
			id := next()
			if l.stopped() {
				return
			}
			uid, ok := appendTo(l, c, id)
			if !ok {
				return
			}
			mu.Lock()
			uids[id] = uid
			mu.Unlock()
			if _, _, err := c.IMAP(`UID STORE ` + uid + ` +FLAGS.SILENT (\Flagged $Kept)`); err != nil {
				return
			}
			mu.Lock()
			flagged[id] = true
			mu.Unlock()
		}
	})
	sessions := child(t, func() *harness.Process { return mb.Process }, "dovecot/lmtp") // of the one uid
	login := child(t, func() *harness.Process { return mb.Process }, "dovecot/imap-login")
	service := victim{"the mailbox service", func() { mb.KillAll(); mb.Start(t) }}
	l.rounds(t, []victim{sessions, service, sessions, login, service, sessions, service, sessions})
	found := make(map[string]int)
	for n := range users {
		read(t, mb, n, found)
	}
	if extra := l.compare(t, found); extra > 0 {
		t.Errorf("%d messages are there twice", extra)
	}
	checked := 0
	for n := range users {
		checked += checkFlags(t, mb, n, uids, flagged)
	}
	if checked < len(uids) {
		t.Errorf("UID and flags of %d messages were checked, %d clients were told", checked, len(uids))
	}
}

// appendTo appends a message, notes its fate, and returns the UID it was given.
func appendTo(l *load, c *harness.Client, id string) (uid string, ok bool) {
	l.note(id, unsent)
	text := letter(id)
	// The literal is sent without waiting; the command ends with the line after it.
	if c.Put(fmt.Sprintf("x APPEND INBOX {%d+}\r\n%s\r\n", len(text), text)) != nil {
		return "", false
	}
	l.note(id, unknown)
	_, answer, err := c.Responses("x ")
	var refusal harness.Refusal
	if errors.As(err, &refusal) {
		l.refuse(id, refusal.Error())
		return "", false
	}
	if err != nil {
		return "", false
	}
	l.note(id, accepted)
	m := appendUID.FindStringSubmatch(answer)
	if m == nil {
		return "", false
	}
	return m[1], true
}

var fetched = regexp.MustCompile(`(?s)FETCH \(UID (\d+) FLAGS \(([^)]*)\).*` + idHeader + `(\S+)`)

// checkFlags checks that the acknowledged messages of user n have the UIDs and flags that
// the clients were told, and returns of how many.
func checkFlags(t *testing.T, mb *harness.Mailbox, n int, uids map[string]string, flagged map[string]bool) (checked int) {
	t.Helper()
	c := harness.ConnectIMAP(t, mb.IMAP, n, "INBOX")
	defer c.Close()
	untagged, _ := c.Must(t, "UID FETCH 1:* (UID FLAGS BODY.PEEK[HEADER.FIELDS ("+strings.TrimSuffix(idHeader, ": ")+")])")
	for _, response := range untagged {
		m := fetched.FindStringSubmatch(response)
		if m == nil {
			continue
		}
		uid, flags, id := m[1], m[2], m[3]
		if want, known := uids[id]; known {
			checked++
			if uid != want {
				t.Errorf("message %s has UID %s, the client was told %s", id, uid, want)
			}
		}
		if flagged[id] && !(strings.Contains(flags, `\Flagged`) && strings.Contains(flags, "$Kept")) {
			t.Errorf("message %s has flags %q, the client was told that \\Flagged and $Kept are set", id, flags)
		}
	}
	return checked
}

package crash

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A fate is what a client knows about a message.
type fate int

const (
	unsent   fate = iota // its end was never sent
	unknown              // it was sent, and no answer came
	refused              // the server refused it
	accepted             // the server acknowledged it
)

func (f fate) String() string {
	return [...]string{"unsent", "sent without an answer", "refused", "acknowledged"}[f]
}

// A ledger is what the clients of a load know about their messages.
type ledger struct {
	mu       sync.Mutex
	fates    map[string]fate // by [letter] id
	refusals map[string]int  // how often the server answered so
	accepted atomic.Int64
}

func newLedger() *ledger {
	return &ledger{fates: make(map[string]fate), refusals: make(map[string]int)}
}

func (l *ledger) note(id string, f fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fates[id] = f
	if f == accepted {
		l.accepted.Add(1)
	}
}

// refuse notes that the server refused a message, and how.
func (l *ledger) refuse(id, reply string) {
	l.note(id, refused)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals[reply]++
}

// count is how many messages met a fate.
func (l *ledger) count(f fate) int {
	n := 0
	for _, is := range l.fates {
		if is == f {
			n++
		}
	}
	return n
}

// compare compares the ledger with the copies that were found, by id, and
// returns how many copies there were beyond the first.
func (l *ledger) compare(t *testing.T, found map[string]int) (extra int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(l.fates)) {
		f, n := l.fates[id], found[id]
		switch {
		case f == accepted && n == 0:
			t.Errorf("message %s was acknowledged and is lost", id)
		case (f == refused || f == unsent) && n > 0:
			t.Errorf("message %s was %v and is there %d times", id, f, n)
		}
		extra += max(0, n-1)
	}
	for id := range found {
		if _, known := l.fates[id]; !known {
			t.Errorf("message %s was never sent", id)
		}
	}
	for reply, n := range l.refusals {
		t.Logf("%d times: %s", n, reply)
	}
	t.Logf("%d acknowledged, %d without an answer, %d refused, %d unsent; %d extra copies",
		l.count(accepted), l.count(unknown), l.count(refused), l.count(unsent), extra)
	return extra
}

const idHeader = "X-Number: "

// letter returns the message with an id. Its length and every line of its
// body follow from the id, so that a part or a mixture of messages is seen.
func letter(id string) string {
	var b strings.Builder
	b.WriteString("From: sender@example.org\r\nTo: user0@example.test\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n" +
		"Message-ID: <" + id + "@example.org>\r\nSubject: message " + id + "\r\n" + idHeader + id + "\r\n\r\n")
	lines := 1
	for _, c := range []byte(id) {
		lines = (lines*31 + int(c)) % 150
	}
	for n := range lines {
		fmt.Fprintf(&b, "line %d of message %s, which is as long as lines usually are\r\n", n, id)
	}
	b.WriteString("end of " + id + "\r\n")
	return b.String()
}

// examine tells the id of a stored message and whether it is whole. Headers may
// have been put before it.
func examine(text string) (id string, whole bool) {
	_, rest, ok := strings.Cut(text, idHeader)
	if !ok {
		return "", false
	}
	id, _, _ = strings.Cut(rest, "\r\n")
	return id, strings.HasSuffix(text, letter(id))
}

// read returns the ids of all messages of user n, and how often each is there,
// as IMAP gives them out. All must be whole, and the real doveadm must find
// the same.
func read(t *testing.T, mb *harness.Mailbox, n int, found map[string]int) {
	t.Helper()
	c := harness.ConnectIMAP(t, mb.IMAP, n, "INBOX")
	defer c.Close()
	untagged, _ := c.Must(t, "UID FETCH 1:* BODY.PEEK[]")
	messages := 0
	for _, response := range untagged {
		start := strings.Index(response, "}\r\n")
		if !strings.Contains(response, " FETCH (") || start < 0 {
			continue
		}
		messages++
		text := strings.TrimSuffix(response[start+3:], ")")
		id, whole := examine(text)
		if !whole {
			t.Errorf("%s: message %q is damaged:\n%s", harness.User(n), id, text)
			continue
		}
		found[id]++
	}
	if real := strings.Count(mb.Doveadm(t, n, "search", "mailbox", "INBOX"), "\n"); real != messages {
		t.Errorf("%s: IMAP finds %d messages, the real doveadm %d", harness.User(n), messages, real)
	}
}

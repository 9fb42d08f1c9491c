package imap

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

var (
	modSeqNumber  = regexp.MustCompile(`(MODSEQ )\([0-9]+\)`)
	highestNumber = regexp.MustCompile(`HIGHESTMODSEQ [0-9]+\]`)
)

// TestMissed has much happen to a mailbox at once while a session hibernates, and then tells it everything.
func TestMissed(t *testing.T) {
	for _, tt := range []struct {
		name, enable string
		want         []string
	}{
		{"plain", "", []string{
			`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft new)`,
			`* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft new \*)] Flags permitted.`,
			"* 9 EXPUNGE", "* 4 EXPUNGE", "* 3 EXPUNGE", "* 9 EXISTS", "* 9 RECENT",
			`* 2 FETCH (FLAGS (\Flagged \Recent new))`, `* 5 FETCH (FLAGS (\Seen \Recent))`,
		}},
		{"qresync", "QRESYNC", []string{
			`* FLAGS (\Answered \Flagged \Deleted \Seen \Draft new)`,
			`* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft new \*)] Flags permitted.`,
			"* VANISHED 3:4,9", "* 9 EXISTS", "* 9 RECENT",
			`* 2 FETCH (UID 2 MODSEQ (N) FLAGS (\Flagged \Recent new))`, `* 5 FETCH (UID 7 MODSEQ (N) FLAGS (\Seen \Recent))`,
			"* OK [HIGHESTMODSEQ N] Highest",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newTestServer(t, map[string]string{"imap_hibernate_timeout": "1 s", "imap_idle_notify_interval": "0"})
			client, conn := tcpPair(t)
			defer client.Close()
			r := bufio.NewReader(client)
			asleep := make(chan *Asleep, 1)
			serve := func(serve func(user *store.User) *Asleep) {
				user := s.open(t)
				go func() {
					a := serve(user)
					user.Close()
					asleep <- a
				}()
			}
			serve(func(user *store.User) *Asleep { return s.srv.Serve(s.ctx, conn, handoff.Login{}, user) })
			for i := range 10 {
				say(t, client, r, fmt.Sprintf("a%d APPEND INBOX {14+}\r\nSubject: %d\r\n\r\n", i, i))
			}
			if tt.enable != "" {
				say(t, client, r, "e ENABLE "+tt.enable)
			}
			say(t, client, r, "b SELECT INBOX")
			say(t, client, r, "c IDLE", "+ ")
			a := <-asleep
			if a == nil {
				t.Fatal("the session has ended")
			}
			other := s.dial(t)
			or := bufio.NewReader(other)
			for i, command := range []string{
				"SELECT INBOX", `STORE 3,4,9 +FLAGS (\Deleted)`, "EXPUNGE", `STORE 2 +FLAGS (\Flagged new)`, `STORE 5 +FLAGS (\Seen)`,
				"UNSELECT", "APPEND INBOX {14+}\r\nSubject: n\r\n\r\n", "APPEND INBOX {14+}\r\nSubject: n\r\n\r\n",
			} {
				say(t, other, or, fmt.Sprintf("o%d %s", i, command))
			}
			serve(func(user *store.User) *Asleep { return a.Resume(s.ctx, conn, user) })
			got := say(t, client, r, "DONE", "c ")
			if diff := cmp.Diff(tt.want, got[:len(got)-1]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			client.Close()
			if a := <-asleep; a != nil {
				t.Error("hibernates without a client")
			}
		})
	}
}

// TestCrowded has a session hibernate long before its time where descriptors are scarce.
func TestCrowded(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, map[string]string{"imap_hibernate_timeout": "1 hours", "imap_idle_notify_interval": "0"})
	s.srv.conf.Crowded = func() bool { return true }
	client, conn := tcpPair(t)
	defer client.Close()
	user := s.open(t)
	asleep := make(chan *Asleep, 1)
	go func() {
		defer user.Close()
		asleep <- s.srv.Serve(s.ctx, conn, handoff.Login{}, user)
	}()
	r := bufio.NewReader(client)
	say(t, client, r, "a SELECT INBOX")
	say(t, client, r, "b IDLE", "+ ")
	select {
	case a := <-asleep:
		if a == nil {
			t.Error("the session has ended")
		}
	case <-time.After(time.Minute):
		t.Error("the session does not hibernate")
	}
}

// say sends a line and returns what is answered, up to the line that begins with last, or else with the tag.
func say(t *testing.T, c net.Conn, r *bufio.Reader, line string, last ...string) (got []string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(time.Minute))
	tag, _, _ := strings.Cut(line, " ")
	last = append(last, tag+" ")
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		t.Fatal(err)
	}
	for {
		answer, err := r.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v after %q", line, err, got)
		}
		answer = modSeqNumber.ReplaceAllString(strings.TrimSpace(answer), "$1(N)")
		answer = highestNumber.ReplaceAllString(answer, "HIGHESTMODSEQ N]")
		if !strings.HasPrefix(answer, "* PREAUTH") {
			got = append(got, answer)
		}
		if strings.HasPrefix(answer, last[0]) {
			return got
		}
	}
}

// TestPackUIDs keeps what sequence numbers refer to through packing.
func TestPackUIDs(t *testing.T) {
	for range 100 {
		var list uidList
		for uid := uint32(1); uid < 500; uid += 1 + uint32(rand.IntN(3))*uint32(rand.IntN(40)) {
			list = append(list, uid)
		}
		if rand.IntN(2) == 0 {
			list = append(list, 1<<32-2, 1<<32-1)
		}
		packed := packUIDs(list)
		if got := (&asleepBox{uids: packed}).unpackUIDs(); !slices.Equal(got, list) {
			t.Fatalf("%v becomes %v", list, got)
		}
	}
}

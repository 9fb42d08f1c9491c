package imap

import (
	"bufio"
	"strings"
	"testing"
	"time"
)

// TestProgressWording checks the reply against what Dovecot 2.4's tests of the same expect.
func TestProgressWording(t *testing.T) {
	tests := []struct {
		tag         string
		done, total int
		elapsed     time.Duration
		want        string
	}{
		{"tag", 42, 100, 42 * time.Second, `* OK [INPROGRESS ("tag" 42 100)] Processed 42% of the mailbox, ETA 0:58`},
		{"tag]", 20, 60, 10 * time.Second, `* OK [INPROGRESS (NIL 20 60)] Processed 33% of the mailbox, ETA 0:20`},
		{"", 229, 1000, 10 * time.Second, `* OK [INPROGRESS (NIL 229 1000)] Processed 22% of the mailbox, ETA 0:33`},
		{"", 0, 1, time.Second, `* OK [INPROGRESS (NIL 0 1)] Processed 0% of the mailbox`},
		{"", 2000, 1000, 10 * time.Second, `* OK [INPROGRESS (NIL 999 1000)] Processed 99% of the mailbox, ETA 0:00`},
		{"", 3, 2, 10 * time.Second, `* OK [INPROGRESS (NIL 1 2)] Processed 50% of the mailbox, ETA 0:10`},
	}
	for _, tt := range tests {
		if got := string(appendProgress(nil, tt.tag, tt.done, tt.total, tt.elapsed)); got != tt.want+"\r\n" {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}

// TestProgress has a client told of each message that a search reads, as if each took long.
func TestProgress(t *testing.T) {
	srv := newTestServer(t, nil)
	srv.srv.progressEvery = 1
	c := srv.dial(t)
	r := bufio.NewReader(c)
	talk(t, c, r, "a APPEND INBOX {3+}\r\nabc {3+}\r\nabc {3+}\r\nabd\r\na SELECT INBOX\r\n", "a OK [READ-WRITE]")
	got := talk(t, c, r, "b SEARCH BODY abc\r\n", "b ")
	for _, want := range []string{`* OK [INPROGRESS ("b" 0 3)] Processed 0% of the mailbox`, `* OK [INPROGRESS ("b" 2 3)] Processed 66% of the mailbox, ETA 0:00`, "* SEARCH"} {
		if !strings.Contains(got, want+"\r\n") && want != "* SEARCH" || !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
	if got := talk(t, c, r, "b SEARCH SEEN\r\n", "b "); strings.Contains(got, "INPROGRESS") {
		t.Errorf("a search that reads nothing: %q", got)
	}
}

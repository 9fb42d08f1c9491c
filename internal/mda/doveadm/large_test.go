package doveadm

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// largeMessages is how many messages TestLargeMailbox has. DOVETAIL_TEST_LARGE
// changes it.
const largeMessages = 10_000

// fillLarge saves many messages into INBOX.
func (h *home) fillLarge(n int) {
	h.t.Helper()
	cfg, err := dovecot.Parse("large.conf", "mail_location = mdbox:"+h.home()+"/mail\nmail_fsync = never\nfirst_valid_uid = 0\n")
	h.must(err)
	log := maillog.NewFunc(func(_ maillog.Level, text string) { h.t.Log(text) })
	pool := mailbox.NewPool(log)
	defer pool.Close()
	ctx := context.Background()
	u, err := store.OpenUser(ctx, cfg, store.UserInfo{Username: "tester", Home: h.home(), UID: os.Getuid(), GID: os.Getgid()}, pool, log)
	h.must(err)
	defer u.Close()
	m, err := u.Mailbox(ctx, "INBOX")
	h.must(err)
	defer m.Close()
	for done := 0; done < n; {
		var saves []*mailbox.Save
		for ; len(saves) < 1000 && done < n; done++ {
			s, err := m.Save(ctx, mailbox.SaveOptions{Flags: mailbox.Flags(done) & mailbox.Flagged})
			h.must(err)
			_, err = fmt.Fprintf(s, "From: a@example.org\r\nSubject: number %d\r\n\r\ntext\r\n", done)
			h.must(err)
			saves = append(saves, s)
		}
		_, err := mailbox.CommitAll(ctx, saves)
		h.must(err)
	}
	h.must(filepath.WalkDir(h.home(), func(path string, _ os.DirEntry, err error) error {
		if err != nil || os.Geteuid() != 0 {
			return err
		}
		return os.Chown(path, mailUID, mailUID)
	}))
}

// TestLargeMailbox has search and fetch print as they find, in memory that does not
// grow with what they print.
func TestLargeMailbox(t *testing.T) {
	n := largeMessages
	if s := os.Getenv("DOVETAIL_TEST_LARGE"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	h := newHome(t, "mdbox:~/mail")
	h.fillLarge(n)
	const limit = 64 << 10 // KB, of which the program itself needs most
	for _, test := range []struct {
		name  string
		args  []string
		lines int // for each message
	}{
		{"index only", []string{"search", "mailbox", "INBOX", "all"}, 1},
		{"headers", []string{"search", "mailbox", "INBOX", "subject", "number"}, 1},
		{"texts", []string{"search", "mailbox", "INBOX", "text", "text"}, 1},
		{"metadata", []string{"-f", "flow", "fetch", "uid flags date.received size.virtual", "mailbox", "INBOX", "all"}, 1},
		{"messages", []string{"-f", "tab", "fetch", "text", "mailbox", "INBOX", "all"}, 5},
	} {
		cmd := h.command(h.self, "dovecot.conf", test.args...)
		out, err := cmd.StdoutPipe()
		h.must(err)
		cmd.Stderr = os.Stderr
		h.must(cmd.Start())
		lines, most := 0, 0
		for r := bufio.NewReader(out); ; lines++ {
			if lines%500 == 0 {
				most = max(most, peakMemory(cmd.Process.Pid))
			}
			if _, err := r.ReadSlice('\n'); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		h.must(cmd.Wait())
		if want := test.lines * n; lines != want && lines != want+1 {
			t.Errorf("%s: %d lines for %d messages", test.name, lines, n)
		}
		t.Logf("%s: %d KB, %v of processor time", test.name, most, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		if most == 0 || most > limit {
			t.Errorf("%s of %d messages took %d KB of memory, limit %d", test.name, n, most, limit)
		}
	}
}

// peakMemory is the most memory, in KB, that a process has had; 0 if it has ended.
// What wait(2) tells includes the memory of the parent.
func peakMemory(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(fields[0])
	return n
}

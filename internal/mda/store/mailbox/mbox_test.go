package mailbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func newMboxWorld(t testing.TB) *world {
	w := newWorld(t)
	w.format = "mbox"
	setMbox(&w.set)
	return w
}

// setMbox sets what is not the zero value by default, with the locks of Debian's Dovecot.
func setMbox(s *Settings) {
	s.MboxReadLocks, s.MboxWriteLocks = "fcntl", "fcntl dotlock"
	s.MboxLockTimeout, s.MboxDotlockTimeout = 5*time.Minute, 2*time.Minute
	s.MboxDirtySyncs, s.MboxLazyWrites = true, true
}

// mboxText returns the file of a mailbox.
func mboxText(t testing.TB, m *Mailbox) string {
	t.Helper()
	b, err := os.ReadFile(m.Location().File)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// squeezed returns the text with the room for keywords taken out.
func squeezed(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// TestMboxFile looks at the file after each change.
func TestMboxFile(t *testing.T) {
	t.Setenv("TZ", "UTC")
	w := newMboxWorld(t)
	if err := w.pool.Create(ctx, w.loc("A"), &w.set, Identity{UIDValidity: 7}); err != nil {
		t.Fatal(err)
	}
	m := w.open("A")
	at := time.Date(2024, 1, 1, 10, 0, 1, 0, time.UTC)
	wantFile := func(want string) {
		t.Helper()
		if d := cmp.Diff(want, squeezed(mboxText(t, m))); d != "" {
			t.Fatalf("file (-want +got):\n%s", d)
		}
	}
	again := func() {
		m.Close()
		w.restart()
		m = w.open("A")
	}
	save(t, m, "Subject: 1\r\nX-UID: 77\r\nStatus: R\r\nFrom x\r\n\r\none\r\nFrom a@b Tue Jan  2 03:04:05 2024\r\n", SaveOptions{Received: at})
	save(t, m, "Subject: 2\n\ntwo", SaveOptions{Received: at, Flags: Seen | Flagged | Answered, Keywords: []string{"k"}, Sender: "s@example.org"})
	const body1 = "Content-Length: 38\n\none\nFrom a@b Tue Jan  2 03:04:05 2024\n\n"
	const from1, from2 = "From tester@example.org  Mon Jan 01 10:00:01 2024\nSubject: 1\n", "From s@example.org  Mon Jan 01 10:00:01 2024\nSubject: 2\n"
	const body2 = "Content-Length: 4\n\ntwo\n\n"
	wantFile(from1 + "X-IMAPbase: 7 0000000002 k\nX-UID: 1\nStatus:\nX-Keywords:\n" + body1 +
		from2 + "X-UID: 2\nStatus: R\nX-Status: AF\nX-Keywords: k\n" + body2)
	wantRows(t, synced(t, m), []row{{1, 0, ""}, {2, Answered | Flagged | Seen, "k"}})
	if got := text(t, m, 1); got != "Subject: 1\n\none\nFrom a@b Tue Jan  2 03:04:05 2024\n" {
		t.Errorf("text %q", got)
	}
	if got := text(t, m, 2); got != "Subject: 2\n\ntwo\n" {
		t.Errorf("text %q", got)
	}

	// Closing the mailbox writes what is in the index only.
	if _, err := m.ClaimRecent(ctx); err != nil {
		t.Fatal(err)
	}
	setFlags(t, m, []uint32{1}, FlagsAdd, Draft, "other", "and", "more")
	again()
	wantFile(from1 + "X-IMAPbase: 7 0000000002 k other and more\nX-UID: 1\nStatus: O\nX-Status: T\nX-Keywords: other and more\n" + body1 +
		from2 + "X-UID: 2\nStatus: RO\nX-Status: AF\nX-Keywords: k\n" + body2)
	wantRows(t, synced(t, m), []row{{1, Draft, "other and more"}, {2, Answered | Flagged | Seen, "k"}})

	if err := m.Expunge(ctx, []uint32{1}); err != nil {
		t.Fatal(err)
	}
	wantFile(from2 + "X-IMAPbase: 7 0000000002 k other and more\nX-UID: 2\nStatus: RO\nX-Status: AF\nX-Keywords: k\n" + body2)
	if got := text(t, m, 2); got != "Subject: 2\n\ntwo\n" {
		t.Errorf("text %q", got)
	}
	if err := m.Expunge(ctx, []uint32{2}); err != nil {
		t.Fatal(err)
	}
	if got := mboxText(t, m); !strings.HasPrefix(got, "From MAILER_DAEMON  ") || !strings.Contains(got, "\nX-IMAP: 7 0000000002 k other and more\nStatus: RO\n\n") {
		t.Errorf("file %q", got)
	}
	again()
	save(t, m, "Subject: 3\n\nthree\n", SaveOptions{Keywords: []string{"k"}})
	wantRows(t, synced(t, m), []row{{3, 0, "k"}})
	again()
	wantRows(t, synced(t, m), []row{{3, 0, "k"}})
	if got := mboxText(t, m); !strings.Contains(got, "\nX-IMAP: 7 0000000003 k other and more\nStatus: RO\n\n") {
		t.Errorf("file %q", got)
	}
}

// TestMboxTurns has Dovecot and this package change the same mailboxes in turn.
func TestMboxTurns(t *testing.T) {
	if asUser(t) {
		return
	}
	for _, creator := range []string{"ours", "theirs"} {
		t.Run(creator, func(t *testing.T) { turns(t, newMboxWorld(t), creator) })
	}
}

// TestMboxTogether has both save, flag and expunge at the same time.
func TestMboxTogether(t *testing.T) {
	if asUser(t) {
		return
	}
	m := together(t, newMboxWorld(t))
	if n := strings.Count(mboxText(t, m), "\nSubject: "); n != 120 {
		t.Errorf("%d messages in the file, want 120", n)
	}
}

// TestMboxMixed has both do everything at the same time.
func TestMboxMixed(t *testing.T) {
	if asUser(t) {
		return
	}
	w := newMboxWorld(t)
	d := newDoveadm(t, w)
	m := w.create("A")
	enableModSeq(t, m)
	errs := make(chan error, 3)
	for g := range 2 {
		go func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			var err error
			for n := 0; n < 120 && err == nil; n++ {
				s := m.Snapshot()
				uids, _ := pick(rnd, s)
				switch k := rnd.IntN(4); {
				case k < 2 || len(uids) == 0:
					err = trySave(m, fmt.Sprintf("Subject: ours\nMessage-ID: <%d.%d>\n\n%s\n", g, n, strings.Repeat("x", rnd.IntN(3000))))
				case k == 2:
					_, err = m.SetFlags(ctx, FlagChange{UIDs: uids, Op: FlagOp(rnd.IntN(2)), Flags: Seen, Keywords: []string{fmt.Sprint("k", n/20)}, UnchangedSince: Unconditional})
				default:
					err = m.Expunge(ctx, uids[:1])
				}
			}
			errs <- err
		}()
	}
	go func() {
		var err error
		for n := 0; n < 60 && err == nil; n++ {
			var text string
			switch n % 4 {
			case 0, 1:
				_, text, err = d.try(fmt.Sprintf("Subject: theirs\nMessage-ID: <t%d>\n\nx\n", n), "save", "-m", "A")
			case 2:
				_, text, _ = d.try("", "flags", "add", fmt.Sprintf(`\Flagged t%d`, n/20), "mailbox", "A", "subject", "ours")
			default:
				_, text, _ = d.try("", "expunge", "mailbox", "A", "subject", "ours", "seen")
			}
			// Messages that we expunge while it looks at them it calls expunged.
			if text != "" && !strings.Contains(text, "expunged") {
				err = fmt.Errorf("doveadm: %s", text)
			}
		}
		errs <- err
	}()
	for range 3 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(d.table("A"), ourTable(t, m)); diff != "" {
		t.Fatalf("(-Dovecot +ours)\n%s", diff)
	}
	// What the file says is the same.
	want := sortedRows(synced(t, m))
	m.Close()
	w.restart()
	if err := os.RemoveAll(w.loc("A").Dir); err != nil {
		t.Fatal(err)
	}
	m = w.open("A")
	if diff := cmp.Diff(want, sortedRows(synced(t, m))); diff != "" {
		t.Errorf("(-index +file)\n%s", diff)
	}
}

// sortedRows has the keywords in an order that does not depend on which was used first.
func sortedRows(s *Snapshot) []row {
	list := rows(s)
	for i := range list {
		list[i].Keywords = sortWords(list[i].Keywords)
	}
	return list
}

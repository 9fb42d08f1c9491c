package search

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// testMessages are what the queries search, by UID.
var testMessages = []struct {
	text     string
	flags    mailbox.Flags
	keywords []string
	received time.Time
}{
	1: {
		text: "From: Alice <alice@example.org>\nTo: bob@example.org\nSubject: Plain subject\n" +
			"Date: Mon, 1 Jan 2024 23:30:00 -0500\nMessage-ID: <1@x>\n\nplain body text\n",
		flags: mailbox.Seen, received: time.Date(2024, 1, 2, 12, 0, 0, 0, time.UTC),
	},
	2: {
		text: "From: =?iso-8859-1?q?J=FCrgen?= <j@example.org>\nTo: undisclosed-recipients:;\n" +
			"Subject: =?utf-8?b?RW50d8O8cmZl?=\n folded\nDate: Tue, 2 Jan 2024 10:00:00 +0000\nX-Empty:\nMIME-Version: 1.0\n" +
			"Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nGr=FC=DFe aus K=F6ln, soft line=\n break here\n",
		flags: mailbox.Flagged | mailbox.Answered, keywords: []string{"$Label1"}, received: time.Date(2024, 1, 3, 12, 0, 0, 0, time.UTC),
	},
	3: {
		text: "From: carol@example.org\nSubject: multi\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n" +
			"preamble words\n--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" +
			"PHA+SGVsbG8gPGI+d29ybGQ8L2I+PC9wPg==\n--b\nContent-Type: image/png; name=hidden.png\n\nnottext inimage\n" +
			"--b\nContent-Type: message/rfc822\n\nSubject: inner subject\nFrom: deep@example.org\n\ninner body\n--b--\nepilogue words\n",
		keywords: []string{"Work", "$Label1"}, received: time.Date(2024, 1, 4, 12, 0, 0, 0, time.UTC),
	},
	4: {
		text:  "Subject: no date\n\n" + strings.Repeat("filler line\n", 200),
		flags: mailbox.Deleted | mailbox.Draft, received: time.Now().Add(-30 * time.Second),
	},
	5: {
		text:     "Subject: raw \u00e4\u00f6\u00fc utf8\nDate: garbage\nContent-Type: text/plain; charset=x-unknown\n\nraw \u00c4\u00d6\u00dc utf8\n",
		received: time.Date(2023, 12, 31, 12, 0, 0, 0, time.UTC),
	},
}

func day(year int, month time.Month, d int) time.Time {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC)
}

func text(op Op, s string) *Key             { return &Key{Op: op, Text: s} }
func header(field, s string) *Key           { return &Key{Op: Header, Field: field, Text: s} }
func dated(op Op, t time.Time) *Key         { return &Key{Op: op, Date: t} }
func not(k *Key) *Key                       { return &Key{Op: And, Not: true, Keys: []*Key{k}} }
func and(keys ...*Key) *Key                 { return &Key{Op: And, Keys: keys} }
func uids(ranges ...Range) *Key             { return &Key{Op: UID, Ranges: ranges} }
func flagged(f mailbox.Flags, no bool) *Key { return &Key{Op: FlagsAll, Flags: f, Not: no} }

// searches are queries in IMAP and as keys, with the UIDs that Dovecot finds.
var searches = []struct {
	imap string
	key  *Key
	want []uint32
}{
	{"ALL", &Key{Op: All}, []uint32{1, 2, 3, 4, 5}},
	{"SEEN", flagged(mailbox.Seen, false), []uint32{1}},
	{"UNSEEN", flagged(mailbox.Seen, true), []uint32{2, 3, 4, 5}},
	{"ANSWERED FLAGGED", and(flagged(mailbox.Answered, false), flagged(mailbox.Flagged, false)), []uint32{2}},
	{"OR DELETED SEEN", &Key{Op: Or, Keys: []*Key{flagged(mailbox.Deleted, false), flagged(mailbox.Seen, false)}}, []uint32{1, 4}},
	{"NOT (OR DELETED SEEN)", not(&Key{Op: Or, Keys: []*Key{flagged(mailbox.Deleted, false), flagged(mailbox.Seen, false)}}), []uint32{2, 3, 5}},
	{"KEYWORD $Label1", text(Keyword, "$Label1"), []uint32{2, 3}},
	{"KEYWORD $label1", text(Keyword, "$label1"), []uint32{2, 3}},
	{"UNKEYWORD work", &Key{Op: Keyword, Text: "work", Not: true}, []uint32{1, 2, 4, 5}},
	{"KEYWORD unknown", text(Keyword, "unknown"), nil},
	{"UID 2:3", uids(Range{2, 3}), []uint32{2, 3}},
	{"UID 4:*", uids(Range{4, Star}), []uint32{4, 5}},
	{"UID 9:*", uids(Range{9, Star}), []uint32{5}},
	{"UID *", uids(Range{Star, Star}), []uint32{5}},
	{"UID 1,3,8:9", uids(Range{1, 1}, Range{3, 3}, Range{8, 9}), []uint32{1, 3}},
	{"NOT UID 2:4", &Key{Op: UID, Ranges: []Range{{2, 4}}, Not: true}, []uint32{1, 5}},
	{"2:3", &Key{Op: Seq, Ranges: []Range{{2, 3}}}, []uint32{2, 3}},
	{"LARGER 1000", &Key{Op: Larger, Size: 1000}, []uint32{4}},
	{"SMALLER 120", &Key{Op: Smaller, Size: 120}, []uint32{5}},
	{"BEFORE 3-Jan-2024", dated(Before, day(2024, 1, 3)), []uint32{1, 5}},
	{"ON 3-Jan-2024", dated(On, day(2024, 1, 3)), []uint32{2}},
	{"SINCE 3-Jan-2024", dated(Since, day(2024, 1, 3)), []uint32{2, 3, 4}},
	{"SENTBEFORE 2-Jan-2024", dated(SentBefore, day(2024, 1, 2)), []uint32{1, 3, 4, 5}},
	{"SENTON 1-Jan-2024", dated(SentOn, day(2024, 1, 1)), []uint32{1}},
	{"SENTSINCE 2-Jan-2024", dated(SentSince, day(2024, 1, 2)), []uint32{2}},
	{"OLDER 3600", &Key{Op: Older, Seconds: 3600}, []uint32{1, 2, 3, 5}},
	{"YOUNGER 3600", &Key{Op: Younger, Seconds: 3600}, []uint32{4}},
	{"SUBJECT subj", header("SUBJECT", "subj"), []uint32{1}},
	{"SUBJECT PLAIN", header("SUBJECT", "PLAIN"), []uint32{1}},
	{`SUBJECT "entwürfe"`, header("SUBJECT", "entwürfe"), []uint32{2}},
	{`SUBJECT "ENTWÜRFE FOLDED"`, header("SUBJECT", "ENTWÜRFE FOLDED"), []uint32{2}},
	{`SUBJECT "entwurfe"`, header("SUBJECT", "entwurfe"), nil},
	{`SUBJECT "äöü"`, header("SUBJECT", "äöü"), []uint32{5}},
	{`SUBJECT ""`, header("SUBJECT", ""), []uint32{1, 2, 3, 4, 5}},
	{"FROM jürgen", header("FROM", "jürgen"), []uint32{2}},
	{"FROM example", header("FROM", "example"), []uint32{1, 2, 3}},
	{"FROM deep", header("FROM", "deep"), nil},
	{"TO undisclosed", header("TO", "undisclosed"), []uint32{2}},
	{"HEADER X-Empty \"\"", header("X-EMPTY", ""), []uint32{2}},
	{"HEADER X-Missing \"\"", header("X-MISSING", ""), nil},
	{"HEADER Message-ID 1@x", header("MESSAGE-ID", "1@x"), []uint32{1}},
	{"BODY \"plain body\"", text(Body, "plain body"), []uint32{1}},
	{"BODY subject", text(Body, "subject"), nil},
	{"BODY grüße", text(Body, "grüße"), []uint32{2}},
	{"BODY GRÜẞE", text(Body, "GRÜẞE"), nil},
	{`BODY "köln, soft line break"`, text(Body, "köln, soft line break"), []uint32{2}},
	{`BODY "<b>world"`, text(Body, "<b>world"), []uint32{3}},
	{"BODY nottext", text(Body, "nottext"), nil},
	{"BODY hidden.png", text(Body, "hidden.png"), nil},
	{`BODY "inner body"`, text(Body, "inner body"), []uint32{3}},
	{`BODY "inner subject"`, text(Body, "inner subject"), nil},
	{"BODY preamble", text(Body, "preamble"), nil},
	{"BODY epilogue", text(Body, "epilogue"), nil},
	{"BODY äöü", text(Body, "äöü"), []uint32{5}},
	{"BODY \"filler line\"", text(Body, "filler line"), []uint32{4}},
	{"TEXT subject", text(TextOp, "subject"), []uint32{1, 2, 3, 4, 5}},
	{`TEXT "inner subject"`, text(TextOp, "inner subject"), []uint32{3}},
	{"TEXT hidden.png", text(TextOp, "hidden.png"), []uint32{3}},
	{"TEXT deep@example", text(TextOp, "deep@example"), []uint32{3}},
	{"TEXT entwürfe", text(TextOp, "entwürfe"), []uint32{2}},
	{"NOT TEXT plain", not(text(TextOp, "plain")), []uint32{3, 4}},
	{"UID 1:2 BODY text", and(uids(Range{1, 2}), text(Body, "text")), []uint32{1}},
}

func TestSearch(t *testing.T) {
	m := testMailbox(t, t.TempDir())
	env := &Env{Now: time.Now(), Location: time.UTC}
	snap := m.Snapshot()
	for _, s := range searches {
		got, err := Run(context.Background(), m, snap, s.key, env)
		if err != nil || !slices.Equal(got, s.want) {
			t.Errorf("%s: %v, want %v, %v", s.imap, got, s.want, err)
		}
	}
	modseq := &Key{Op: ModSeq, ModSeq: snap.ModSeq(3)}
	if got, _ := Run(context.Background(), m, snap, modseq, env); !slices.Contains(got, 4) || !modseq.NeedsModSeq() {
		t.Errorf("MODSEQ %d: %v", modseq.ModSeq, got)
	}
	env.FirstRecent = 4
	if got, _ := Run(context.Background(), m, snap, &Key{Op: Recent}, env); !slices.Equal(got, []uint32{4, 5}) {
		t.Errorf("RECENT: %v", got)
	}
}

// Dovecot finds the same in the same mailbox.
func TestSearchIsDovecots(t *testing.T) {
	home := t.TempDir()
	testMailbox(t, home).Close()
	var in bytes.Buffer
	in.WriteString("a EXAMINE INBOX\r\n")
	for _, s := range searches {
		fmt.Fprintf(&in, "b UID SEARCH CHARSET UTF-8 %s\r\n", literals(s.imap))
	}
	in.WriteString("z LOGOUT\r\n")
	out := runDovecot(t, home, &in)
	i := 0
	for line := range strings.Lines(out) {
		found, ok := strings.CutPrefix(strings.TrimSpace(line), "* SEARCH")
		if !ok || i >= len(searches) {
			continue
		}
		want := ""
		for _, uid := range searches[i].want {
			want += fmt.Sprintf(" %d", uid)
		}
		if found != want {
			t.Errorf("%s: Dovecot finds%s, we%s", searches[i].imap, found, want)
		}
		i++
	}
	if i != len(searches) {
		t.Errorf("%d answers for %d queries:\n%s", i, len(searches), out)
	}
}

// literals sends words that are not ASCII as literals.
func literals(query string) string {
	ascii := true
	for _, r := range query {
		ascii = ascii && r < 0x80
	}
	if ascii {
		return query
	}
	key, word, _ := strings.Cut(query, " ")
	word = strings.Trim(word, `"`)
	return fmt.Sprintf("%s {%d+}\r\n%s", key, len(word), word)
}

// testMailbox makes INBOX of a user with home, with the test messages.
func testMailbox(t *testing.T, home string) *mailbox.Mailbox {
	t.Helper()
	ctx := context.Background()
	pool := mailbox.NewPool(nil)
	set := &mailbox.Settings{Fsync: "never", LockMethod: "fcntl"}
	loc := mailbox.Location{Format: "sdbox", Name: "INBOX", Dir: filepath.Join(home, "mail/mailboxes/INBOX/dbox-Mails")}
	if err := os.MkdirAll(filepath.Dir(loc.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := pool.Create(ctx, loc, set, mailbox.Identity{UIDValidity: 1700000000}); err != nil {
		t.Fatal(err)
	}
	m, err := pool.Open(ctx, loc, set)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); pool.Close() })
	for i := 1; i < len(testMessages); i++ {
		tm := &testMessages[i]
		save, err := m.Save(ctx, mailbox.SaveOptions{Flags: tm.flags, Keywords: tm.keywords, Received: tm.received})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := save.Write([]byte(tm.text)); err != nil {
			t.Fatal(err)
		}
		if _, err := save.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// runDovecot has the real Dovecot answer IMAP commands on the home. The test is
// left where Dovecot is not installed.
func runDovecot(t *testing.T, home string, in *bytes.Buffer) string {
	t.Helper()
	doveadm, err := exec.LookPath("doveadm")
	if err != nil {
		t.Fatal("Dovecot is not installed: run test/install-packages")
	}
	conf := filepath.Join(home, "dovecot.conf")
	text := fmt.Sprintf("mail_location = sdbox:~/mail\nbase_dir = %[1]s/run\nstate_dir = %[1]s/run\nfirst_valid_uid = 1\nssl = no\n", home)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(doveadm, "-c", conf, "exec", "imap")
	cmd.Env = append(os.Environ(), "USER=bob", "HOME="+home, "TZ=UTC")
	if os.Getuid() == 0 {
		// Mail processes refuse to run as root.
		const nobody = 65534
		filepath.Walk(home, func(path string, _ os.FileInfo, _ error) error { return os.Chown(path, nobody, nobody) })
		os.Chmod(filepath.Dir(home), 0o755)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	cmd.Stdin = in
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func TestNeedleAcrossReads(t *testing.T) {
	long := strings.Repeat("x", 16<<10-3) + "Grüße" + strings.Repeat("y", 20000)
	for needle, want := range map[string]bool{"grüße": true, "XGR": true, "eyy": true, "absent": false, "": true} {
		if got, err := newNeedle(needle).contains(strings.NewReader(long), new(scratch)); err != nil || got != want {
			t.Errorf("%q: %v %v", needle, got, err)
		}
	}
}

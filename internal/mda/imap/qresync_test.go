package imap

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

func TestParseSamples(t *testing.T) {
	tests := []struct {
		seqs, uids string
		want       []sample // nil: refused
	}{
		{"1:3", "1:3", []sample{{1, 1}, {3, 3}}},
		{"1,3", "10,20", []sample{{1, 10}, {3, 20}}},
		{"1:2,4", "1:2,5", []sample{{1, 1}, {2, 2}, {4, 5}}},
		{"1:2,4:6", "7:11", []sample{{1, 7}, {6, 11}}},
		{"5,4", "9:10", []sample{{4, 9}, {5, 10}}},
		{"1:4294967294", "1:4294967294", []sample{{1, 1}, {4294967294, 4294967294}}},
		{"1:3", "1:4", nil},
		{"1:4", "1:3", nil},
		{"1:*", "1:*", nil},
		{"0", "1", nil},
	}
	for _, tt := range tests {
		list := imapwire.Args{{Data: []byte(tt.seqs)}, {Data: []byte(tt.uids)}}
		got, err := parseSamples(list)
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(sample{})); diff != "" || (err == nil) != (tt.want != nil) {
			t.Errorf("parseSamples(%s, %s) = %v, %v: %s", tt.seqs, tt.uids, got, err, diff)
		}
	}
}

// TestQResyncWithoutLog resynchronizes a client when the log of expunges has been lost: it
// is told every uid without message, but for those that it shows to know of.
func TestQResyncWithoutLog(t *testing.T) {
	dir := t.TempDir()
	settings := map[string]string{"mail_location": "sdbox:" + dir}
	t.Run("expunge", func(t *testing.T) {
		srv := newTestServer(t, settings)
		c := srv.dial(t)
		append8 := "a APPEND INBOX {4+}\r\nA: b" + strings.Repeat(" {4+}\r\nA: b", 7) + "\r\n"
		talk(t, c, bufio.NewReader(c), append8+"b SELECT INBOX (CONDSTORE)\r\nc STORE 2,4:5 +FLAGS \\Deleted\r\nd EXPUNGE\r\ne LOGOUT\r\n", "e ")
	})
	logs, err := filepath.Glob(filepath.Join(dir, "mailboxes/INBOX/dbox-Mails/dovecot.index.log*"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no logs in %s, %v", dir, err)
	}
	for _, name := range logs {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}

	srv := newTestServer(t, settings)
	user := srv.open(t)
	defer user.Close()
	mbox, err := user.Mailbox(t.Context(), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	validity := mbox.Snapshot().UIDValidity()
	mbox.Close()
	for _, tt := range []struct{ known, want string }{
		{"", "2,4:5"},
		{" 1:4", "2,4"},
		{" 5:100", "5"},
		{" 1:100 (1:2 1,3)", "4:5"},
		{" 1:100 (1:2 1:2)", "2,4:5"},
		{" 1:100 (1:5 1,3,6:8)", ""},
	} {
		c := srv.dial(t)
		got := talk(t, c, bufio.NewReader(c), fmt.Sprintf("a ENABLE QRESYNC\r\nb SELECT INBOX (QRESYNC (%d 5%s))\r\n", validity, tt.known), "b ")
		if strings.Count(got, " FETCH (UID") < 1 {
			t.Errorf("QRESYNC%s: no flags: %s", tt.known, got)
		}
		if want := "* VANISHED (EARLIER) " + tt.want + "\r\n"; tt.want != "" && !strings.Contains(got, want) || tt.want == "" && strings.Contains(got, "VANISHED") {
			t.Errorf("QRESYNC%s: %s\nwant VANISHED %s", tt.known, got, tt.want)
		}
		c.Close()
	}
}

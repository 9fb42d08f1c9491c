package imap

import (
	"bufio"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestMailLog checks what the plugin mail_log writes about a session; the words are those of
// Dovecot's, with which the tests of package doveadm compare them.
func TestMailLog(t *testing.T) {
	srv := newTestServer(t, map[string]string{
		"mail_plugins":            "mail_log notify",
		"plugin/mail_log_events":  "delete undelete expunge save copy mailbox_create mailbox_delete mailbox_rename flag_change",
		"plugin/mail_log_fields":  "uid box flags subject",
		"mail_never_cache_fields": "*",
	})
	conn, done := srv.serve(t)
	r := bufio.NewReader(conn)
	for _, line := range []string{
		"CREATE Work", "APPEND INBOX (\\Draft K1) {14+}\r\nSubject: a\r\n\r\n", "APPEND INBOX {14+}\r\nSubject: b\r\n\r\n", "SELECT INBOX",
		"STORE 1 +FLAGS (\\Deleted K2)", "STORE 1:2 -FLAGS.SILENT \\Deleted", "FETCH 2 BODY[]", "COPY 1:2 Work", "MOVE 2 Work",
		"STORE 1 FLAGS \\Deleted", "EXPUNGE", "RENAME Work Play", "DELETE Play", "LOGOUT",
	} {
		talk(t, conn, r, "a "+line+"\r\n", "a ")
	}
	lastLog(t, srv, done)
	var got []string
	for line := range strings.Lines(srv.logged()) {
		if _, text, ok := strings.Cut(line, "imap(bob)<1><x>: Info: "); ok && !strings.HasPrefix(text, "Disconnected") {
			got = append(got, strings.TrimSpace(text))
		}
	}
	want := []string{
		"Mailbox created: Work",
		"Mailbox created: INBOX",
		`save: box=INBOX, uid=1, subject=a, flags=(\Draft K1)`,
		`save: box=INBOX, uid=2, subject=b, flags=()`,
		`delete: box=INBOX, uid=1, subject=a, flags=(\Deleted \Draft \Recent K1)`,
		`flag_change: box=INBOX, uid=1, subject=a, flags=(\Deleted \Draft \Recent K1 K2)`,
		`undelete: box=INBOX, uid=1, subject=a, flags=(\Draft \Recent K1 K2)`,
		`flag_change: box=INBOX, uid=2, subject=b, flags=(\Seen \Recent)`,
		`copy from INBOX: box=Work, uid=1, subject=a, flags=(\Draft K1 K2)`,
		`copy from INBOX: box=Work, uid=2, subject=b, flags=(\Seen)`,
		`copy from INBOX: box=Work, uid=3, subject=b, flags=(\Seen)`,
		`expunge: box=INBOX, uid=2, subject=b, flags=(\Seen \Recent)`,
		`delete: box=INBOX, uid=1, subject=a, flags=(\Deleted \Recent K1 K2)`,
		`flag_change: box=INBOX, uid=1, subject=a, flags=(\Deleted \Recent)`,
		`expunge: box=INBOX, uid=1, subject=a, flags=(\Deleted \Recent)`,
		"Mailbox renamed: Work -> Play",
		`expunge: box=Play, uid=1, subject=a, flags=(\Draft \Recent K1 K2)`,
		`expunge: box=Play, uid=2, subject=b, flags=(\Seen \Recent)`,
		`expunge: box=Play, uid=3, subject=b, flags=(\Seen \Recent)`,
		"Mailbox deleted: Play",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

package service

import (
	"slices"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// The mail process of a user of the machine begins with the first session, is shared by those that
// follow, ends when it has been idle for default_idle_kill, and begins again.
func TestMailProcessEndsWhenIdle(t *testing.T) {
	mb := systemUsers(t, harness.Dovetail)
	add(t, mb.Config, "default_idle_kill = 1 s\n")
	doveadm(t, mb, "reload")
	if pids := mb.Children("dovecot/mail"); len(pids) > 0 {
		t.Fatalf("mail processes before the first login: %v", pids)
	}
	stays := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	first := mb.Child(t, "dovecot/mail")
	second := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	if pids := mb.Children("dovecot/mail"); !slices.Equal(pids, []int{first}) {
		t.Fatalf("mail processes %v after a second login, %d after the first", pids, first)
	}
	second.Close()
	other := harness.ConnectIMAP(t, mb.IMAP, 1, "INBOX")
	if pids := mb.Children("dovecot/mail"); len(pids) != 2 {
		t.Fatalf("mail processes of two users: %v", pids)
	}
	other.Must(t, "LOGOUT")
	only := func(pid int) func() bool {
		return func() bool { return slices.Equal(mb.Children("dovecot/mail"), []int{pid}) }
	}
	harness.Eventually(t, "the end of the process without sessions", only(first))
	stays.Must(t, "NOOP")
	again := harness.ConnectIMAP(t, mb.IMAP, 1, "INBOX")
	again.Must(t, "LOGOUT")
	stays.Must(t, "LOGOUT")
	harness.Eventually(t, "the end of all mail processes", func() bool { return len(mb.Children("dovecot/mail")) == 0 })
	harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX").Must(t, "LOGOUT")
}

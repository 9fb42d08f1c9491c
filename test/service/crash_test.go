package service

import (
	"fmt"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// What the runtime says when it ends a process is in the log, with the name of
// the process and before the line about its end, and it is not endless.
func TestTracesAreLogged(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{})
	// Sessions are goroutines, of which a trace tells one by one.
	for range 50 {
		harness.Connect(t, mb.IMAP)
	}
	for _, victim := range []struct {
		of              *harness.Process
		title, log      string
		signal          syscall.Signal
		trace, line, by string // %d is the process id
	}{
		{mb.Process, "dovecot/auth", mb.Log, syscall.SIGABRT, "auth: Error: SIGABRT: abort", "auth: Error: ", "auth: Fatal: master: service(auth): child %d returned error 2"},
		{mb.Process, "dovecot/imap-login", mb.Log, syscall.SIGQUIT, "imap-login: Error: SIGQUIT: quit", "imap-login: Error: ",
			"imap-login: Fatal: master: service(imap-login): child %d returned error 2"},
		{mb.Process, "dovecot/lmtp", mb.Log, syscall.SIGABRT, "lmtp: Error: SIGABRT: abort", "lmtp: Error: ", "lmtp: Fatal: master: service(lmtp): child %d returned error 2"},
		{tr.Process, "postfix/mta", tr.Log, syscall.SIGABRT, "postfix/mta[%d]: error: SIGABRT: abort", "postfix/mta[%d]: error: ", "warning: process postfix/mta pid %d exit status 2"},
	} {
		t.Run(strings.ReplaceAll(victim.title, "/", "-"), func(t *testing.T) {
			pid := victim.of.Child(t, victim.title)
			with := func(text string) string { return strings.ReplaceAll(text, "%d", fmt.Sprint(pid)) }
			skip := size(victim.log)
			syscall.Kill(pid, victim.signal)
			logged(t, victim.log, with(victim.by), skip)
			text := tail(victim.log, skip)
			start, end := strings.Index(text, with(victim.trace)), strings.Index(text, with(victim.by))
			if start < 0 || start > end {
				t.Fatalf("no trace before the line about the end:\n%s", text)
			}
			lines := strings.Count(text[start:end], with(victim.line))
			if lines < 10 || lines > 410 {
				t.Errorf("the trace has %d lines", lines)
			}
			if !strings.Contains(text[start:end], "goroutine ") {
				t.Errorf("the trace shows no goroutine:\n%s", text)
			}
			harness.Eventually(t, "a new "+victim.title, func() bool {
				all := victim.of.Children(victim.title)
				return len(all) == 1 && all[0] != pid
			})
		})
	}
}

// A master that dies of a defect leaves its trace for the log of the next one.
func TestTraceOfTheMaster(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{})
	for _, service := range []struct {
		log   string
		start func() *harness.Process
	}{
		{mb.Log, func() *harness.Process {
			mb.Start(t)
			harness.Connect(t, mb.POP3).Close() // the last process to be started
			return mb.Process
		}},
		{tr.Log, func() *harness.Process {
			tr.Start(t)
			harness.Connect(t, tr.SMTP).Close()
			return tr.Process
		}},
	} {
		p := service.start()
		children := harness.Descendants(p.Cmd.Process.Pid)
		p.Cmd.Process.Signal(syscall.SIGABRT)
		<-p.Done()
		for _, pid := range children {
			harness.Eventually(t, fmt.Sprintf("end of %d", pid), func() bool { return harness.Gone(pid) })
		}
		service.start().Stop()
		text := tail(service.log, 0)
		if !regexp.MustCompile(`(?s)Last died with error \(.*SIGABRT: abort.*goroutine 1 `).MatchString(text) {
			t.Errorf("no trace in the log:\n%s", text)
		}
		service.start().Stop()
		if n := strings.Count(tail(service.log, 0), "Last died with error"); n != 1 {
			t.Errorf("the log tells of it %d times", n)
		}
	}
}

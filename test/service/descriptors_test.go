package service

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// descriptors is how many a process of the test may have.
const descriptors = 128

// TestOutOfDescriptors has more clients than the mail process may have descriptors: those that are too many are refused at
// once, and the log says why; those that are there go on, new mail is delivered, and when some have gone others are let in.
func TestOutOfDescriptors(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{Extra: "mail_max_userip_connections = 0\n"})
	command := fmt.Sprintf("ulimit -n %d; exec %s dovecot -F -c %s", descriptors, harness.Binary(t), mb.Config)
	mb.Process = harness.Start(t, nil, "/bin/sh", "-c", command)
	harness.WaitTCP(t, mb.Process, mb.IMAP)
	harness.WaitTCP(t, mb.Process, mb.LMTP)
	first := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	var inside []*harness.Client
	refused := 0
	for refused < 10 && len(inside) < descriptors {
		c := harness.Connect(t, mb.IMAP)
		err := c.Login(0)
		if err == nil {
			inside = append(inside, c)
			continue
		}
		refused++
		c.Close()
		if !strings.Contains(err.Error(), "Internal error occurred. Refer to server log for more information.") {
			t.Fatalf("after %d clients: %v", len(inside), err)
		}
	}
	if len(inside) < descriptors/4 || refused < 10 {
		t.Errorf("%d clients are let in and %d refused", len(inside), refused)
	}
	for _, c := range append(inside[len(inside)-3:], first) {
		c.Must(t, "SELECT INBOX")
		c.Must(t, "APPEND INBOX {4+}\r\na\r\n\r\n")
	}
	sender := harness.Connect(t, mb.LMTP)
	sender.Expect(t, "LHLO client.example.org", "250")
	sender.Expect(t, "MAIL FROM:<>", "250")
	sender.Expect(t, "RCPT TO:<"+harness.User(1)+">", "250")
	sender.Expect(t, "DATA", "354")
	sender.Expect(t, "Subject: crowded\r\n\r\n.", "250")
	log, err := os.ReadFile(mb.Log)
	if err != nil || !strings.Contains(string(log), fmt.Sprintf("of %d descriptors are open: too many open files (raise the limit of open files", descriptors)) {
		t.Errorf("the log does not say why clients are refused (%v):\n%s", err, log)
	}

	for _, c := range inside {
		c.Close()
	}
	harness.Eventually(t, "a login when others have gone", func() bool {
		c := harness.Connect(t, mb.IMAP)
		defer c.Close()
		return c.Login(0) == nil
	})
	first.Must(t, "NOOP")
}

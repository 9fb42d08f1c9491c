package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// edit changes a configuration file. Each old text must be there once.
func edit(t *testing.T, path string, oldnew ...string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for i := 0; i < len(oldnew); i += 2 {
		if n := strings.Count(changed, oldnew[i]); n != 1 {
			t.Fatalf("%s has %q %d times", path, oldnew[i], n)
		}
		changed = strings.Replace(changed, oldnew[i], oldnew[i+1], 1)
	}
	harness.Write(t, path, changed)
}

// add appends to a configuration file.
func add(t *testing.T, path, text string) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harness.Write(t, path, string(old)+text)
}

// logged waits until a line with the text is in the log, after the first skip bytes.
func logged(t *testing.T, path, text string, skip int64) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%q in %s", text, path), func() bool {
		return strings.Contains(tail(path, skip), text)
	})
}

// tail returns a file's content after the first skip bytes.
func tail(path string, skip int64) string {
	content, err := os.ReadFile(path)
	if err != nil || int64(len(content)) < skip {
		return ""
	}
	return string(content[skip:])
}

// size is how long a log is now.
func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// doveadm runs doveadm's control commands.
func doveadm(t *testing.T, mb *harness.Mailbox, args ...string) {
	t.Helper()
	harness.Run(t, "", harness.Binary(t), append([]string{"doveadm", "-c", mb.Config}, args...)...)
}

func postfix(t *testing.T, tr *harness.Transport, command string) {
	t.Helper()
	harness.Run(t, "", harness.Binary(t), "postfix", "-c", tr.Config, command)
}

// greets waits until a new session is greeted so.
func greets(t *testing.T, addr, want string) {
	t.Helper()
	got := ""
	t.Cleanup(func() {
		if t.Failed() && !strings.Contains(got, want) {
			t.Logf("%s greets with %q, want %q", addr, got, want)
		}
	})
	harness.Eventually(t, "greeting "+want, func() bool {
		c, err := harness.Dial(addr)
		if err != nil {
			return false
		}
		defer c.Close()
		got = c.Greeting
		return strings.Contains(got, want)
	})
}

// A knocker connects to an address again and again, and wants to be greeted
// each time.
type knocker struct {
	stop   chan struct{}
	done   sync.WaitGroup
	knocks int
	errs   []error
}

func knock(t *testing.T, addr string) *knocker {
	k := &knocker{stop: make(chan struct{})}
	k.done.Go(func() {
		for {
			select {
			case <-k.stop:
				return
			default:
			}
			c, err := harness.Dial(addr)
			k.knocks++
			if err != nil {
				k.errs = append(k.errs, err)
				continue
			}
			c.Close()
			time.Sleep(time.Millisecond) // each client takes one of the machine's ports for a minute
		}
	})
	t.Cleanup(k.end)
	return k
}

func (k *knocker) end() {
	select {
	case <-k.stop:
	default:
		close(k.stop)
	}
	k.done.Wait()
}

// welcome ends the knocking and checks that the door was always open.
func (k *knocker) welcome(t *testing.T, who string) {
	t.Helper()
	k.end()
	if len(k.errs) > 0 {
		t.Errorf("%s: %d of %d connections failed, first: %v", who, len(k.errs), k.knocks, k.errs[0])
	}
	if k.knocks < 10 {
		t.Errorf("%s: only %d connections were tried", who, k.knocks)
	}
}

// Sessions that are open when the mailbox service reloads go on under the
// settings they began with; new ones see the new settings.
func TestMailboxReload(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	idle := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	tls, err := harness.DialTLS(mb.IMAPS) // relayed by the login process
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tls.Close() })
	if err := tls.Login(0); err != nil {
		t.Fatal(err)
	}
	idle.Expect(t, "i IDLE", "+")
	half := harness.Connect(t, mb.LMTP)
	half.Expect(t, "LHLO client.example.org", "250")
	half.Expect(t, "MAIL FROM:<sender@example.org>", "250")
	half.Expect(t, "RCPT TO:<"+harness.User(0)+">", "250")
	half.Expect(t, "DATA", "354")
	half.Put("Subject: half ")
	greeted := harness.Connect(t, mb.IMAP)

	extra := harness.FreePort(t)
	users := filepath.Join(mb.Dir, "users2")
	harness.Write(t, users, "late@example.test:{PLAIN}"+harness.Password+"\n")
	edit(t, mb.Config, "args = "+mb.Dir+"/users\n", "args = "+users+"\n")
	add(t, mb.Config, fmt.Sprintf(`
login_greeting = Freshly configured
service imap-login {
  inet_listener another {
    address = 127.0.0.1
    port = %d
  }
}
service pop3-login {
  inet_listener pop3 {
    port = 0
  }
}
`, extra))
	doveadm(t, mb, "reload")
	greets(t, mb.IMAP, "Freshly configured")
	greets(t, fmt.Sprintf("127.0.0.1:%d", extra), "Freshly configured")
	harness.Eventually(t, "end of the POP3 listener", func() bool {
		_, err := net.Dial("tcp", mb.POP3)
		return errors.Is(err, syscall.ECONNREFUSED)
	})

	half.Put("a letter\r\n\r\ntext\r\n")
	half.Expect(t, ".", "250 2.0.0 ")
	for line := ""; !strings.HasSuffix(line, " EXISTS"); {
		if line, err = idle.Line(); err != nil {
			t.Fatalf("IDLE: %v", err)
		}
	}
	idle.Put("DONE\r\n")
	if _, _, err := idle.Responses("i "); err != nil {
		t.Errorf("IDLE: %v", err)
	}
	if untagged, _ := idle.Must(t, "FETCH 1 BODY.PEEK[TEXT]"); !strings.Contains(strings.Join(untagged, "\n"), "text") {
		t.Errorf("FETCH in a session older than the reload: %q", untagged)
	}
	if untagged, _ := tls.Must(t, "STATUS INBOX (MESSAGES)"); !strings.Contains(strings.Join(untagged, "\n"), "MESSAGES 1") {
		t.Errorf("STATUS in a TLS session older than the reload: %q", untagged)
	}
	// It was greeted before the reload and logs in now, with the users of now.
	if _, _, err := greeted.IMAP("LOGIN late@example.test " + harness.Password); err != nil {
		t.Errorf("login of a new user: %v", err)
	}
	late := harness.Connect(t, mb.IMAP)
	if err := late.Login(0); err == nil {
		t.Error("a user who is not in the new user file can log in")
	}

	// A file with a mistake changes nothing.
	skip := size(mb.Log)
	add(t, mb.Config, "no_such_setting = yes\nlogin_greeting = Never\n")
	syscall.Kill(mb.Cmd.Process.Pid, syscall.SIGHUP)
	logged(t, mb.Log, "Unknown setting: no_such_setting", skip)
	greets(t, mb.IMAP, "Freshly configured")
	idle.Must(t, "NOOP")
}

// The same for the mail transport.
func TestTransportReload(t *testing.T) {
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Main: "smtpd_banner = old\nmessage_size_limit = 100000\n"})
	half := harness.Connect(t, tr.SMTP)
	half.Expect(t, "EHLO client.example.org", "250")
	half.Expect(t, "MAIL FROM:<sender@example.org> SIZE=90000", "250")
	half.Expect(t, "RCPT TO:<"+harness.User(0)+">", "250")
	half.Expect(t, "DATA", "354")
	half.Put("Subject: half ")

	extra := harness.FreePort(t)
	main, services := filepath.Join(tr.Config, "main.cf"), filepath.Join(tr.Config, "master.cf")
	edit(t, main, "smtpd_banner = old", "smtpd_banner = new", "message_size_limit = 100000", "message_size_limit = 50000")
	add(t, services, fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd -o smtpd_banner=another\n", extra))
	edit(t, services, tr.Submission+" inet", "# "+tr.Submission+" inet", "  -o syslog_name=postfix/submission\n", "",
		"  -o smtpd_sasl_auth_enable=yes\n", "", "  -o smtpd_tls_auth_only=no\n", "",
		"  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n", "")
	postfix(t, tr, "reload")
	greets(t, tr.SMTP, "220 new")
	greets(t, fmt.Sprintf("127.0.0.1:%d", extra), "220 another")
	harness.Eventually(t, "end of the submission listener", func() bool {
		_, err := net.Dial("tcp", tr.Submission)
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	now := harness.Connect(t, tr.SMTP)
	now.Expect(t, "EHLO client.example.org", "250")
	now.Expect(t, "MAIL FROM:<sender@example.org> SIZE=90000", "552 5.3.4 ")

	// More than is allowed now, less than when it began.
	half.Put("a letter\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1000))
	half.Expect(t, ".", "250 2.0.0 Ok: queued as ")
	tr.Empty(t)

	// Mistakes change nothing, whoever finds them.
	good, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	for _, mistake := range []struct{ line, reason string }{
		{"no equals sign", `missing '=' after attribute name: "no equals sign"`},                      // anybody
		{"smtpd_recipient_limit = many", "bad numerical configuration: smtpd_recipient_limit = many"}, // the SMTP server
	} {
		harness.Write(t, main, string(good)+"smtpd_banner = never\n"+mistake.line+"\n")
		skip := size(tr.Log)
		syscall.Kill(tr.Cmd.Process.Pid, syscall.SIGHUP)
		logged(t, tr.Log, mistake.reason, skip)
		greets(t, tr.SMTP, "220 new")
	}
	harness.Write(t, main, string(good))
	postfix(t, tr, "reload")
	now.Expect(t, "RSET", "250")
	now.Expect(t, "MAIL FROM:<sender@example.org>", "250")
}

// Nobody is refused however often the services reload.
func TestReloadRefusesNobody(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{})
	doors := map[string]string{"IMAP": mb.IMAP, "POP3": mb.POP3, "LMTP": mb.LMTP, "LMTP socket": mb.LMTPSocket, "SMTP": tr.SMTP}
	knockers := make(map[string]*knocker)
	for name, addr := range doors {
		knockers[name] = knock(t, addr)
	}
	for n := range 10 {
		login := fmt.Sprintf("login_greeting = number %d\n", n)
		banner := fmt.Sprintf("smtpd_banner = number %d\n", n)
		if n == 0 {
			add(t, mb.Config, login)
			add(t, filepath.Join(tr.Config, "main.cf"), banner)
		} else {
			edit(t, mb.Config, fmt.Sprintf("number %d\n", n-1), fmt.Sprintf("number %d\n", n))
			edit(t, filepath.Join(tr.Config, "main.cf"), fmt.Sprintf("number %d\n", n-1), fmt.Sprintf("number %d\n", n))
		}
		doveadm(t, mb, "reload")
		postfix(t, tr, "reload")
		greets(t, mb.IMAP, fmt.Sprintf("number %d", n))
		greets(t, tr.SMTP, fmt.Sprintf("number %d", n))
		// Logins work throughout.
		c := harness.Connect(t, mb.IMAP)
		if err := c.Login(0); err != nil {
			t.Errorf("login after reload %d: %v", n, err)
		}
		c.Close()
	}
	for name, k := range knockers {
		k.welcome(t, name)
	}
}

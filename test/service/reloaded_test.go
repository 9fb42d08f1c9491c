package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Clients learn of changed mechanisms in the first session after a reload, as
// with Dovecot.
func TestReloadedMechanisms(t *testing.T) {
	for _, program := range []harness.Program{harness.Original, harness.Dovetail} {
		mb := harness.StartMailbox(t, program, harness.MailboxOptions{})
		before := harness.Connect(t, mb.IMAP)
		for _, mechanisms := range []string{"plain", "plain login cram-md5", "plain cram-md5"} {
			add(t, mb.Config, "auth_mechanisms = "+mechanisms+"\n")
			reloadMailbox(t, mb)
			var want strings.Builder
			for _, m := range strings.Fields(mechanisms) {
				fmt.Fprintf(&want, " AUTH=%s", strings.ToUpper(m))
			}
			greets(t, mb.IMAP, "STARTTLS"+want.String()+"]")
			// It does not come and go.
			for range 10 {
				c := harness.Connect(t, mb.IMAP)
				if !strings.Contains(c.Greeting, "STARTTLS"+want.String()+"]") {
					t.Errorf("%v: greeting %q, want%s", program, c.Greeting, want.String())
				}
				c.Close()
			}
			after := harness.Connect(t, mb.IMAP)
			if err := after.Login(0); err != nil {
				t.Errorf("%v: login: %v", program, err)
			}
			after.Close()
		}
		// A client that was greeted before all that can log in: with Dovecot, it would
		// be told of an internal error.
		if err := before.Login(1); err != nil && program == harness.Dovetail {
			t.Errorf("login of a client older than the reloads: %v", err)
		}
		mb.Stop()
	}
}

// reloadMailbox reloads a mailbox service of either program.
func reloadMailbox(t *testing.T, mb *harness.Mailbox) {
	t.Helper()
	if mb.Program == harness.Dovetail {
		doveadm(t, mb, "reload")
	} else {
		harness.Run(t, "", "/usr/bin/doveadm", "-c", mb.Config, "reload")
	}
}

// certificateOf is the serial number of the certificate that a server shows.
func certificateOf(t *testing.T, dial func(*tls.Config) (*tls.Conn, error)) string {
	t.Helper()
	c, err := dial(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the certificate is what is looked at
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// A renewed certificate is used after a reload by both services; a key that does
// not fit leaves the old pair in use, and says why.
func TestReloadedCertificates(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{})
	imaps := func(cfg *tls.Config) (*tls.Conn, error) { return tls.Dial("tcp", mb.IMAPS, cfg) }
	lmtp := func(cfg *tls.Config) (*tls.Conn, error) { return starttls(t, mb.LMTP, "LHLO x", cfg) }
	smtp := func(cfg *tls.Config) (*tls.Conn, error) { return starttls(t, tr.SMTP, "EHLO x", cfg) }
	shown := func() [3]string {
		return [3]string{certificateOf(t, imaps), certificateOf(t, lmtp), certificateOf(t, smtp)}
	}
	first := shown()
	renew := func(names ...string) {
		t.Helper()
		key := filepath.Join(t.TempDir(), "key.pem")
		cert := filepath.Join(filepath.Dir(key), "cert.pem")
		harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
			"-days", "30", "-subj", "/CN=localhost", "-keyout", key, "-out", cert)
		for _, dir := range []string{mb.Dir, tr.Dir} {
			for _, name := range names {
				harness.Run(t, "", "cp", filepath.Join(filepath.Dir(key), name), filepath.Join(dir, name))
				os.Chmod(filepath.Join(dir, name), 0o600)
			}
		}
	}
	renew("cert.pem", "key.pem")
	doveadm(t, mb, "reload")
	postfix(t, tr, "reload")
	harness.Eventually(t, "new certificates", func() bool {
		now := shown()
		return now[0] != first[0] && now[1] != first[1] && now[2] != first[2]
	})
	second := shown()

	renew("key.pem")
	skipMB, skipTR := size(mb.Log), size(tr.Log)
	doveadm(t, mb, "reload")
	logged(t, mb.Log, "ssl_cert", skipMB)
	if out, status := terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, "reload"); status != 1 || !strings.Contains(out, "private key does not match") {
		t.Errorf("postfix reload with a wrong key: status %d\n%s", status, out)
	}
	syscall.Kill(tr.Cmd.Process.Pid, syscall.SIGHUP)
	logged(t, tr.Log, "reload failed, the running configuration stays in force: ", skipTR)
	if now := shown(); now != second {
		t.Errorf("with a wrong key the servers show %v, before %v", now, second)
	}
}

// starttls does what comes before the handshake.
func starttls(t *testing.T, addr, hello string, cfg *tls.Config) (*tls.Conn, error) {
	t.Helper()
	c := harness.Connect(t, addr)
	c.Expect(t, hello, "250")
	c.Expect(t, "STARTTLS", "220")
	conn := tls.Client(c.Conn, cfg)
	return conn, conn.Handshake()
}

// A log file that was renamed is followed by all processes.
func TestRotatedLogs(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{})
	session := harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX")
	for _, log := range []string{mb.Log, tr.Log} {
		if err := os.Rename(log, log+".1"); err != nil {
			t.Fatal(err)
		}
	}
	doveadm(t, mb, "log", "reopen")
	postfix(t, tr, "reload")
	logged(t, tr.Log, "postfix/master", 0)
	session.Must(t, "LOGOUT") // logged by the mail process, whose session is older
	logged(t, mb.Log, "Logged out in=", 0)
	harness.ConnectIMAP(t, mb.IMAP, 1, "INBOX")
	logged(t, mb.Log, "imap-login: Info: Login: user=<"+harness.User(1)+">", 0)
	before := harness.Connect(t, tr.SMTP)
	before.Expect(t, "QUIT", "221")
	logged(t, tr.Log, "disconnect from", 0)
	victim := mb.Child(t, "dovecot/auth")
	syscall.Kill(victim, syscall.SIGKILL)
	logged(t, mb.Log, fmt.Sprintf("auth: Fatal: master: service(auth): child %d killed with signal 9", victim), 0)
}

// inet_interfaces and inet_protocols take effect at a start only, and the log
// says so in Postfix's words.
func TestInterfacesChangeAtStartOnly(t *testing.T) {
	warnings := make(map[harness.Program]string)
	ports := [2]int{harness.FreePort(t), harness.FreePort(t)}
	for _, program := range []harness.Program{harness.Original, harness.Dovetail} {
		tr := harness.StartTransport(t, program, harness.TransportOptions{Master: fmt.Sprintf("%d inet n - n - - smtpd\n", ports[0])})
		edit(t, filepath.Join(tr.Config, "main.cf"), "inet_interfaces = 127.0.0.1", "inet_interfaces = all", "inet_protocols = ipv4", "inet_protocols = all")
		add(t, filepath.Join(tr.Config, "master.cf"), fmt.Sprintf("%d inet n - n - - smtpd\n", ports[1]))
		skip := size(tr.Log)
		if program == harness.Dovetail {
			postfix(t, tr, "reload")
		} else {
			harness.Run(t, "", "/usr/sbin/postfix", "-c", tr.Config, "reload")
		}
		for _, port := range ports {
			harness.WaitTCP(t, tr.Process, fmt.Sprintf("127.0.0.1:%d", port))
			if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.2:%d", port)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%v listens on a new address: %v", program, err)
			}
		}
		last := fmt.Sprintf("service %d: ignoring inet_interfaces change", ports[1])
		logged(t, tr.Log, last, skip)
		logged(t, tr.Log, "to change inet_interfaces", skip+int64(strings.Index(tail(tr.Log, skip), last)))
		var lines strings.Builder
		for line := range strings.Lines(tail(tr.Log, skip)) {
			_, text, ok := strings.Cut(line, ": warning: ")
			if ok && strings.Contains(line, "/master[") && !strings.HasPrefix(text, "setting ") { // a smtpd may complain of the reload
				lines.WriteString(strings.NewReplacer(tr.SMTP, "SMTP", tr.Submission, "SUBMISSION").Replace(text))
			}
		}
		warnings[program] = lines.String()
		tr.Stop()
		if program == harness.Dovetail {
			tr.Process = harness.Start(t, nil, harness.Binary(t), "postfix", "-c", tr.Config, "start-fg")
			harness.WaitTCP(t, tr.Process, fmt.Sprintf("127.0.0.2:%d", ports[0]))
		}
	}
	if ours, theirs := warnings[harness.Dovetail], warnings[harness.Original]; ours != theirs || ours == "" {
		t.Errorf("Dovetail warns:\n%s\nPostfix:\n%s", ours, theirs)
	}
}

// The queue manager goes by new settings: what it defers, where it sends.
func TestReloadedQueueManager(t *testing.T) {
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Main: "defer_transports = discard\n"})
	send := func() {
		harness.Run(t, "", "swaks", "--server", tr.SMTP, "--from", "sender@example.org", "--to", harness.User(0), "-n")
	}
	main := filepath.Join(tr.Config, "main.cf")
	send()
	logged(t, tr.Log, "status=deferred (deferred transport)", 0)
	edit(t, main, "defer_transports = discard", "minimal_backoff_time = 1h\ndefault_destination_concurrency_limit = 3")
	postfix(t, tr, "reload")
	logged(t, tr.Log, "reload -- version", 0)
	send()
	logged(t, tr.Log, "status=sent", 0)
	harness.Run(t, "", harness.Binary(t), "postqueue", "-c", tr.Config, "-f")
	tr.Empty(t)
	// A delivery service that is taken away, and one that is added.
	skip := size(tr.Log)
	edit(t, main, "virtual_transport = discard:test", "virtual_transport = fresh:test")
	edit(t, filepath.Join(tr.Config, "master.cf"), "discard unix -", "fresh unix -")
	postfix(t, tr, "reload")
	logged(t, tr.Log, "reload -- version", skip)
	send()
	logged(t, tr.Log, "relay=none", skip) // as discard(8) has it, under the new name
	tr.Empty(t)
}

// An address that a listener has can become all addresses, and the other way
// round, without a moment at which clients are refused.
func TestListenersWiden(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{})
	knockers := map[string]*knocker{"IMAP": knock(t, mb.IMAP), "SMTP": knock(t, tr.SMTP)}
	_, port, _ := strings.Cut(tr.SMTP, ":")
	_, imap, _ := strings.Cut(mb.IMAP, ":")
	services := filepath.Join(tr.Config, "master.cf")
	for range 3 {
		edit(t, mb.Config, "listen = 127.0.0.1\n", "listen = *\n")
		edit(t, services, tr.SMTP+" inet", "0.0.0.0:"+port+" inet")
		doveadm(t, mb, "reload")
		postfix(t, tr, "reload")
		harness.WaitTCP(t, nil, "127.0.0.2:"+imap)
		harness.WaitTCP(t, nil, "127.0.0.2:"+port)
		edit(t, mb.Config, "listen = *\n", "listen = 127.0.0.1\n")
		edit(t, services, "0.0.0.0:"+port+" inet", tr.SMTP+" inet")
		doveadm(t, mb, "reload")
		postfix(t, tr, "reload")
		for _, p := range []string{imap, port} {
			harness.Eventually(t, "end of the listener for all addresses", func() bool {
				c, err := net.Dial("tcp", "127.0.0.2:"+p)
				if err == nil {
					c.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			})
		}
	}
	for name, k := range knockers {
		k.open(t, name)
	}
}

// Limits count for new sessions.
func TestReloadedLimits(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	var sessions []*harness.Client
	for range 4 {
		sessions = append(sessions, harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX"))
	}
	add(t, mb.Config, "mail_max_userip_connections = 4\nprotocols = imap lmtp\n")
	doveadm(t, mb, "reload")
	harness.Eventually(t, "end of POP3", func() bool {
		_, err := net.Dial("tcp", mb.POP3)
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	harness.Eventually(t, "refusal of the fifth session", func() bool {
		c := harness.Connect(t, mb.IMAP)
		defer c.Close()
		if c.Login(0) != nil {
			return true
		}
		_, _, err := c.IMAP("NOOP")
		return err != nil
	})
	for _, s := range sessions {
		s.Must(t, "NOOP")
	}
}

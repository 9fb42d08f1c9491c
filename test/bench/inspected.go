package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/milter/miltertest"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// openDKIM is what OpenDKIM 2.11 asks of the milter protocol: neither HELO nor DATA nor unknown
// commands, leave to answer "skip", and the blanks before the values of headers.
const openDKIM = 0x100702

// inspected measures what a transport takes of mail that it looks at: ten restrictions, three of
// which ask tables, header checks, and a milter that hears what OpenDKIM does and changes nothing.
func inspected(options ...string) func(*env, harness.Program) []float64 {
	return func(e *env, p harness.Program) []float64 {
		// A port would be unfair: Postfix writes twice before it reads, and TCP delays the second of them.
		l, err := net.Listen("unix", filepath.Join(harness.Dir(e), "milter"))
		e.check(err)
		e.check(os.Chmod(l.Addr().String(), 0o666))
		m := miltertest.Serve(l, miltertest.Script{Steps: openDKIM, Forgets: true})
		defer m.Close()
		return e.acceptanceOf(harness.StartTransport(e, p, harness.TransportOptions{Main: inspections(e, m.Addr)}), connections, options)
	}
}

// inspections are the parameters of that.
func inspections(e *env, milter string) string {
	dir := harness.Dir(e)
	table := func(name, entry string) string {
		var text strings.Builder
		for i := range tableSize {
			fmt.Fprintf(&text, entry, i)
		}
		path := filepath.Join(dir, name)
		e.check(os.WriteFile(path, []byte(text.String()), 0o644))
		e.check(exec.Command("postmap", "hash:"+path).Run())
		return "hash:" + path
	}
	checks := filepath.Join(dir, "header_checks")
	e.check(os.WriteFile(checks, []byte("/^X-Virus:/ REJECT\n/^Subject: .*lottery/ REJECT\n/^X-Spam-Level: \\*{10}/ HOLD\n"), 0o644))
	return "smtpd_helo_required = yes\n" +
		"smtpd_client_restrictions = check_client_access " + table("clients", "192.0.2.%d REJECT\n") + ", reject_unauth_pipelining\n" +
		"smtpd_helo_restrictions = reject_invalid_helo_hostname, check_helo_access " + table("names", "host%d.test REJECT\n") + "\n" +
		"smtpd_sender_restrictions = reject_non_fqdn_sender, check_sender_access " + table("senders", "user%d@example.test REJECT\n") + "\n" +
		"smtpd_recipient_restrictions = reject_non_fqdn_recipient, reject_unauth_destination, reject_unlisted_recipient\n" +
		"smtpd_data_restrictions = reject_multi_recipient_bounce\n" +
		"header_checks = regexp:" + checks + "\nsmtpd_milters = unix:" + milter + "\n"
}

// handshakes measures what a transport takes from clients that connect, start TLS, send a
// message and leave.
func handshakes(e *env, p harness.Program) []float64 {
	tr := harness.StartTransport(e, p, harness.TransportOptions{})
	log := openLog(e, tr.Log)
	message := []byte("Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("x", 62)+"\r\n", messageSize/64))
	total := 0
	rate := e.rate(func(n int) time.Duration {
		var left atomic.Int64
		left.Store(int64(n))
		failed := make(chan error, connections)
		var clients sync.WaitGroup
		begin := time.Now()
		for range connections {
			clients.Go(func() {
				for left.Add(-1) >= 0 {
					if err := sendTLS(tr.SMTP, harness.User(0), message); err != nil {
						failed <- err
						return
					}
				}
			})
		}
		clients.Wait()
		elapsed := time.Since(begin)
		select {
		case err := <-failed:
			e.Fatalf("client with TLS: %v", err)
		default:
		}
		total += n
		log.waitSent(e, total)
		return elapsed
	})
	return []float64{rate}
}

// sendTLS sends a message over a connection of its own, without the help of earlier TLS
// sessions.
func sendTLS(addr, to string, message []byte) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		return err
	}
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true}); err != nil { //nolint:gosec // the server's certificate is its own
		return err
	}
	if err := c.Mail("sender@example.org"); err != nil {
		return err
	}
	if err := c.Rcpt(to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

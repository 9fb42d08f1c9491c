package service

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// Informational lines and those about defects have files of their own, and lines begin with
// the time as log_timestamp has it: with the original as with Dovetail.
func TestDovecotLogFiles(t *testing.T) {
	for _, p := range []harness.Program{harness.Original, harness.Dovetail} {
		t.Run(p.String(), func(t *testing.T) {
			mb := harness.NewMailbox(t, p, harness.MailboxOptions{})
			info, debug := filepath.Join(mb.Dir, "info.log"), filepath.Join(mb.Dir, "debug.log")
			add(t, mb.Config, "info_log_path = "+info+"\ndebug_log_path = "+debug+
				"\nlog_timestamp = \"%Y-%j %H:%M:%S.%{usecs} \"\nauth_debug = yes\n") // which implies auth_verbose
			mb.Start(t)
			harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX").Close()
			c := harness.Connect(t, mb.IMAP)
			c.IMAP("LOGIN user0@example.test wrong")
			c.Close()
			logged(t, info, "Info: Login: user=<user0@example.test>", 0)
			logged(t, info, "Info: passwd-file(user0@example.test,127.0.0.1", 0)
			mb.Process.Stop()
			logged(t, mb.Log, "Warning: Killed with signal 15", 0)
			stamp := regexp.MustCompile(fmt.Sprintf(`^%s-\d{3} \d\d:\d\d:\d\d\.\d{6} [a-z]`, time.Now().Format("2006")))
			for path, levels := range map[string]string{mb.Log: " (Warning|Error|Fatal): ", info: " Info: ", debug: " Debug: "} {
				for line := range strings.Lines(tail(path, 0)) {
					if !stamp.MatchString(line) || !regexp.MustCompile(levels).MatchString(line) {
						t.Errorf("%s has %q", filepath.Base(path), line)
					}
				}
			}
		})
	}
}

// A reload changes where the lines go.
func TestDovecotLogFilesAtReload(t *testing.T) {
	mb := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	login := func() { harness.ConnectIMAP(t, mb.IMAP, 0, "INBOX").Close() }
	const line = "Info: Login: user=<user0@example.test>"
	login()
	logged(t, mb.Log, line, 0)
	info := filepath.Join(mb.Dir, "info.log")
	add(t, mb.Config, "info_log_path = "+info+"\n")
	doveadm(t, mb, "reload")
	logged(t, info, "", 0)
	harness.Eventually(t, "login in the new file", func() bool { login(); return strings.Contains(tail(info, 0), line) })
	skip := size(mb.Log)
	login()
	edit(t, mb.Config, "info_log_path = "+info+"\n", "")
	doveadm(t, mb, "reload")
	harness.Eventually(t, "login in the old file", func() bool { login(); return strings.Contains(tail(mb.Log, skip), line) })
}

// An encrypted key is opened with ssl_key_password, ssl_curve_list restricts the curves, and
// ssl_options = no_ticket turns resumption off.
func TestDovecotKeyPasswordAndCurves(t *testing.T) {
	for _, p := range []harness.Program{harness.Original, harness.Dovetail} {
		t.Run(p.String(), func(t *testing.T) {
			mb := harness.NewMailbox(t, p, harness.MailboxOptions{})
			key := filepath.Join(mb.Dir, "key.pem")
			harness.Run(t, "", "openssl", "pkcs8", "-topk8", "-in", key, "-out", key+".enc", "-passout", "pass:secret")
			os.Rename(key+".enc", key)
			output, status := "", 0
			if p == harness.Dovetail {
				if output, status = attempt(t, harness.Binary(t), "dovecot", "-F", "-c", mb.Config); status != 89 || !strings.Contains(output, "there is no password for it") {
					t.Errorf("without the password: status %d, %s", status, output)
				}
			}
			add(t, mb.Config, "ssl_key_password = secret\nssl_curve_list = P-384\nssl_options = no_ticket\n")
			mb.Start(t)
			try := func(curve tls.CurveID) error {
				conn, err := net.Dial("tcp", mb.IMAPS)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{curve}, MinVersion: tls.VersionTLS13})
				return c.Handshake()
			}
			if err := try(tls.CurveP384); err != nil {
				t.Errorf("P-384: %v", err)
			}
			if try(tls.X25519) == nil {
				t.Error("X25519 is accepted, which is not in the list")
			}
			ticket := harness.Run(t, "Q\n", "openssl", "s_client", "-connect", mb.IMAPS, "-tls1_2", "-groups", "P-384:P-256")
			if strings.Contains(ticket, "TLS session ticket:") {
				t.Errorf("a ticket is issued:\n%s", ticket)
			}
		})
	}
}

// Services that master_service_disable names are not there.
func TestMasterServiceDisable(t *testing.T) {
	for _, p := range []harness.Program{harness.Original, harness.Dovetail} {
		t.Run(p.String(), func(t *testing.T) {
			off, on := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
			tr := harness.StartTransport(t, p, harness.TransportOptions{
				Main:   "master_service_disable = !" + on + "/inet " + off + "/inet, " + on + "/inet\n",
				Master: off + " inet n - n - - smtpd\n" + on + " inet n - n - - smtpd\n",
			})
			harness.Connect(t, tr.SMTP).Close()
			harness.Connect(t, on).Close()
			if conn, err := net.Dial("tcp", off); err == nil {
				conn.Close()
				t.Error("a disabled service is served")
			}
		})
	}
}

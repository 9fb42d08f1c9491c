package service

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A mistake that only one of Postfix's daemons notices, when it starts.
type daemonMistake struct {
	main, master string
	client       bool // noticed when mail is sent, not when a client connects
}

var daemonMistakes = map[string]daemonMistake{
	"number of smtpd":    {main: "smtpd_recipient_limit = many\n"},
	"boolean of smtpd":   {main: "smtpd_sasl_auth_enable = maybe\n"},
	"time of smtpd":      {main: "smtpd_timeout = 10x\n"},
	"range of smtpd":     {main: "smtpd_hard_error_limit = 0\n"},
	"open relay":         {main: "smtpd_relay_restrictions = permit\nsmtpd_recipient_restrictions = permit\n"},
	"number of qmgr":     {main: "qmgr_message_active_limit = few\n"},
	"time of smtp":       {main: "smtp_connect_timeout = 10x\n", client: true},
	"TLS level of smtpd": {main: "smtpd_tls_security_level = maybe\n"},
	"TLS level of smtp":  {main: "smtp_tls_security_level = maybe\n", client: true},
	"bind address":       {main: "smtp_bind_address = nonsense\n", client: true},
	"override in smtpd":  {master: "@PORT@ inet n - n - - smtpd\n  -o smtpd_soft_error_limit=none\n"},
}

var daemonFatal = regexp.MustCompile(`postfix/(\w+)\[\d+\]: fatal: (.*)`)

// What Postfix's daemons would log and end with is told by check, start and
// reload, in their words; nothing starts, and what runs goes on.
func TestMistakesThatDaemonsNotice(t *testing.T) {
	for name, m := range daemonMistakes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, reason := originalReason(t, m)
			tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Main: "smtpd_banner = as it was\n"})
			harness.Connect(t, tr.SMTP).Close() // it serves
			m.write(t, tr)
			add(t, filepath.Join(tr.Config, "main.cf"), "smtpd_banner = never\n")
			where := ""
			if m.master != "" {
				where = filepath.Join(tr.Config, "master.cf") + ": line "
			}
			for _, command := range []string{"check", "reload"} {
				skip := size(tr.Log)
				output, status := terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, command)
				if status != 1 {
					t.Errorf("postfix %s: status %d", command, status)
				}
				if want := fmt.Sprintf("postfix/%s: fatal: %s\n", program, reason); !strings.Contains(output, want) {
					t.Errorf("postfix %s does not say %q:\n%s", command, want, output)
				}
				log := tail(tr.Log, skip)
				if got := daemonFatal.FindStringSubmatch(log); got == nil || got[1] != program || got[2] != reason {
					t.Errorf("postfix %s logs\n%swanted: postfix/%s: fatal: %s", command, log, program, reason)
				}
				if !strings.Contains(log, where) {
					t.Errorf("postfix %s does not log %q:\n%s", command, where, log)
				}
			}
			skip := size(tr.Log)
			syscall.Kill(tr.Cmd.Process.Pid, syscall.SIGHUP)
			logged(t, tr.Log, "reload failed, the running configuration stays in force: ", skip)
			logged(t, tr.Log, reason, skip)
			c := harness.Connect(t, tr.SMTP)
			if c.Greeting != "220 as it was" {
				t.Errorf("greeting %q", c.Greeting)
			}
			c.Close()
			tr.Stop()
			refused(t, tr, reason)
		})
	}
}

func (m *daemonMistake) write(t *testing.T, tr *harness.Transport) {
	t.Helper()
	add(t, filepath.Join(tr.Config, "main.cf"), m.main)
	add(t, filepath.Join(tr.Config, "master.cf"), strings.ReplaceAll(m.master, "@PORT@", fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))))
}

// originalReason has Postfix run into a mistake, and returns which of its daemons
// ends, and why.
func originalReason(t *testing.T, m daemonMistake) (program, reason string) {
	t.Helper()
	tr := harness.NewTransport(t, harness.Original, harness.TransportOptions{Deliver: "smtp:[127.0.0.1]:1"})
	m.write(t, tr)
	tr.Start(t)
	switch {
	case m.client:
		harness.Run(t, "", "swaks", "--server", tr.SMTP, "--from", "sender@example.org", "--to", harness.User(0), "-n")
	case m.master != "":
		services, err := os.ReadFile(filepath.Join(tr.Config, "master.cf"))
		if err != nil {
			t.Fatal(err)
		}
		addr := regexp.MustCompile(`(?m)^(\S+) inet .*\n  -o smtpd_soft`).FindStringSubmatch(string(services))[1]
		harness.WaitTCP(t, tr.Process, addr)
	default:
		harness.WaitTCP(t, tr.Process, tr.SMTP)
	}
	var found []string
	harness.Eventually(t, "fatal line of Postfix", func() bool {
		found = daemonFatal.FindStringSubmatch(tail(tr.Log, 0))
		return found != nil
	})
	tr.Stop()
	return found[1], found[2]
}

// A table that is missing, and a restriction that does not exist, stop nothing,
// as with Postfix: lookups fail, and the log says why.
func TestMistakesThatDegrade(t *testing.T) {
	answers := make(map[harness.Program][2]string)
	for _, program := range []harness.Program{harness.Original, harness.Dovetail} {
		tr := harness.StartTransport(t, program, harness.TransportOptions{
			Main: "smtpd_sender_restrictions = check_sender_access hash:/nonexistent/table\nsmtpd_data_restrictions = nonsense\n"})
		first := rcpt(t, tr, "sender@example.org")
		logged(t, tr.Log, "error: open database /nonexistent/table.db: No such file or directory", 0)
		logged(t, tr.Log, "warning: hash:/nonexistent/table is unavailable. open database /nonexistent/table.db: No such file or directory", 0)
		edit(t, filepath.Join(tr.Config, "main.cf"), "check_sender_access hash:/nonexistent/table", "permit", "smtpd_data_restrictions", "smtpd_recipient_restrictions")
		if program == harness.Dovetail {
			out, status := terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, "reload")
			if status != 0 {
				t.Errorf("status %d: %s", status, out)
			}
		} else {
			harness.Run(t, "", "/usr/sbin/postfix", "-c", tr.Config, "reload")
		}
		second := ""
		harness.Eventually(t, "other answer", func() bool {
			second = rcpt(t, tr, "sender@example.org")
			return strings.Contains(tail(tr.Log, 0), `warning: unknown smtpd restriction: "nonsense"`)
		})
		answers[program] = [2]string{first, second}
		tr.Stop()
	}
	if ours, theirs := answers[harness.Dovetail], answers[harness.Original]; ours[0][:9] != theirs[0][:9] || ours[1] != theirs[1] {
		t.Errorf("Dovetail answers %q, Postfix %q", ours, theirs)
	}
	// The check tells of the table without being stopped by it.
	tr := harness.NewTransport(t, harness.Dovetail, harness.TransportOptions{Main: "transport_maps = hash:/nonexistent/table\n"})
	out, status := terminal(t, harness.Binary(t), "postfix", "-c", tr.Config, "check")
	if want := "postfix/trivial-rewrite: error: open database /nonexistent/table.db: No such file or directory"; status != 0 || !strings.Contains(out, want) {
		t.Errorf("check: status %d\n%s", status, out)
	}
}

// Certificates that cannot be used and ports that are taken.
func TestMistakesOutsideOfMainCf(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	inUse := held.Addr().(*net.TCPAddr).Port
	tr := harness.StartTransport(t, harness.Dovetail, harness.TransportOptions{Main: "smtpd_banner = as it was\n"})
	good := make(map[string]string)
	for _, name := range []string{"main.cf", "master.cf"} {
		content, err := os.ReadFile(filepath.Join(tr.Config, name))
		if err != nil {
			t.Fatal(err)
		}
		good[name] = string(content)
	}
	for _, m := range []struct{ name, file, text, reason string }{
		{"no certificate", "main.cf", "smtpd_tls_cert_file = /nonexistent/cert.pem\n", "smtpd_tls_cert_file: error opening chain file: /nonexistent/cert.pem: No such file or directory"},
		{"bad certificate", "main.cf", "smtpd_tls_cert_file = " + tr.Dir + "/recipients\n", "smtpd_tls_cert_file"},
		{"port in use", "master.cf", fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd\n", inUse), fmt.Sprintf("bind 127.0.0.1 port %d: Address already in use", inUse)},
		{"type", "master.cf", "thing odd n - n - - smtpd\n", `field "transport type": bad value: "odd"`},
	} {
		for name, text := range good {
			harness.Write(t, filepath.Join(tr.Config, name), text)
		}
		add(t, filepath.Join(tr.Config, m.file), m.text)
		skip := size(tr.Log)
		syscall.Kill(tr.Cmd.Process.Pid, syscall.SIGHUP)
		logged(t, tr.Log, "reload failed, the running configuration stays in force: ", skip)
		if log := tail(tr.Log, skip); !strings.Contains(log, m.reason) {
			t.Errorf("%s: no %q in\n%s", m.name, m.reason, log)
		}
		c := harness.Connect(t, tr.SMTP)
		if c.Greeting != "220 as it was" {
			t.Errorf("greeting %q", c.Greeting)
		}
		c.Close()
	}
	tr.Stop()
	for _, m := range []struct{ file, text, reason string }{
		{"main.cf", "smtpd_tls_key_file = /nonexistent/key.pem\n", "smtpd_tls_key_file: error opening chain file: /nonexistent/key.pem: No such file or directory"},
		{"master.cf", fmt.Sprintf("127.0.0.1:%d inet n - n - - smtpd\n", inUse), fmt.Sprintf("fatal: bind 127.0.0.1 port %d: Address already in use", inUse)},
	} {
		for name, text := range good {
			harness.Write(t, filepath.Join(tr.Config, name), text)
		}
		add(t, filepath.Join(tr.Config, m.file), m.text)
		refused(t, tr, m.reason)
	}
}

package tools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// stockService returns an entry that the stock master.cf has as a comment, as an
// administrator gets it by removing the "#" of its lines, on another port.
func stockService(t *testing.T, name, address string) string {
	t.Helper()
	text, err := os.ReadFile("../../packaging/etc/postfix/master.cf")
	if err != nil {
		t.Fatal(err)
	}
	var entry strings.Builder
	inside := false
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "#"+name+" "):
			inside = true
			line = "#" + address + strings.TrimPrefix(line, "#"+name)
		case inside && !strings.HasPrefix(line, "#  -o"):
			return entry.String()
		}
		if inside {
			entry.WriteString(line[1:])
		}
	}
	t.Fatalf("no service %s in master.cf", name)
	return ""
}

// The submission and smtps services, enabled by removing the comment signs in the stock
// master.cf, take mail from users who log in over TLS and from nobody else, whatever
// network they are in.
func TestStockSubmission(t *testing.T) {
	mailbox := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{SocketUser: "postfix"})
	var got [2]string
	for i, p := range programs {
		submission, smtps := harness.FreePort(t), harness.FreePort(t)
		hop := startNexthop(t, &nexthop{})
		tr := harness.StartTransport(t, p, harness.TransportOptions{
			Relay: "smtp:[127.0.0.1]:" + portOf(hop.Addr), Auth: mailbox.AuthSocket,
			Main:   "smtpd_tls_auth_only = yes\nmua_client_restrictions =\nmua_helo_restrictions =\nmua_sender_restrictions =\n",
			Master: stockService(t, "submission", fmt.Sprintf("127.0.0.1:%d", submission)) + stockService(t, "smtps", fmt.Sprintf("127.0.0.1:%d", smtps)),
		})
		login := []string{"--auth", "PLAIN", "--auth-user", harness.User(0), "--auth-password", "pass"}
		var all strings.Builder
		for _, c := range []struct {
			name string
			args []string
			ok   bool
		}{
			{"submission", append([]string{"--port", fmt.Sprint(submission), "--tls"}, login...), true},
			{"smtps", append([]string{"--port", fmt.Sprint(smtps), "--tls-on-connect"}, login...), true},
			{"submission without login", []string{"--port", fmt.Sprint(submission), "--tls"}, false},
			{"smtps without login", []string{"--port", fmt.Sprint(smtps), "--tls-on-connect"}, false},
			{"submission without TLS", append([]string{"--port", fmt.Sprint(submission)}, login...), false},
			{"submission, wrong password", []string{"--port", fmt.Sprint(submission), "--tls", "--auth", "PLAIN", "--auth-user", harness.User(0), "--auth-password", "wrong"}, false},
		} {
			args := append([]string{"--server", "127.0.0.1", "--helo", "client.example.test", "--from", harness.User(0), "--to", "one@remote.test",
				"--header", "Subject: " + c.name, "--body", "text", "--timeout", "60"}, c.args...)
			out, err := exec.Command("swaks", args...).CombinedOutput()
			if (err == nil) != c.ok {
				t.Fatalf("%v: %s: %v\n%s", p, c.name, err, out)
			}
			// What the server answered.
			fmt.Fprintf(&all, "%s\n", c.name)
			for line := range strings.Lines(string(out)) {
				if (strings.HasPrefix(line, "<") || strings.HasPrefix(line, "<~")) && !strings.Contains(line, "queued as") {
					all.WriteString(line)
				}
			}
		}
		got[i] = all.String()
		for n, letter := range hop.collect(t, 2) {
			if !strings.Contains(letter, "MAIL FROM:<"+harness.User(0)+">") || !strings.Contains(letter, "ESMTPSA") {
				t.Errorf("%v: letter %d:\n%s", p, n, letter)
			}
		}
		log, err := os.ReadFile(filepath.Join(tr.Dir, "mail.log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"postfix/submission/smtpd[", "postfix/smtps/smtpd[", "sasl_method=PLAIN, sasl_username=" + harness.User(0)} {
			if !strings.Contains(string(log), want) {
				t.Errorf("%v: the log lacks %q:\n%s", p, want, log)
			}
		}
	}
	if diff := cmp.Diff(strings.Split(got[0], "\n"), strings.Split(got[1], "\n")); diff != "" {
		t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
	}
}

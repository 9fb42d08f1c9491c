package accounts

import (
	"bufio"
	"crypto/md5"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/sasl"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// noPenalties spares the test the waiting after failures.
const noPenalties = "auth_failure_delay = 0\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"

const allMechanisms = "auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 apop xoauth2 oauthbearer\n"

// TestMechanismsOffered compares what login processes announce and what they answer to
// those who want something else, and that real clients log in.
func TestMechanismsOffered(t *testing.T) {
	t.Parallel()
	theirs := playOffers(t, harness.Original)
	ours := playOffers(t, harness.Dovetail)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
	}
}

func playOffers(t *testing.T, program harness.Program) (said []string) {
	t.Helper()
	m := harness.StartMailbox(t, program, harness.MailboxOptions{Extra: allMechanisms + noPenalties + "login_greeting = Ready.\n"})
	challenge := regexp.MustCompile(`<[0-9a-f]+\.[0-9a-f]+\.[0-9a-f]+\.[A-Za-z0-9+/]{22}==@[^>]+>`)
	c := harness.Connect(t, m.POP3)
	apop := challenge.FindString(c.Greeting)
	said = append(said, challenge.ReplaceAllString(c.Greeting, "CHALLENGE"))
	digest := func(password string) string { return fmt.Sprintf("%x", md5.Sum([]byte(apop+password))) }
	ask := func(command string) {
		t.Helper()
		if err := c.Put(command + "\r\n"); err != nil {
			t.Fatal(err)
		}
		reply, err := c.Line()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		said = append(said, command[:min(len(command), 11)], reply)
		for command == "CAPA" || command == "AUTH" {
			line, err := c.Line()
			if err != nil {
				t.Fatal(err)
			}
			said = append(said, line)
			if line == "." {
				break
			}
		}
	}
	user := harness.User(0)
	ask("CAPA")
	ask("AUTH")
	ask("AUTH NONSENSE")
	ask("AUTH APOP eA==")
	ask("APOP " + user)
	ask("APOP " + user + " 0123456789abcdef0123456789abcdeX")
	ask("APOP " + user + " " + digest("wrong"))
	ask("APOP nosuch " + digest(harness.Password))
	ask("APOP " + user + " " + digest(harness.Password))
	ask("QUIT")

	i := harness.Connect(t, m.IMAP)
	untagged, _, err := i.IMAP("CAPABILITY")
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range strings.Fields(strings.Join(untagged, " ")) {
		if strings.HasPrefix(word, "AUTH=") {
			said = append(said, word)
		}
	}
	return append(said, realClients(t, m, user)...)
}

// realClients has programs log in with their own mechanisms: curl, and with Cyrus SASL, mbsync.
func realClients(t *testing.T, m *harness.Mailbox, user string) (said []string) {
	t.Helper()
	curl := func(url, mechanism string, options ...string) {
		args := append([]string{"-sS", "--max-time", "60", "--login-options", "AUTH=" + mechanism, url}, options...)
		_, err := harness.Try("", "curl", args...)
		said = append(said, fmt.Sprintf("curl %s %s %v", url[:4], mechanism, err == nil))
	}
	for _, mechanism := range []string{"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5"} {
		curl("imap://"+m.IMAP+"/INBOX", mechanism, "-u", user+":"+harness.Password)
		curl("imap://"+m.IMAP+"/INBOX", mechanism, "-u", user+":wrong")
	}
	curl("pop3://"+m.POP3+"/", "+APOP", "-u", user+":"+harness.Password)
	curl("pop3://"+m.POP3+"/", "+APOP", "-u", user+":wrong")
	for _, mechanism := range []string{"XOAUTH2", "OAUTHBEARER"} {
		curl("imap://"+m.IMAP+"/INBOX", mechanism, "-u", user, "--oauth2-bearer", harness.Password)
		curl("imap://"+m.IMAP+"/INBOX", mechanism, "-u", user, "--oauth2-bearer", "wrong")
		curl("pop3://"+m.POP3+"/", mechanism, "-u", user, "--oauth2-bearer", harness.Password)
	}
	host, port, _ := strings.Cut(m.IMAP, ":")
	for _, mechanism := range []string{"DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"} {
		for _, password := range []string{harness.Password, "wrong"} {
			dir := harness.Dir(t)
			config := filepath.Join(dir, "mbsyncrc")
			harness.Write(t, config, fmt.Sprintf("IMAPStore r\nHost %s\nPort %s\nUser %s\nPass %s\nSSLType None\nAuthMechs %s\n\n"+
				"MaildirStore l\nPath %s/\nInbox %s/inbox\n\nChannel c\nFar :r:\nNear :l:\nPatterns INBOX\nSyncState *\nCreate Near\n",
				host, port, user, password, mechanism, dir, dir))
			if err := os.Chmod(config, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := harness.Try("", "mbsync", "-q", "-c", config, "c")
			said = append(said, fmt.Sprintf("mbsync %s %s %v", mechanism, password, err == nil))
		}
	}
	return said
}

// TestChannelBinding logs in over TLS with proofs that hold on that connection only. The
// original has no such mechanisms.
func TestChannelBinding(t *testing.T) {
	t.Parallel()
	m := harness.StartMailbox(t, harness.Dovetail, harness.MailboxOptions{
		Extra: "auth_mechanisms = plain scram-sha-256 scram-sha-256-plus scram-sha-1-plus\n" + noPenalties,
	})
	plain := harness.Connect(t, m.IMAP)
	if untagged, _, err := plain.IMAP("CAPABILITY"); err != nil || strings.Contains(strings.Join(untagged, " "), "-PLUS") {
		t.Errorf("without TLS: %q, %v", untagged, err)
	}
	for _, tt := range []struct {
		name, mechanism, binding string
		version                  uint16
		change                   bool
		good                     bool
	}{
		{"exporter", "SCRAM-SHA-256-PLUS", "tls-exporter", tls.VersionTLS13, false, true},
		{"exporter of TLS 1.2", "SCRAM-SHA-1-PLUS", "tls-exporter", tls.VersionTLS12, false, true},
		{"unique", "SCRAM-SHA-256-PLUS", "tls-unique", tls.VersionTLS12, false, true},
		{"unique of TLS 1.3", "SCRAM-SHA-256-PLUS", "tls-unique", tls.VersionTLS13, false, false},
		{"other connection", "SCRAM-SHA-256-PLUS", "tls-exporter", tls.VersionTLS13, true, false},
		{"no binding", "SCRAM-SHA-256", "", tls.VersionTLS13, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", m.IMAPS, &tls.Config{InsecureSkipVerify: true, MaxVersion: tt.version}) // the test's own server
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			c := &authConn{conn: conn, r: bufio.NewReader(conn)}
			next := func() string { return strings.TrimSuffix(c.line(t), "\r") }
			state := conn.ConnectionState()
			binding := sasl.Binding{Name: tt.binding, Data: state.TLSUnique}
			if tt.binding == "tls-exporter" {
				if binding.Data, err = state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err != nil {
					t.Fatal(err)
				}
			}
			if tt.change {
				binding.Data[0] ^= 1
			}
			if greeting := next(); !strings.Contains(greeting, "AUTH="+tt.mechanism+" ") && !strings.Contains(greeting, "AUTH="+tt.mechanism+"]") {
				t.Errorf("not offered: %s", greeting)
			}
			mechanism, _ := sasl.Lookup(tt.mechanism)
			client := mechanism.NewClient(sasl.Credentials{Username: harness.User(0), Password: harness.Password, Binding: binding})
			message, err := client.Start()
			if err != nil {
				t.Fatal(err)
			}
			line := "a AUTHENTICATE " + tt.mechanism + " " + base64.StdEncoding.EncodeToString(message)
			for {
				c.put(t, line)
				answer := next()
				data, more := strings.CutPrefix(answer, "+ ")
				if !more {
					for strings.HasPrefix(answer, "* ") {
						answer = next()
					}
					if strings.HasPrefix(answer, "a OK ") != tt.good {
						t.Error(answer)
					}
					return
				}
				challenge, err := base64.StdEncoding.DecodeString(data)
				if err != nil {
					t.Fatal(err)
				}
				if message, err = client.Next(challenge); err != nil {
					t.Fatal(err)
				}
				line = base64.StdEncoding.EncodeToString(message)
			}
		})
	}
}

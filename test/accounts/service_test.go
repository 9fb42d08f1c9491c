package accounts

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// mailConfig is a whole mailbox service. @IMAP@ and the other ports are its own.
const mailConfig = `base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = @DIR@/log
login_greeting = Ready.
protocols = imap pop3 lmtp
listen = 127.0.0.1, 127.0.0.3
ssl = yes
ssl_cert = <@DIR@/cert.pem
ssl_key = <@DIR@/key.pem
first_valid_uid = 8
auth_verbose = yes
auth_failure_delay = 0
service imap-login {
  inet_listener imap {
    port = @IMAP@
  }
  inet_listener imaps {
    port = @IMAPS@
  }
}
service pop3-login {
  inet_listener pop3 {
    port = @POP3@
  }
  inet_listener pop3s {
    port = @POP3S@
  }
}
service lmtp {
  inet_listener lmtp {
    port = @LMTP@
  }
}
namespace inbox {
  inbox = yes
}
`

// A mailService is a whole mailbox service at work.
type mailService struct {
	*harness.Process
	dir   string
	ports map[string]string // by name in the configuration, with the @
}

// addr is the address of a port, as IMAP or LMTP.
func (m *mailService) addr(name string) string { return "127.0.0.1:" + m.ports["@"+name+"@"] }

// replace puts the service's own names into a text.
func (m *mailService) replace(text string) string {
	text = strings.ReplaceAll(text, "@DIR@", m.dir)
	for name, port := range m.ports {
		text = strings.ReplaceAll(text, name, port)
	}
	return text
}

// startMail starts a program with a configuration behind the usual one, and files that it
// names.
func startMail(t *testing.T, program harness.Program, config string, files map[string]string) *mailService {
	t.Helper()
	m := &mailService{dir: harness.Dir(t), ports: map[string]string{}}
	for _, name := range []string{"IMAP", "IMAPS", "POP3", "POP3S", "LMTP"} {
		m.ports["@"+name+"@"] = fmt.Sprint(harness.FreePort(t))
	}
	harness.Certificate(t, m.dir)
	harness.Run(t, "", "install", "-d", "-o", "mail", "-g", "mail", filepath.Join(m.dir, "mail"))
	harness.Write(t, filepath.Join(m.dir, "log"), "")
	if err := os.Chmod(filepath.Join(m.dir, "log"), 0o666); err != nil {
		t.Fatal(err)
	}
	files = maps.Clone(files)
	if files == nil {
		files = map[string]string{}
	}
	files["dovecot.conf"] = mailConfig + config
	for name, text := range files {
		harness.Write(t, filepath.Join(m.dir, name), m.replace(text))
	}
	command := []string{"/usr/sbin/dovecot"}
	if program == harness.Dovetail {
		command = []string{harness.Binary(t), "dovecot"}
	}
	m.Process = harness.Start(t, nil, command[0], append(command[1:], "-F", "-c", filepath.Join(m.dir, "dovecot.conf"))...)
	for _, name := range []string{"IMAP", "POP3", "LMTP"} {
		harness.WaitTCP(t, m.Process, m.addr(name))
	}
	return m
}

// log returns the lines of the log that contain want, without what varies.
func (m *mailService) log(t *testing.T, want string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if len(line) > 16 && strings.Contains(line, want) {
			lines = append(lines, m.plain(strings.TrimSuffix(line[16:], "\n")))
		}
	}
	return lines
}

// varying are parts of log lines that are never the same.
var varying = []struct {
	re   *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`<[A-Za-z0-9+/]{16,}(:[A-Z]\d+)*>`), "<SESSION>"},
	{regexp.MustCompile(`\(\d+\.\d{3} secs`), "(N secs"},
	{regexp.MustCompile(`after \d+ secs`), "after N secs"},
	{regexp.MustCompile(`\d+s idle, in=\d+, out=\d+`), "Ns idle"},
	{regexp.MustCompile(`duration=\d+s`), "duration=Ns"},
	{regexp.MustCompile(`\d+ attempts in \d+ secs`), "N attempts"},
	// In which step Dovecot notices depends on how fast the server is.
	{regexp.MustCompile(`\): [^)]*(Received invalid SSL certificate|SSL certificate doesn't match).*: user=`), "): TLS refused: user="},
	{regexp.MustCompile(`127\.0\.0\.1(:|, )\d{4,5}\b`), "127.0.0.1${1}PORT"},
	{regexp.MustCompile(`, local=127\.0\.0\.1:\w+`), ""},
	{regexp.MustCompile(`mpid=\d+`), "mpid=N"},
	{regexp.MustCompile(`Disconnected by (server|client) \(Ns`), "Disconnected (Ns"}, // who is first
}

// plain replaces what varies, and the service's ports.
func (m *mailService) plain(line string) string {
	for name, port := range m.ports {
		line = strings.ReplaceAll(line, ":"+port, ":"+strings.Trim(name, "@"))
	}
	for _, v := range varying {
		line = v.re.ReplaceAllString(line, v.with)
	}
	return line
}

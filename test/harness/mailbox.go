package harness

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A Mailbox is a running mailbox service: Dovecot's part.
type Mailbox struct {
	*Process
	Program Program
	Dir     string
	Config  string // path of dovecot.conf
	Log     string // path of the log
	Mail    string // directory of the users' homes

	Location string // mail_location

	IMAP, IMAPS, POP3, POP3S string // host:port
	LMTP                     string // host:port
	LMTPSocket               string
	AuthSocket               string // client protocol, for the SMTP server
	AuthTCP                  string
}

// MailboxOptions change the usual mailbox service.
type MailboxOptions struct {
	Users int    // user0@example.test to userN-1@example.test, password "pass"; 0: two
	Extra string // appended to dovecot.conf
	// Passdb is the passdb section; "" for a file of passwords.
	Passdb string
	// Location is mail_location; "" for sdbox.
	Location string
	// Mail is the directory of the users' homes, that of another service; "" for one of its own.
	Mail string
	// Socket group and owner of the LMTP and auth sockets; the SMTP server's user.
	SocketUser string
}

// Domain is the mail domain of all tests.
const Domain = "example.test"

// Password is everybody's.
const Password = "pass"

// User returns the address of user n.
func User(n int) string { return fmt.Sprintf("user%d@%s", n, Domain) }

// StartMailbox starts a mailbox service of virtual users whose mail is in sdbox, if
// nothing else is asked for.
func StartMailbox(t TB, p Program, opt MailboxOptions) *Mailbox {
	t.Helper()
	m := NewMailbox(t, p, opt)
	m.Start(t)
	return m
}

// NewMailbox writes the configuration of a mailbox service without starting it.
func NewMailbox(t TB, p Program, opt MailboxOptions) *Mailbox {
	t.Helper()
	dir := Dir(t)
	m := &Mailbox{
		Program: p, Dir: dir, Config: filepath.Join(dir, "dovecot.conf"), Log: filepath.Join(dir, "dovecot.log"),
		Mail: cmp.Or(opt.Mail, filepath.Join(dir, "mail")), LMTPSocket: filepath.Join(dir, "lmtp"), AuthSocket: filepath.Join(dir, "auth"),
	}
	m.Location = cmp.Or(opt.Location, "sdbox:~/mail")
	ports := map[string]int{}
	for _, name := range []string{"imap", "imaps", "pop3", "pop3s", "lmtp", "auth"} {
		ports[name] = FreePort(t)
	}
	at := func(name string) string { return fmt.Sprintf("127.0.0.1:%d", ports[name]) }
	m.IMAP, m.IMAPS, m.POP3, m.POP3S, m.LMTP, m.AuthTCP = at("imap"), at("imaps"), at("pop3"), at("pop3s"), at("lmtp"), at("auth")
	users := opt.Users
	if users == 0 {
		users = 2
	}
	var lines strings.Builder
	for n := range users {
		fmt.Fprintf(&lines, "%s:{PLAIN}%s\n", User(n), Password)
	}
	Write(t, filepath.Join(dir, "users"), lines.String())
	if opt.Mail == "" {
		if err := os.Mkdir(m.Mail, 0o700); err != nil {
			t.Fatalf("%v", err)
		}
		if err := os.Chown(m.Mail, mailUID, mailUID); err != nil {
			t.Fatalf("%v", err)
		}
	}
	Certificate(t, dir)
	socketUser := opt.SocketUser
	if socketUser == "" {
		socketUser = "root"
	}
	text := strings.ReplaceAll(mailboxConfig, "@PASSDB@", cmp.Or(opt.Passdb, filePassdb))
	for name, value := range map[string]string{
		"DIR": dir, "MAIL": m.Mail, "IMAPPORT": fmt.Sprint(ports["imap"]), "IMAPSPORT": fmt.Sprint(ports["imaps"]),
		"POP3PORT": fmt.Sprint(ports["pop3"]), "POP3SPORT": fmt.Sprint(ports["pop3s"]),
		"LMTPPORT": fmt.Sprint(ports["lmtp"]), "AUTHPORT": fmt.Sprint(ports["auth"]),
		"SOCKETUSER": socketUser, "EXTRA": opt.Extra, "LOCATION": m.Location,
	} {
		text = strings.ReplaceAll(text, "@"+name+"@", value)
	}
	Write(t, m.Config, text)
	logFile(t, m.Log)
	return m
}

// mailUID is the user "mail" of Debian, who owns all mail.
const mailUID = 8

const filePassdb = `passdb {
  driver = passwd-file
  args = @DIR@/users
}`

const mailboxConfig = `
base_dir = @DIR@/run
state_dir = @DIR@/state
log_path = @DIR@/dovecot.log
protocols = imap pop3 lmtp
listen = 127.0.0.1
ssl = yes
ssl_cert = <@DIR@/cert.pem
ssl_key = <@DIR@/key.pem
mail_location = @LOCATION@
first_valid_uid = 1
auth_mechanisms = plain login
recipient_delimiter = +
@PASSDB@
userdb {
  driver = static
  args = uid=8 gid=8 home=@MAIL@/%n
}
namespace inbox {
  inbox = yes
  separator = /
  mailbox Drafts {
    special_use = \Drafts
    auto = subscribe
  }
  mailbox Archive {
    special_use = \Archive
    auto = create
  }
}
service imap-login {
  process_limit = 2000
  inet_listener imap {
    port = @IMAPPORT@
  }
  inet_listener imaps {
    port = @IMAPSPORT@
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = @POP3PORT@
  }
  inet_listener pop3s {
    port = @POP3SPORT@
    ssl = yes
  }
}
service imap {
  process_limit = 4000
}
service anvil {
  client_limit = 10000
}
service lmtp {
  unix_listener @DIR@/lmtp {
    mode = 0660
    user = @SOCKETUSER@
  }
  inet_listener lmtp {
    address = 127.0.0.1
    port = @LMTPPORT@
  }
}
service auth {
  client_limit = 10000
  unix_listener @DIR@/auth {
    mode = 0660
    user = @SOCKETUSER@
  }
  inet_listener {
    address = 127.0.0.1
    port = @AUTHPORT@
  }
}
@EXTRA@
`

// SetUsers has the server find its users in the lines of a passwd-file, in the place of its own userdb.
// It comes before Start.
func (m *Mailbox) SetUsers(t TB, lines string) {
	t.Helper()
	path := filepath.Join(m.Dir, "users")
	Write(t, path, lines)
	text, err := os.ReadFile(m.Config)
	if err != nil {
		t.Fatalf("%v", err)
	}
	was := "  driver = static\n  args = uid=8 gid=8 home=" + m.Mail + "/%n\n"
	if !strings.Contains(string(text), was) {
		t.Fatalf("no userdb to replace:\n%s", text)
	}
	Write(t, m.Config, strings.Replace(string(text), was, "  driver = passwd-file\n  args = "+path+"\n", 1))
}

// Start starts the service and waits until it takes connections.
func (m *Mailbox) Start(t TB) {
	t.Helper()
	if m.Program == Dovetail {
		m.Process = Start(t, nil, Binary(t), "dovecot", "-F", "-c", m.Config)
	} else {
		m.Process = Start(t, nil, "/usr/sbin/dovecot", "-F", "-c", m.Config)
	}
	for _, addr := range []string{m.IMAP, m.POP3, m.LMTP} {
		WaitTCP(t, m.Process, addr)
	}
	WaitSocket(t, m.Process, m.LMTPSocket)
}

var certificate struct {
	once      sync.Once
	cert, key []byte
	err       error
}

// Certificate writes cert.pem and key.pem for localhost into dir: the same for
// all servers of a test process.
func Certificate(t TB, dir string) {
	t.Helper()
	certificate.once.Do(func() {
		cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
		if _, certificate.err = Try("", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
			"-days", "3650", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
			"-keyout", key, "-out", cert); certificate.err != nil {
			return
		}
		if certificate.cert, certificate.err = os.ReadFile(cert); certificate.err == nil {
			certificate.key, certificate.err = os.ReadFile(key)
		}
	})
	if certificate.err != nil {
		t.Fatalf("openssl: %v", certificate.err)
	}
	Write(t, filepath.Join(dir, "cert.pem"), string(certificate.cert))
	Write(t, filepath.Join(dir, "key.pem"), string(certificate.key))
}

// ServerTLS is what a server of the test needs for TLS, with the certificate in dir.
func ServerTLS(t TB, dir string) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// A Transport is a running mail transport: Postfix's part.
type Transport struct {
	*Process
	Program Program
	Dir     string // queue and everything else
	Config  string // configuration directory
	Log     string

	SMTP       string // host:port
	Submission string // host:port: AUTH required
}

// TransportOptions change the usual transport.
type TransportOptions struct {
	// Deliver is the next hop of mail for the test domain, such as
	// "lmtp:unix:/path"; empty: mail is discarded.
	Deliver string
	// Relay is the next hop of all other mail, such as "smtp:[127.0.0.1]:2525".
	Relay string
	Auth  string // smtpd_sasl_path, empty for no AUTH
	Users int    // recipients that exist; 0: two
	Main  string // appended to main.cf
	// Master is appended to master.cf.
	Master string
	Env    []string
}

// StartTransport starts a mail transport.
func StartTransport(t TB, p Program, opt TransportOptions) *Transport {
	t.Helper()
	tr := NewTransport(t, p, opt)
	tr.Start(t, opt.Env...)
	return tr
}

// NewTransport writes the configuration of a mail transport without starting it.
func NewTransport(t TB, p Program, opt TransportOptions) *Transport {
	t.Helper()
	dir := Dir(t)
	smtp, submission := FreePort(t), FreePort(t)
	tr := &Transport{
		Program: p, Dir: dir, Config: filepath.Join(dir, "etc"), Log: filepath.Join(dir, "mail.log"),
		SMTP: fmt.Sprintf("127.0.0.1:%d", smtp), Submission: fmt.Sprintf("127.0.0.1:%d", submission),
	}
	for _, sub := range []string{"spool", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatalf("%v", err)
		}
	}
	Run(t, "", "chown", "postfix", filepath.Join(dir, "data"))
	Certificate(t, dir)
	users := opt.Users
	if users == 0 {
		users = 2
	}
	var recipients strings.Builder
	for n := range users {
		fmt.Fprintf(&recipients, "%s x\n", User(n))
	}
	Write(t, filepath.Join(dir, "recipients"), recipients.String())
	deliver, relay, auth := opt.Deliver, opt.Relay, opt.Auth
	if deliver == "" {
		deliver = "discard:test"
	}
	if relay == "" {
		relay = "discard:test"
	}
	if auth == "" {
		auth = "private/auth" // where nobody listens
	}
	replace := func(text string) string {
		for name, value := range map[string]string{
			"DIR": dir, "SMTPPORT": fmt.Sprint(smtp), "SUBMISSIONPORT": fmt.Sprint(submission),
			"DELIVER": deliver, "RELAY": relay, "AUTH": auth, "MAIN": opt.Main, "MASTER": opt.Master,
		} {
			text = strings.ReplaceAll(text, "@"+name+"@", value)
		}
		return text
	}
	Write(t, filepath.Join(tr.Config, "main.cf"), replace(mainConfig))
	Write(t, filepath.Join(tr.Config, "master.cf"), replace(masterConfig))
	logFile(t, tr.Log)
	return tr
}

const mainConfig = `
compatibility_level = 3.6
queue_directory = @DIR@/spool
data_directory = @DIR@/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = @DIR@/mail.log
maillog_file_prefixes = @DIR@
myhostname = mail.example.test
mydomain = example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
alias_maps =
alias_database =
virtual_mailbox_domains = example.test
virtual_mailbox_maps = texthash:@DIR@/recipients
virtual_transport = @DELIVER@
default_transport = @RELAY@
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_cert_file = @DIR@/cert.pem
smtpd_tls_key_file = @DIR@/key.pem
recipient_delimiter = +
smtpd_sasl_type = dovecot
smtpd_sasl_path = @AUTH@
@MAIN@
`

// Services are those of master.cf as it is installed, without smtpd.
const Services = `pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

const masterConfig = `
127.0.0.1:@SMTPPORT@ inet n - n - 200 smtpd
127.0.0.1:@SUBMISSIONPORT@ inet n - n - - smtpd
  -o syslog_name=postfix/submission
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_auth_only=no
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
` + Services + `@MASTER@
`

// Start starts the transport and waits until it takes connections.
func (tr *Transport) Start(t TB, env ...string) {
	t.Helper()
	if tr.Program == Dovetail {
		tr.Process = Start(t, env, Binary(t), "postfix", "-c", tr.Config, "start-fg")
	} else {
		longLogQueue()
		tr.Process = Start(t, env, "/usr/sbin/postfix", "-c", tr.Config, "start-fg")
		t.Cleanup(tr.Stop)
	}
	WaitTCP(t, tr.Process, tr.SMTP)
}

// longLogQueue lets sockets for log lines hold as many as systemd has them hold. With the kernel's ten Postfix's master, which
// starts postlogd, waits for it for ever once it has more to say than that in one go, of a reload for instance.
var longLogQueue = sync.OnceFunc(func() {
	os.WriteFile("/proc/sys/net/unix/max_dgram_qlen", []byte("512"), 0o644) //nolint:errcheck // then it stays short
})

// Stop ends the transport in order. Postfix's master is not what was started
// but a child of a script that passes no signal on.
func (tr *Transport) Stop() {
	if tr.Program == Original {
		Try("", "/usr/sbin/postfix", "-c", tr.Config, "stop") //nolint:errcheck // it may have been stopped
	}
	tr.Process.Stop()
}

// Postqueue runs the queue listing command of the transport's program.
func (tr *Transport) Postqueue(t TB, args ...string) string {
	t.Helper()
	args = append([]string{"-c", tr.Config}, args...)
	if tr.Program == Dovetail {
		return Run(t, "", Binary(t), append([]string{"postqueue"}, args...)...)
	}
	return Run(t, "", "/usr/sbin/postqueue", args...)
}

// Empty waits until the queue is empty.
func (tr *Transport) Empty(t TB) {
	t.Helper()
	Eventually(t, "empty queue", func() bool { return strings.Contains(tr.Postqueue(t, "-p"), "Mail queue is empty") })
}

package smtpd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// programs are who is compared.
var programs = []harness.Program{harness.Original, harness.Dovetail}

// mainConfig is what all services have. Clients come through XCLIENT, with any address.
const mainConfig = `
compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = DIR/mail.log
maillog_file_prefixes = DIR
inet_interfaces = 127.0.0.1
inet_protocols = all
myhostname = mail.example.test
mydomain = example.test
alias_maps =
alias_database =
smtpd_peername_lookup = no
smtpd_sasl_type = dovecot
smtpd_sasl_path = private/auth
virtual_transport = discard:test
default_transport = discard:test
myorigin = example.com
mydestination = example.com, localhost
mynetworks = 10.0.0.0/8
recipient_delimiter = +
local_recipient_maps = inline:{{alice=x},{bob=x}}
virtual_mailbox_domains = vmail.example
virtual_mailbox_maps = inline:{{v@vmail.example=x},{w@vmail.example=x}}
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{{info@alias.example=alice@example.com}}
relay_domains = relay.example
relay_recipient_maps = inline:{{r@relay.example=x}}
relocated_maps = inline:{{gone@example.com=elsewhere@good.example}}
local_transport = discard:test
relay_transport = discard:test
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
smtpd_junk_command_limit = 1000
smtpd_forbid_bare_newline = normalize
smtpd_forbid_bare_newline_exclusions =
`

// A service is an entry of master.cf with settings of its own.
type service struct {
	name     string
	settings []string // "name = value"
}

// A site is a mail transport with services.
type site struct {
	*harness.Transport
	addrs map[string]string // of the services
}

// startSite starts a program with services, and perhaps a name server. Tables are files
// whose directory settings call TABLES.
func startSite(t *testing.T, p harness.Program, main string, services []service, tables map[string]string, names *dnstest.Server) *site {
	t.Helper()
	s := &site{addrs: make(map[string]string)}
	dir := harness.Dir(t)
	for name, text := range tables {
		harness.Write(t, filepath.Join(dir, name), text)
	}
	var master strings.Builder
	for _, svc := range services {
		addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		s.addrs[svc.name] = addr
		fmt.Fprintf(&master, "%s inet n - y - - smtpd\n  -o syslog_name=%s\n", addr, svc.name)
		for _, setting := range svc.settings {
			fmt.Fprintf(&master, "  -o { %s }\n", strings.ReplaceAll(setting, "TABLES", dir))
		}
	}
	var env []string
	opt := harness.TransportOptions{Master: master.String()}
	s.Transport = harness.NewTransport(t, p, opt)
	main = strings.ReplaceAll(mainConfig, "DIR", s.Dir) + strings.ReplaceAll(main, "TABLES", dir)
	harness.Write(t, filepath.Join(s.Config, "main.cf"), main)
	if names != nil {
		// Postfix finds it in its chroot jail.
		resolv := filepath.Join(s.Dir, "spool/etc/resolv.conf")
		host, _, _ := net.SplitHostPort(names.Addr)
		harness.Write(t, resolv, "nameserver "+host+"\noptions timeout:5 attempts:2\n")
		harness.Write(t, filepath.Join(s.Dir, "spool/etc/hosts"), "127.0.0.1 localhost\n")
		harness.Write(t, filepath.Join(s.Dir, "spool/etc/nsswitch.conf"), "hosts: files dns\n")
		env = append(env, "DOVETAIL_RESOLV_CONF="+resolv)
	}
	s.Start(t, env...)
	for name, addr := range s.addrs {
		harness.WaitTCP(t, s.Process, addr)
		s.logged(t, name, 1)
	}
	return s
}

// A dialogue is what clients say: each step is sent when the replies to the one before
// have come.
type dialogue []string

// quit is said at the end of each dialogue.
const quit = "QUIT\r\n"

// play has a dialogue with a service and returns it as it went.
func (s *site) play(t testing.TB, service string, d dialogue) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.addrs[service])
	if err != nil {
		t.Error(err)
		return ""
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	var out strings.Builder
	if !readReply(r, &out) {
		return out.String()
	}
	for _, step := range append(d[:len(d):len(d)], quit) {
		fmt.Fprintf(&out, "C: %q\n", step)
		if _, err := io.WriteString(conn, step); err != nil {
			out.WriteString("closed\n")
			break
		}
		if !readReply(r, &out) {
			break
		}
	}
	return normalize(out.String())
}

// readReply appends a reply; false is the end of the connection.
func readReply(r *bufio.Reader, out *strings.Builder) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			if nerr, ok := err.(net.Error); ok && nerr.Timeout() {
				out.WriteString("timeout\n")
			} else {
				out.WriteString("closed\n")
			}
			return false
		}
		out.WriteString("S: " + strings.TrimRight(line, "\r\n") + "\n")
		if len(line) < 4 || line[3] != '-' {
			return true
		}
	}
}

var (
	queueID  = regexp.MustCompile(`\b[0-9A-F]{9,14}\b`)
	tempDir  = regexp.MustCompile(`/tmp/dovetail-test-[0-9]+`)
	portName = regexp.MustCompile(`127\.0\.0\.1:\d+`)
)

// normalize replaces what differs from run to run.
func normalize(s string) string {
	s = tempDir.ReplaceAllString(s, "TABLES")
	s = portName.ReplaceAllString(s, "SERVICE")
	return queueID.ReplaceAllString(s, "QUEUEID")
}

// logged returns what a service has logged, when it has logged the end of a number of sessions.
func (s *site) logged(t testing.TB, service string, sessions int) string {
	t.Helper()
	tag := " " + service + "/smtpd["
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		b, err := os.ReadFile(s.Log)
		if err != nil {
			t.Error(err)
			return ""
		}
		var out strings.Builder
		for line := range strings.Lines(string(b)) {
			if _, text, ok := strings.Cut(line, tag); ok {
				_, text, _ = strings.Cut(text, "]: ")
				out.WriteString(text)
			}
		}
		if strings.Count(out.String(), "disconnect from ") >= sessions {
			return normalize(out.String())
		}
		if time.Now().After(deadline) {
			t.Errorf("service %s has logged the end of less than %d sessions:\n%s", service, sessions, out.String())
			return ""
		}
	}
}

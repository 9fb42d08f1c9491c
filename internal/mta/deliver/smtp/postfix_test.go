package smtp

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
	"github.com/dovetail-mail/dovetail/test/harness"
)

const postfixConfig = `
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
relay_domains = texthash:DIR/etc/transport
transport_maps = texthash:DIR/etc/transport
fast_flush_domains =
smtpd_peername_lookup = no
smtpd_recipient_restrictions =
smtpd_relay_restrictions = permit_mynetworks, reject
`

// TestDialoguesPostfix runs the dialogues with Postfix itself, where it is
// installed and may be started: it shows that they say what Postfix does.
func TestDialoguesPostfix(t *testing.T) {
	needPostfix(t)
	var all []*dialogue
	for _, d := range readDialogues(t) {
		if !d.newer { // than Postfix 3.7
			all = append(all, d)
		}
	}
	p := startPostfix(t, all)
	for i, d := range all {
		got := p.outcome(t, i)
		if *record {
			d.set("result", got.Result)
			d.set("log", got.Log)
			d.set("seen", got.Seen)
			if err := os.WriteFile(d.file, txtar.Format(d.arc), 0o644); err != nil {
				t.Error(err)
			}
			continue
		}
		if diff := cmp.Diff(d.want(), got); diff != "" {
			t.Errorf("%s: -want +got\n%s", d.name, diff)
		}
	}
}

// needPostfix leaves a test out that cannot be run.
func needPostfix(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Postfix")
	}
	if os.Geteuid() != 0 {
		t.Skip("only root may start Postfix")
	}
	if _, err := os.Stat("/usr/sbin/postfix"); err != nil {
		t.Fatal("Postfix is not installed: run test/install-packages")
	}
}

// realPostfix is a running Postfix with a transport for each dialogue.
type realPostfix struct {
	*harness.Postfix
	addr   string
	stages []*stage
	ids    []string // of the messages
}

func startPostfix(t *testing.T, all []*dialogue) *realPostfix {
	t.Helper()
	p := &realPostfix{addr: fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))}
	services := p.addr + " inet n - n - - smtpd\n"
	var transport, zone strings.Builder
	for i, d := range all {
		st := d.stage(t)
		p.stages = append(p.stages, st)
		zone.WriteString(st.zone())
		command, chroot := "smtp", "n"
		if d.lmtp {
			command = "lmtp"
		}
		if d.withDNS() {
			chroot = "y" // where it finds the resolv.conf below
		}
		services += fmt.Sprintf("d%d unix - - %s - - %s -o syslog_name=d%d\n", i, chroot, command, i)
		for line := range strings.Lines(d.section("main.cf")) {
			services += "  -o { " + st.replace.Replace(strings.TrimSpace(line)) + " }\n"
		}
		fmt.Fprintf(&transport, "%s d%d:%s\n", d.domain(), i, st.nexthop())
	}
	names := dnstest.NewOnPort53(t, zone.String())
	for _, st := range p.stages {
		st.spoil(t, names)
	}
	p.Postfix = harness.StartPostfix(t, map[string]string{
		"main.cf": baseConfig + postfixConfig, "master.cf": services, "transport": transport.String(),
		"resolv.conf": "nameserver " + strings.TrimSuffix(names.Addr, ":53") + "\noptions timeout:1 attempts:1 trust-ad\n",
	})
	for _, d := range all {
		p.ids = append(p.ids, p.submit(t, d))
	}
	return p
}

// submit sends the message of a dialogue and returns its queue ID.
func (p *realPostfix) submit(t *testing.T, d *dialogue) string {
	t.Helper()
	var conn net.Conn
	var err error
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err = net.Dial("tcp", p.addr); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Postfix does not start: %v\n%s", err, p.Log())
		}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	ask := func(command, want string) string {
		if command != "" {
			fmt.Fprintf(conn, "%s\r\n", command)
		}
		for {
			line, err := r.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, want) {
				t.Fatalf("%s: %s: %q %v", d.name, command, line, err)
			}
			if line[3] == ' ' {
				return line
			}
		}
	}
	ask("", "220")
	ask("EHLO client.example.org", "250")
	body := ""
	if d.eightBit {
		body = " BODY=8BITMIME"
	}
	ask("MAIL FROM:<"+d.from+">"+body, "250")
	for _, to := range d.to {
		ask("RCPT TO:<"+to+"@"+d.domain()+"> "+d.dsn, "250")
	}
	ask("DATA", "354")
	for line := range strings.Lines(d.message()) {
		if strings.HasPrefix(line, ".") {
			line = "." + line
		}
		fmt.Fprint(conn, line)
	}
	reply := ask(".", "250")
	_, id, _ := strings.Cut(strings.TrimSpace(reply), "queued as ")
	return id
}

var delays = regexp.MustCompile(` (conn_use=\d+, )?delay=[^,]*, delays=[^,]*,`)

// outcome waits until the message of dialogue i is done with.
func (p *realPostfix) outcome(t *testing.T, i int) outcome {
	t.Helper()
	d, st := p.stages[i].d, p.stages[i]
	tag := fmt.Sprintf(" d%d/", i)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		results := make([]string, len(d.to))
		left := len(d.to)
		var other strings.Builder
		for line := range strings.Lines(p.Log()) {
			_, text, ok := strings.Cut(line, tag)
			if !ok {
				continue
			}
			_, text, _ = strings.Cut(text, "]: ")
			n, result := d.result(text)
			if n < 0 {
				other.WriteString(strings.ReplaceAll(text, p.ids[i], "QUEUEID"))
			} else if results[n] == "" {
				results[n] = result
				left--
			}
		}
		if left == 0 {
			return st.outcome(results, other.String())
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: no result:\n%s\n%s", d.name, other.String(), p.Log())
		}
	}
}

// result takes a log line apart that says what became of a recipient.
func (d *dialogue) result(line string) (recipient int, result string) {
	_, rest, ok := strings.Cut(line, ": to=<")
	if !ok {
		return -1, ""
	}
	for n, to := range d.to {
		if after, ok := strings.CutPrefix(rest, to+"@"+d.domain()+">,"); ok {
			return n, to + ":" + delays.ReplaceAllString(after, "")
		}
	}
	return -1, ""
}

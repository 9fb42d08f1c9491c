package door

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// policyMain lets clients choose their address, and keeps what is delivered in sight.
const policyMain = `inet_protocols = all
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_relay_restrictions = reject_unauth_destination
smtpd_soft_error_limit = 1000
smtpd_hard_error_limit = 1000
`

// offer offers a message of a client and returns the reply to its recipient, or to its
// content if that was taken.
func offer(t *testing.T, tr *harness.Transport, client, helo, sender string) string {
	t.Helper()
	c := harness.Connect(t, tr.SMTP)
	defer c.Close()
	c.Expect(t, "XCLIENT ADDR="+client+" NAME=[UNAVAILABLE]", "220 ")
	c.Expect(t, "EHLO "+helo, "250")
	c.Expect(t, "MAIL FROM:<"+sender+">", "250 ")
	reply, err := c.Ask("RCPT TO:<" + harness.User(0) + ">")
	if err == nil && reply[0] == '2' {
		c.Expect(t, "DATA", "354 ")
		reply, err = c.Ask("From: x@origin.example\r\nSubject: x\r\nMessage-ID: <x@origin.example>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nbody\r\n.")
	}
	if err != nil {
		t.Error(err)
	}
	return normal(reply)
}

// spfZone is what the policy server of TestSPF finds.
const spfZone = `
strict.example. TXT "v=spf1 ip4:192.0.2.1 -all"
soft.example.   TXT "v=spf1 ip4:192.0.2.1 ~all"
open.example.   TXT "v=spf1 ?all"
loop.example.   TXT "v=spf1 include:loop.example -all"
broken.example. TXT "v=spf1 ip4:nonsense -all"
helo.example.   TXT "v=spf1 -all"
by.example.     TXT "v=spf1 a:mx.by.example -all"
mx.by.example.  A 192.0.2.7
`

// spfCases are clients, the names that they say and the senders.
var spfCases = []struct{ client, helo, sender string }{
	{"192.0.2.1", "mx.strict.example", "a@strict.example"},
	{"192.0.2.2", "mx.strict.example", "a@strict.example"},
	{"192.0.2.2", "mx.soft.example", "a@soft.example"},
	{"192.0.2.2", "mx.open.example", "a@open.example"},
	{"192.0.2.2", "mx.loop.example", "a@loop.example"},
	{"192.0.2.2", "mx.broken.example", "a@broken.example"},
	{"192.0.2.2", "helo.example", "a@nothing.example"},
	{"192.0.2.2", "helo.example", ""},
	{"192.0.2.7", "mx.by.example", "a@by.example"},
	{"IPV6:2001:db8::1", "mx.by.example", "a@by.example"},
	{"127.0.0.1", "mx.strict.example", "a@strict.example"},
}

// runSPF runs the real policy server, which asks the name server of the test.
const runSPF = `#!/usr/bin/python3
import sys
import spf
try:
    import dns.resolver
    r = dns.resolver.Resolver(configure=False)
    r.nameservers = ["SERVER"]
    dns.resolver.default_resolver = r
except ImportError:
    import DNS
    DNS.defaults["server"] = ["SERVER"]
sys.argv = ["policyd-spf", "DIR/policyd-spf.conf"]
from spf_engine.policyd_spf import main
main()
`

// TestSPF has spawn(8) run postfix-policyd-spf-python, which the SMTP server asks: what it
// refuses is refused, and the header that it wants prepended is there.
func TestSPF(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/bin/policyd-spf"); err != nil {
		t.Fatalf("%v: run test/install-packages", err)
	}
	dir := harness.Dir(t)
	host, _, _ := net.SplitHostPort(dnstest.NewOnPort53(t, spfZone).Addr)
	harness.Write(t, filepath.Join(dir, "policyd-spf.conf"), "debugLevel = 1\nTestOnly = 1\nHELO_reject = Fail\nMail_From_reject = Fail\nPermError_reject = True\nskip_addresses = 127.0.0.0/8\n")
	program := filepath.Join(dir, "run")
	harness.Write(t, program, strings.NewReplacer("SERVER", host, "DIR", dir).Replace(runSPF))
	if err := os.Chmod(program, 0o755); err != nil {
		t.Fatal(err)
	}
	var replies [2][]string
	var headers [2][][]string
	for i, p := range programs {
		hop := harness.StartNextHop(t, new(harness.NextHop))
		tr := harness.StartTransport(t, p, harness.TransportOptions{
			Deliver: "smtp:[127.0.0.1]:" + hop.Port(),
			Main:    policyMain + "policyd-spf_time_limit = 3600\nsmtpd_recipient_restrictions = check_policy_service unix:private/policyd-spf\n",
			Master:  "policyd-spf unix - n n - 0 spawn user=nobody argv=" + program,
		})
		for _, c := range spfCases {
			replies[i] = append(replies[i], fmt.Sprintf("%s %s <%s>: %s", c.client, c.helo, c.sender, offer(t, tr, c.client, c.helo, c.sender)))
		}
		tr.Empty(t)
		for _, l := range hop.Letters() {
			headers[i] = append(headers[i], regexp.MustCompile(`(?m)^Received-SPF: \w+`).FindAllString(l.Content, -1))
		}
	}
	compareReplies(t, replies, []string{"queued as", "550 5.7.23"})
	if diff := cmp.Diff(headers[0], headers[1], sortLetters); diff != "" {
		t.Errorf("headers (-Postfix +Dovetail):\n%s", diff)
	}
}

// sortLetters compares what was delivered in any order.
var sortLetters = cmp.Transformer("sorted", func(all [][]string) map[string]int {
	count := make(map[string]int)
	for _, h := range all {
		count[strings.Join(h, "\n")]++
	}
	return count
})

// compareReplies wants the same replies of both programs, and some of each kind.
func compareReplies(t *testing.T, replies [2][]string, kinds []string) {
	t.Helper()
	if diff := cmp.Diff(replies[0], replies[1]); diff != "" {
		t.Errorf("(-Postfix +Dovetail):\n%s", diff)
	}
	all := strings.Join(replies[0], "\n")
	for _, kind := range kinds {
		if !strings.Contains(all, kind) {
			t.Errorf("no reply of Postfix has %q:\n%s", kind, all)
		}
	}
}

// TestPostgrey has the real postgrey decide, over TCP and over a socket: a message is put off
// and then taken, and a client that came often enough is not put off any more.
func TestPostgrey(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/usr/sbin/postgrey"); err != nil {
		t.Fatalf("%v: run test/install-packages", err)
	}
	var replies [2][]string
	for i, p := range programs {
		for _, network := range []string{"inet", "unix"} {
			service, restriction := startPostgrey(t, network)
			tr := harness.StartTransport(t, p, harness.TransportOptions{Main: policyMain + "smtpd_recipient_restrictions = check_policy_service " + restriction + "\n"})
			harness.Eventually(t, "postgrey listens", func() bool { return service() })
			// Of three networks: postgrey takes the clients of one for the same.
			for _, client := range []string{"192.0.2.1", "198.51.100.1", "203.0.113.1"} {
				replies[i] = append(replies[i], network+" "+client+": "+offer(t, tr, client, "mx.example", "a@grey.example"))
			}
			var last string
			harness.Eventually(t, "postgrey takes the message", func() bool {
				last = offer(t, tr, "192.0.2.1", "mx.example", "a@grey.example")
				return strings.Contains(last, "queued as")
			})
			replies[i] = append(replies[i], network+" again: "+last)
			// The client is known from now on, with all its mail.
			replies[i] = append(replies[i], network+" known: "+offer(t, tr, "192.0.2.1", "mx.example", "b@other.example"))
		}
	}
	compareReplies(t, replies, []string{"450 4.2.0", "queued as"})
}

// startPostgrey starts a postgrey that remembers a client after one message. It returns
// whether it listens, and how it is named in a restriction.
func startPostgrey(t *testing.T, network string) (listens func() bool, restriction string) {
	t.Helper()
	dir := harness.Dir(t)
	harness.Run(t, "", "chown", "postgrey:postgrey", dir)
	addr := filepath.Join(dir, "socket")
	option := "--unix=" + addr
	restriction = "unix:" + addr
	if network == "inet" {
		addr = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
		option, restriction = "--inet="+addr, "inet:"+addr
	}
	cmd := exec.Command("/usr/sbin/postgrey", option, "--dbdir="+dir, "--delay=1", "--auto-whitelist-clients=1", "--hostname=mail.example.test", "--pidfile="+dir+"/pid",
		"--whitelist-clients=/dev/null", "--whitelist-recipients=/dev/null", "--greylist-text=Greylisted")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return func() bool {
		network := "tcp"
		if strings.HasPrefix(addr, "/") {
			network = "unix"
		}
		conn, err := net.Dial(network, addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, restriction
}

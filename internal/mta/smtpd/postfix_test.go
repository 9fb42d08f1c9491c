package smtpd

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// realPostfix is a running Postfix with a service for each dialogue.
type realPostfix struct {
	*harness.Postfix
	addrs []string
}

// realConfig completes baseConfig for Postfix itself: mail stays in its
// queue.
const realConfig = `
disable_dns_lookups = yes
defer_transports = smtp, local, virtual, relay
`

// startPostfix starts one smtpd service for each dialogue, with its parameters.
func startPostfix(t *testing.T, all []dialogue) *realPostfix {
	t.Helper()
	p := new(realPostfix)
	services := ""
	all = append(all[:len(all):len(all)], dialogue{}) // for await
	for i, d := range all {
		p.addrs = append(p.addrs, fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)))
		services += fmt.Sprintf("%s inet n - n - - smtpd -o syslog_name=dialogue%d\n", p.addrs[i], i)
		for _, line := range strings.Split(strings.TrimSpace(d.config), "\n") {
			if line != "" {
				services += "  -o { " + line + " }\n"
			}
		}
	}
	p.Postfix = harness.StartPostfix(t, map[string]string{"main.cf": baseConfig + realConfig, "master.cf": services})
	p.await(t)
	return p
}

// await returns when all services listen.
func (p *realPostfix) await(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		conn, err := net.Dial("tcp", p.addrs[len(p.addrs)-1])
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Postfix does not start: %v\n%s", err, p.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// smtpdLog returns what the service of a dialogue logged, up to the end of the
// session.
func (p *realPostfix) smtpdLog(t *testing.T, service int) string {
	t.Helper()
	tag := fmt.Sprintf(" dialogue%d/smtpd[", service)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var out strings.Builder
		for line := range strings.Lines(p.Log()) {
			if _, text, ok := strings.Cut(line, tag); ok {
				_, text, _ = strings.Cut(text, "]: ")
				out.WriteString(text)
			}
		}
		text := out.String()
		if strings.Contains(text, "disconnect from ") || time.Now().After(deadline) {
			return text
		}
	}
}

// content returns the content of a queued message.
func (p *realPostfix) content(t *testing.T, id string) string {
	t.Helper()
	out, err := exec.Command("postcat", "-c", p.Config(), "-bhq", id).Output()
	if err != nil {
		t.Errorf("postcat %s: %v", id, err)
	}
	return string(out)
}

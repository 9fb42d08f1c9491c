package smtpd

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// policyServer answers by the recipient, and remembers what it was asked.
type policyServer struct {
	addr     string
	mu       sync.Mutex
	requests []string
}

// startPolicy starts a policy server.
func startPolicy(t testing.TB) *policyServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &policyServer{addr: l.Addr().String()}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *policyServer) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		request, text := make(map[string]string), ""
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\n" {
				break
			}
			text += line
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			request[name] = value
		}
		p.mu.Lock()
		p.requests = append(p.requests, text)
		p.mu.Unlock()
		action := "DUNNO"
		switch {
		case strings.HasPrefix(request["recipient"], "alice"):
			action = "PREPEND X-Policy: " + request["protocol_state"]
		case strings.HasPrefix(request["sender"], "a@evil"):
			action = "DEFER_IF_PERMIT policy of " + request["protocol_state"]
		case request["recipient"] == "":
			action = "WARN no recipient at " + request["protocol_state"]
		}
		fmt.Fprintf(conn, "action=%s\n\n", action)
	}
}

// changing are the attributes that differ from run to run.
var changing = regexp.MustCompile(`(?m)^(client_port|server_port|instance|queue_id)=[0-9A-Za-z.]+$`)

// TestPolicyRequests has all lists ask a policy server, and compares what it is told.
func TestPolicyRequests(t *testing.T) {
	const check = " = check_policy_service { inet:POLICY, policy_context=door }"
	now := []string{"smtpd_client_restrictions" + check, "smtpd_helo_restrictions" + check, "smtpd_sender_restrictions" + check,
		"smtpd_recipient_restrictions" + check + " reject_unauth_destination", "smtpd_data_restrictions" + check, "smtpd_end_of_data_restrictions" + check,
		"smtpd_etrn_restrictions" + check}
	var told [2][]string
	for i, p := range programs {
		policy := startPolicy(t)
		var settings []string
		for _, s := range now {
			settings = append(settings, strings.ReplaceAll(s, "POLICY", policy.addr))
		}
		s := startSite(t, p, "", []service{{"late", settings}, {"early", append(settings[:len(settings):len(settings)], "smtpd_delay_reject = no")}}, nil, nil)
		policy.mu.Lock()
		policy.requests = nil // of who waited for the services
		policy.mu.Unlock()
		for _, name := range []string{"late", "early"} {
			s.play(t, name, dialogue{
				"XCLIENT NAME=mx.good.example ADDR=192.0.2.9 PORT=4321 LOGIN=joe\r\n", "EHLO client.example\r\n",
				"MAIL FROM:<\"a b\"@good.example> SIZE=500\r\n", "RCPT TO:<bob+x@example.com>\r\n", "DATA\r\n", "Subject: x\r\n\r\nhello\r\n.\r\n",
				"MAIL FROM:<>\r\n", "RCPT TO:<bob@example.com>\r\n", "RCPT TO:<v@vmail.example>\r\n", "BDAT 4\r\nx\r\n\r", "BDAT 3 LAST\r\n\ny\n",
				"VRFY bob@example.com\r\n", "ETRN example.com\r\n", "RSET\r\n", "XCLIENT NAME=[TEMPUNAVAIL] ADDR=2001:db8::9\r\n", "HELO x\r\n", "RCPT TO:<bob@example.com>\r\n",
			})
		}
		policy.mu.Lock()
		for _, request := range policy.requests {
			told[i] = append(told[i], changing.ReplaceAllString(request, "$1=CHANGING"))
		}
		policy.mu.Unlock()
	}
	if len(told[0]) < 20 {
		t.Errorf("Postfix asks only %d times", len(told[0]))
	}
	if diff := cmp.Diff(told[0], told[1]); diff != "" {
		t.Errorf("requests (-Postfix +Dovetail):\n%s", diff)
	}
}

package smtp

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
)

var emptyArchive = new(txtar.Archive)

// A connection is kept for the next message, and one that the server has closed or
// is about to close is replaced without a word.
func TestKeptConnections(t *testing.T) {
	for _, test := range []struct {
		name, script, config string
		conns                int
		second               string // uses of the connection in the second delivery
		between              func(*scripted)
	}{
		{name: "kept", conns: 1, second: "uses=2"},
		{name: "not wanted", config: "smtp_connection_cache_on_demand = no\n", conns: 2, second: "uses=1"},
		{name: "wanted for this next hop", config: "smtp_connection_cache_on_demand = no\nsmtp_connection_cache_destinations = 127.0.0.1\n", conns: 1, second: "uses=2"},
		{name: "used up", config: "smtp_connection_reuse_count_limit = 1\n", conns: 2, second: "uses=1"},
		{name: "closed after the reply", script: "first . -> 250 2.0.0 Ok (close)", conns: 2, second: "uses=1"},
		{name: "closed while idle", conns: 2, second: "uses=1", between: func(s *scripted) { s.hangUp() }},
		{name: "closed at MAIL FROM", script: "next MAIL -> (close)\n", conns: 2, second: "uses=1"},
		{name: "421 at MAIL FROM", script: "next MAIL -> 421 4.4.2 timeout (close)", conns: 2, second: "uses=1"},
		{name: "closed at RCPT TO", script: "next RCPT -> (close)", conns: 2, second: "uses=1"},
		{name: "closed at DATA", script: "next DATA -> (close)", conns: 2, second: "uses=1"},
		{name: "talkative", script: "first . -> 250 2.0.0 Ok | 250 2.0.0 Once more", conns: 2, second: "uses=1"},
		{name: "out of step", script: "next MAIL -> 354 go on", conns: 2, second: "uses=1"},
		{name: "out of step at DATA", script: "next DATA -> 250 Ok", conns: 2, second: "uses=1"},
		{name: "after a refused message", script: "first . -> 554 5.7.1 spam", conns: 1, second: "uses=2"},
		{name: "after refused recipients", script: "first RCPT -> 550 5.1.1 unknown", conns: 1, second: "uses=2"},
		{name: "after a refused sender", script: "first MAIL -> 550 5.1.8 no", conns: 1, second: "uses=2"},
		{name: "after refused DATA", script: "first DATA -> 450 4.3.0 later", conns: 1, second: "uses=2"},
		{name: "RSET refused", script: "first DATA -> 450 4.3.0 later\nRSET -> 500 5.5.1 what", conns: 2, second: "uses=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// "next" counts over all connections; the third use must work again.
			script := strings.ReplaceAll(test.script, "next ", "second ")
			s := startScripted(t, "tcp", "127.0.0.1:0", script)
			var logged logLines
			// A slow machine may not let the connection expire between the deliveries.
			a := newTestAgent(t, baseConfig+"smtp_connection_cache_time_limit = 60s\n"+test.config, false, &logged)
			defer a.Close()
			nexthop := "[127.0.0.1]:" + s.port()
			first := deliverTo(t, a, simple("a", "b"), nexthop)
			if strings.Count(first, "\n") != 2 {
				t.Errorf("first delivery:\n%s", first)
			}
			if test.between != nil {
				test.between(s)
			}
			second := deliverTo(t, a, simple("a", "b"), nexthop)
			if strings.Count(second, test.second+" dead=false (250 2.0.0 Ok: queued)") != 2 {
				t.Errorf("second delivery:\n%swant %s", second, test.second)
			}
			if got := s.connections(); got != test.conns {
				t.Errorf("%d connections, want %d", got, test.conns)
			}
			if logged.text() != "" {
				t.Errorf("log:\n%s", logged.text())
			}
		})
	}
}

// A kept connection that is cut in the middle of the content is no stale one: the message may
// have arrived, and the log says so.
func TestKeptConnectionLostWithContent(t *testing.T) {
	s := startScripted(t, "tcp", "127.0.0.1:0", "second . -> (close)")
	a := newTestAgent(t, baseConfig, false, new(logLines))
	defer a.Close()
	nexthop := "[127.0.0.1]:" + s.port()
	deliverTo(t, a, simple("a"), nexthop)
	got := deliverTo(t, a, simple("a"), nexthop)
	if !strings.Contains(got, "uses=2 dead=true (lost connection with 127.0.0.1[127.0.0.1] while sending end of data -- message may be sent more than once)") {
		t.Errorf("got %s", got)
	}
}

// The end of idle connections is told to the server.
func TestIdleConnectionsEnd(t *testing.T) {
	s := startScripted(t, "tcp", "127.0.0.1:0", "")
	a := newTestAgent(t, baseConfig+"smtp_connection_cache_time_limit = 1s\n", false, new(logLines))
	defer a.Close()
	deliverTo(t, a, simple("a"), "[127.0.0.1]:"+s.port())
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if slices.Contains(s.said(), "QUIT") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no QUIT")
		}
	}
}

// With level may a server whose TLS does not work gets the mail in plain text, but only
// after the message has waited, and never with a password.
func TestPlainTextAfterFailedHandshake(t *testing.T) {
	const script = "EHLO -> 250-mx.test | 250-PIPELINING | 250-STARTTLS | 250 AUTH PLAIN\nSTARTTLS -> 220 go (close)"
	const login = "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options =\nsmtp_sasl_password_maps = inline:{"
	for _, test := range []struct {
		name, config string
		age          time.Duration
		want         string
	}{
		{"fresh", "", 0, "dsn=4.7.5"},
		{"old", "", time.Hour, "dsn=2.0.0"},
		{"old, encrypt", "smtp_tls_security_level = encrypt\n", time.Hour, "dsn=4.7.5"},
		{"old, with a password", login + "127.0.0.1=joe:secret}\n", time.Hour, "dsn=4.7.5"},
		{"old, with a password for somebody else", login + "192.0.2.1=joe:secret}\n", time.Hour, "dsn=2.0.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := startScripted(t, "tcp", "127.0.0.1:0", script)
			config := baseConfig + "smtp_tls_security_level = may\n" + test.config
			a := newTestAgent(t, config, false, new(logLines))
			defer a.Close()
			d := simple("a")
			m, content := queued(t, d)
			m.Arrival = time.Now().Add(-test.age)
			r := &deliver.Request{Message: m, Content: content, Nexthop: "[127.0.0.1]:" + s.port(), Recipients: []deliver.Recipient{{Address: "a@simple.test"}}}
			got := ""
			a.Deliver(context.Background(), r, func(_ int, s deliver.Status) { got += fmt.Sprintf("dsn=%s %s", s.Enhanced, s.Text) })
			if !strings.HasPrefix(got, test.want) {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// What follows the answer to STARTTLS in plain text is not believed.
func TestSTARTTLSInjection(t *testing.T) {
	s := startScripted(t, "tcp", "127.0.0.1:0", `
EHLO -> 250-mx.test | 250-PIPELINING | 250 STARTTLS
STARTTLS -> 220 go | 250-evil.test | 250 AUTH PLAIN (tls)
`)
	a := newTestAgent(t, baseConfig+"smtp_tls_security_level = encrypt\n", false, new(logLines))
	defer a.Close()
	got := deliverTo(t, a, simple("a"), "[127.0.0.1]:"+s.port())
	if strings.Contains(got, "dsn=2") && strings.Count(s.transcript(), "EHLO") != 2 {
		t.Errorf("%s\n%s", got, s.transcript())
	}
}

// A cancelled context ends a delivery that waits, but not the wait for the last answer.
func TestCancel(t *testing.T) {
	for _, where := range []string{"greeting", "EHLO", "MAIL", "RCPT", "DATA"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(context.Background())
			s := startScripted(t, "tcp", "127.0.0.1:0", where+" -> (silent)", func(s *scripted) { s.onSilence = cancel })
			a := newTestAgent(t, baseConfig, false, new(logLines))
			defer a.Close()
			m, content := queued(t, simple("a"))
			r := &deliver.Request{Message: m, Content: content, Nexthop: "[127.0.0.1]:" + s.port(), Recipients: []deliver.Recipient{{Address: "a@simple.test"}}}
			n := 0
			a.Deliver(ctx, r, func(_ int, st deliver.Status) {
				n++
				if st.Action != deliver.Deferred || st.Dead || st.Text != interrupted.Text {
					t.Errorf("%+v", st)
				}
			})
			if n != 1 {
				t.Errorf("%d reports", n)
			}
		})
	}
	t.Run("end", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(context.Background())
		s := startScripted(t, "tcp", "127.0.0.1:0", "", func(s *scripted) { s.onContent = cancel })
		a := newTestAgent(t, baseConfig, false, new(logLines))
		defer a.Close()
		m, content := queued(t, simple("a"))
		r := &deliver.Request{Message: m, Content: content, Nexthop: "[127.0.0.1]:" + s.port(), Recipients: []deliver.Recipient{{Address: "a@simple.test"}}}
		a.Deliver(ctx, r, func(_ int, st deliver.Status) {
			if st.Action != deliver.Relayed {
				t.Errorf("%+v", st)
			}
		})
	})
}

// Many recipients with long answers do not make both sides wait for each other.
func TestManyRecipients(t *testing.T) {
	const n = 5000
	long := strings.Repeat("x", 400)
	for _, protocol := range []string{"smtp", "lmtp"} {
		t.Run(protocol, func(t *testing.T) {
			s := startScripted(t, "tcp", "127.0.0.1:0", "RCPT TO:<r7@ -> 550 5.1.1 no "+long+"\nRCPT -> 250 2.1.5 "+long, func(s *scripted) {
				s.lmtp, s.slow = protocol == "lmtp", true
			})
			a := newTestAgent(t, baseConfig, s.lmtp, new(logLines))
			defer a.Close()
			d := simple()
			for i := range n {
				d.to = append(d.to, fmt.Sprintf("r%d", i))
			}
			got := deliverTo(t, a, d, "[127.0.0.1]:"+s.port())
			if strings.Count(got, "dsn=2.0.0") != n-1 || strings.Count(got, "dsn=5.1.1") != 1 {
				t.Errorf("%d delivered, %d refused", strings.Count(got, "dsn=2.0.0"), strings.Count(got, "dsn=5.1.1"))
			}
		})
	}
}

// A budget is how many bytes a server's connections may still carry; negative is no limit.
type budget struct {
	mu            sync.Mutex
	reads, writes int
}

func (b *budget) take(n *int, want int) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if *n < 0 {
		return want
	}
	got := min(*n, want)
	*n -= got
	return got
}

// A limited connection is closed when its budget is used up.
type limited struct {
	net.Conn
	*budget
}

func (l limited) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p[:min(len(p), 1<<10)])
	if allowed := l.take(&l.reads, n); allowed < n {
		l.Close()
		return allowed, net.ErrClosed
	}
	return n, err
}

func (l limited) Write(p []byte) (int, error) {
	allowed := l.take(&l.writes, len(p))
	n, err := l.Conn.Write(p[:allowed])
	if allowed < len(p) {
		l.Close()
		return n, net.ErrClosed
	}
	return n, err
}

// Wherever a connection ends, each recipient is reported once, and as delivered
// only if the server has said so.
func TestEveryDisconnect(t *testing.T) {
	for _, lmtp := range []bool{false, true} {
		for _, ext := range []string{"250 PIPELINING", "250 HELP"} {
			for _, side := range []string{"server", "client"} {
				t.Run(fmt.Sprintf("lmtp=%v,%s,%s", lmtp, ext, side), func(t *testing.T) {
					t.Parallel()
					disconnects(t, lmtp, ext, side)
				})
			}
		}
	}
}

func disconnects(t *testing.T, lmtp bool, ext, side string) {
	a := newTestAgent(t, baseConfig, lmtp, new(logLines))
	defer a.Close()
	d := simple("a", "b")
	m, content := queued(t, d)
	r := &deliver.Request{Message: m, Content: content, Recipients: []deliver.Recipient{{Address: "a@simple.test"}, {Address: "b@simple.test"}}}
	step := 1
	if side == "client" {
		step = 3
	}
	for n := 0; ; n += step {
		left := &budget{reads: -1, writes: -1}
		if side == "server" {
			left.writes = n
		} else {
			left.reads = n
		}
		s := startScripted(t, "tcp", "127.0.0.1:0", "EHLO -> 250-mx.test | "+ext+"\nLHLO -> 250-mx.test | "+ext, func(s *scripted) {
			s.lmtp = lmtp
			s.wrap = func(c net.Conn) net.Conn { return limited{c, left} }
		})
		r.Nexthop = "[127.0.0.1]:" + s.port()
		var got [2][]deliver.Status
		a.Deliver(context.Background(), r, func(i int, st deliver.Status) { got[i] = append(got[i], st) })
		delivered := 0
		for i := range got {
			if len(got[i]) != 1 {
				t.Fatalf("%d bytes: recipient %d has %d reports", n, i, len(got[i]))
			}
			switch got[i][0].Action {
			case deliver.Relayed:
				delivered++
			case deliver.Bounced:
				t.Fatalf("%d bytes: recipient %d bounces: %s", n, i, got[i][0].Text)
			}
		}
		if said := s.answered("250 2.0.0 Ok: queued"); lmtp && delivered > said || !lmtp && delivered != 0 && said == 0 {
			t.Fatalf("%d bytes: %d delivered, the server said so %d times", n, delivered, said)
		}
		s.stop()
		if delivered == 2 {
			return
		}
		if n > 5000 {
			t.Fatal("never delivered")
		}
	}
}

// A login that was refused is not tried again with the same password.
func TestRefusedLoginsAreRemembered(t *testing.T) {
	const login = "smtp_sasl_auth_enable = yes\nsmtp_sasl_security_options =\nsmtp_sasl_auth_cache_name = proxy:btree:/nonexistent\nsmtp_sasl_password_maps = static:joe:secret\n"
	for _, test := range []struct {
		name, config, reply string
		attempts            int
		second              string
	}{
		{"wrong password", login, "535 5.7.8 wrong", 1, "dsn=4.7.8 uses=0 dead=true (SASL [CACHED] authentication failed; server 127.0.0.1 said: 535 5.7.8 wrong)"},
		{"later", login, "454 4.7.0 later", 2, "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 454 4.7.0 later"},
		{"forgotten", login + "smtp_sasl_auth_cache_time = 0s\n", "535 5.7.8 wrong", 2, "SASL authentication failed;"},
		{"not wanted", strings.Replace(login, "smtp_sasl_auth_cache_name = proxy:btree:/nonexistent\n", "", 1), "535 5.7.8 wrong", 2, "SASL authentication failed;"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := startScripted(t, "tcp", "127.0.0.1:0", "EHLO -> 250-mx.test | 250 AUTH PLAIN\nAUTH -> "+test.reply)
			a := newTestAgent(t, baseConfig+test.config, false, new(logLines))
			defer a.Close()
			deliverTo(t, a, simple("a"), "[127.0.0.1]:"+s.port())
			second := strings.ReplaceAll(deliverTo(t, a, simple("a"), "[127.0.0.1]:"+s.port()), ":"+s.port(), ":PORT")
			if !strings.Contains(second, test.second) {
				t.Errorf("got %s, want %s", second, test.second)
			}
			if n := strings.Count(s.transcript(), "AUTH"); n != test.attempts {
				t.Errorf("%d attempts, want %d", n, test.attempts)
			}
		})
	}
}

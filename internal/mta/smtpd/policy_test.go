package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A fakePolicy answers each request with what answer says; nothing: it hangs up.
func fakePolicy(t *testing.T, answer func(connection, request int) string) (spec string, connections *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	connections = new(atomic.Int32)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			n := int(connections.Add(1))
			go func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for request := 1; ; request++ {
					for line := ""; line != "\n"; {
						var err error
						if line, err = r.ReadString('\n'); err != nil {
							return
						}
					}
					text := answer(n, request)
					if text == "" {
						return
					}
					io.WriteString(conn, text)
				}
			}()
		}
	}()
	return "inet:" + l.Addr().String(), connections
}

func newPolicy(t *testing.T, spec string) (*policyServer, *logBuffer) {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), baseConfig)
	if err != nil {
		t.Fatal(err)
	}
	log := newLog(t)
	p, err := newPolicyServer(main, spec, maillog.New(log.sink, "postfix/smtpd[1]"))
	if err != nil {
		t.Fatal(err)
	}
	return p, log
}

func TestPolicyServer(t *testing.T) {
	for _, tt := range []struct {
		name        string
		options     string
		answer      func(connection, request int) string
		want        [3]string // what three requests are answered
		connections int32
		log         string
	}{
		{
			name: "connection kept", answer: func(c, r int) string { return fmt.Sprintf("action=%d.%d\n\n", c, r) },
			want: [3]string{"1.1", "1.2", "1.3"}, connections: 1,
		},
		{
			name: "request limit", options: ", request_limit=2", answer: func(c, r int) string { return fmt.Sprintf("action=%d.%d\n\n", c, r) },
			want: [3]string{"1.1", "1.2", "2.1"}, connections: 2,
		},
		{
			name: "other attributes", answer: func(int, int) string { return "version=1\naction=OK\naction=REJECT\n\n" },
			want: [3]string{"OK", "OK", "OK"}, connections: 1,
		},
		{
			name: "restarted server", answer: func(c, r int) string {
				if c == 1 && r == 2 {
					return ""
				}
				return "action=OK\n\n"
			},
			want: [3]string{"OK", "OK", "OK"}, connections: 2,
		},
		{
			name: "no action", options: ", retry_delay=1", answer: func(int, int) string { return "reaction=OK\n\n" },
			want: [3]string{"", "", ""}, connections: 6, log: "warning: missing attribute action in input from inet:",
		},
		{
			name: "endless answer", options: ", try_limit=1", answer: func(int, int) string { return strings.Repeat("x=y\n", 1<<20) },
			want: [3]string{"", "", ""}, connections: 3, log: "warning: problem talking to server inet:",
		},
		{
			name: "bad UTF-8", options: ", try_limit=1", answer: func(int, int) string { return "action=REJECT \xff\n\n" },
			want: [3]string{"", "", ""}, connections: 3, log: "malformed UTF-8 in policy server",
		},
		{
			name: "silence", options: ", { timeout = 1 }, try_limit=1", answer: func(int, int) string { return "action=OK\n" },
			want: [3]string{"", "", ""}, connections: 3, log: ": Connection timed out",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			spec, connections := fakePolicy(t, tt.answer)
			p, log := newPolicy(t, "{ "+spec+tt.options+" }")
			for i, want := range tt.want {
				got, err := p.ask(context.Background(), []byte("request=x\n\n"), func(time.Duration) {})
				if got != want || (err == nil) != (want != "") {
					t.Errorf("request %d: %q, %v; want %q", i+1, got, err, want)
				}
			}
			if n := connections.Load(); n != tt.connections {
				t.Errorf("%d connections, want %d", n, tt.connections)
			}
			if text := log.lines(t); !strings.Contains(text, tt.log) {
				t.Errorf("log:\n%s", text)
			}
		})
	}
}

// TestPolicyServerDown has nobody listening: the default action decides.
func TestPolicyServerDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for option, want := range map[string]string{
		"":                       "451 4.3.5 <alice@example.com>: Recipient address rejected: Server configuration problem",
		", default_action=DUNNO": "250 2.1.5 Ok",
		", { default_action = 450 4.7.1 ask me later }":                "450 4.7.1 <alice@example.com>: Recipient address rejected: ask me later",
		", { default_action = reject_unauth_destination }":             "250 2.1.5 Ok",
		", { default_action = check_policy_service inet:localhost:1 }": "451 4.3.5 Server configuration error",
	} {
		ts := startServer(t, "smtpd_recipient_restrictions = check_policy_service { inet:"+addr+", try_limit=1"+option+" }, reject_unauth_destination\n", nil)
		d := dialogue{name: option, lines: []string{
			"S: 220 mail.example.com ESMTP Postfix", "C: HELO c", "S: 250 mail.example.com", "C: MAIL FROM:<a@b.example>", "S: 250 2.1.0 Ok",
			"C: RCPT TO:<alice@example.com>", "S: " + want,
		}}
		transcript, _ := d.play(t, ts.addr)
		d.check(t, transcript, "", "")
		ts.stop()
		if log := ts.log.lines(t); !strings.Contains(log, "warning: connect to "+addr+": Connection refused\nwarning: problem talking to server inet:"+addr+": Connection refused\n") {
			t.Errorf("log:\n%s", log)
		}
	}
}

// FuzzReadAction reads anything from a policy server.
func FuzzReadAction(f *testing.F) {
	f.Add("action=OK\n\n")
	f.Add("a=b\naction=REJECT x\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		action, found, err := readAction(bufio.NewReader(strings.NewReader(text)), func(string) {})
		if err == nil && found && !strings.Contains(text, "action="+action+"\n") {
			t.Errorf("%q: action %q", text, action)
		}
	})
}

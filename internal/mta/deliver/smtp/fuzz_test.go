package smtp

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
)

// FuzzServer delivers to a server that says anything at all, whatever it is told. Each
// recipient is reported once; nobody is reported as delivered without as many positive
// answers as that takes.
func FuzzServer(f *testing.F) {
	for _, d := range readDialogues(f) {
		var said strings.Builder
		for _, pattern := range []string{"greeting", "EHLO", "MAIL", "RCPT", "RCPT", "DATA", "."} {
			rules := (&scripted{rules: usualReplies, used: map[string]int{}})
			for line := range strings.Lines(d.section("server")) {
				if p, reply, ok := strings.Cut(strings.TrimSpace(line), " -> "); ok && strings.HasPrefix(p, pattern) {
					rules.rules = append([]rule{{pattern: pattern, reply: reply}}, rules.rules...)
				}
			}
			said.WriteString(strings.ReplaceAll(rules.reply(pattern), " | ", "\r\n") + "\r\n")
		}
		f.Add(said.String(), d.lmtp)
	}
	f.Add("220 x\r\n250-x\r\n250 PIPELINING\r\n"+strings.Repeat("250-\r\n", 2000), false)
	f.Add("220 x\r\n250-x\r\n250-AUTH PLAIN LOGIN CRAM-MD5\r\n250 SIZE 99999999999999999999\r\n334 \r\n334 x\r\n", false)
	smtp := newTestAgent(f, fuzzConfig, false, new(logLines))
	lmtp := newTestAgent(f, fuzzConfig, true, new(logLines))
	m, content := queued(f, simple("a", "b"))
	f.Fuzz(func(t *testing.T, said string, isLMTP bool) {
		if len(said) > 64<<10 {
			return
		}
		a := smtp
		if isLMTP {
			a = lmtp
		}
		path := fuzzServer(t, said)
		r := &deliver.Request{Message: m, Content: content, Nexthop: "unix:" + path, Recipients: []deliver.Recipient{{Address: "a@simple.test"}, {Address: "b@simple.test"}}}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		var reports, delivered int
		a.Deliver(ctx, r, func(i int, st deliver.Status) {
			reports++
			if strings.ContainsAny(st.Text, "\r\n\x00") {
				t.Errorf("status text %q", st.Text)
			}
			if st.Action == deliver.Relayed || st.Action == deliver.Delivered {
				delivered++
			}
		})
		if reports != 2 {
			t.Errorf("%d reports", reports)
		}
		if delivered > 0 && (strings.Count(said, "2") < 4 || !strings.Contains(said, "3")) {
			t.Errorf("%d delivered", delivered)
		}
		if ctx.Err() != nil {
			t.Error("it takes for ever")
		}
		a.cache.clear()
	})
}

const fuzzConfig = baseConfig + `
smtp_sasl_auth_enable = yes
smtp_sasl_security_options =
smtp_sasl_password_maps = static:joe:secret
smtp_send_xforward_command = yes
lmtp_skip_quit_response = yes
`

// fuzzServer says its text to each client, then listens until that goes.
func fuzzServer(t *testing.T, said string) string {
	dir, err := os.MkdirTemp("", "fuzz") // short, for a socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/s")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.WriteString(c, said)
				c.(*net.UnixConn).CloseWrite()
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		os.RemoveAll(dir)
	})
	return l.Addr().String()
}

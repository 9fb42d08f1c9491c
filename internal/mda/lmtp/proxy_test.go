package lmtp

import (
	"testing"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// FuzzProxyReply reads lines of servers that messages are passed on to: what goes on to
// the client has no control bytes, and codes that are answers.
func FuzzProxyReply(f *testing.F) {
	for _, line := range []string{"250 2.1.5 OK", "250-PIPELINING", "354", "451 4.3.0 <bob> later", "2xx", "* OK", "250-\x00\x1b", "999 x", ""} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var r smtp.Reply
		if _, ok := appendReply(&r, line); !ok {
			return
		}
		if r.Code < 200 || r.Code > 599 || printableText(r.Text) != r.Text {
			t.Errorf("%q: %+v", line, r)
		}
	})
}

// FuzzRoute reads the fields of passdbs.
func FuzzRoute(f *testing.F) {
	f.Add("proxy", "host=192.0.2.1", "port=24")
	f.Add("proxy=y", "hostip=x", "proxy_timeout=5")
	f.Add("starttls=any-cert", "protocol=smtp", "forward_a=b\tc")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		r, err := newRoute([]string{a, b, c}, 24)
		if r != nil && (err != nil || r.host == "" || r.port == 0 || r.timeout <= 0) {
			t.Errorf("%q %q %q: %+v, %v", a, b, c, r, err)
		}
	})
}

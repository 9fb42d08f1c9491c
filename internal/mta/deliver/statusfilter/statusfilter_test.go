package statusfilter

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// cases are deliveries by a command that says what the next hop is, and what the log has of them.
var cases = []struct{ name, nexthop, want, warning string }{
	{"unchanged", "5.1.1 no such user", "dsn=5.1.1, status=bounced (no such user)", ""},
	{"other text", "5.1.2 text", "dsn=5.1.9, status=bounced (other text)", ""},
	{"bounce to defer", "5.1.3 later", "dsn=4.1.3, status=deferred (wait)", ""},
	{"defer to bounce", "4.1.4 never", "dsn=5.1.4, status=bounced (enough)", ""},
	{"to success", "5.1.5 fine", "dsn=5.1.5, status=bounced (fine)", "pipe_delivery_status_filter: bad status code: 2.0.0 fine"},
	{"no code", "5.1.6 bad", "dsn=5.1.6, status=bounced (bad)", "pipe_delivery_status_filter: bad status code: nonsense"},
	{"part of the text", "5.1.7 user joe@example.org unknown", "dsn=5.7.1, status=bounced (user unknown)", ""},
	{"success", "well", "dsn=2.7.7, status=sent (thrown away)", ""},
	{"success to failure", "worse", "dsn=2.0.0, status=sent (delivered via say service (worse))", "pipe_delivery_status_filter: bad status code: 5.0.0 worse"},
}

const filterTable = `/^5\.1\.2 text$/ 5.1.9 other text
/^5\.1\.3 / 4.1.3 wait
/^4\.1\.4 / 5.1.4 enough
/^5\.1\.5 (.*)/ 2.0.0 $1
/^5\.1\.6 / nonsense
/^5\.1\.7 user .* (unknown)/ 5.7.1   user $1
/^2\.0\.0 .* service \(well\)$/ 2.7.7 thrown away
/^2\.0\.0 .* service \((worse)\)$/ 5.0.0 $1
`

func TestFilter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "filter")
	harness.Write(t, file, filterTable)
	main, err := postfix.Parse("/etc/postfix", "default_delivery_status_filter = regexp:"+file+"\nsmtp_delivery_status_filter =\n")
	if err != nil {
		t.Fatal(err)
	}
	var logged []string
	log := maillog.NewFunc(func(_ maillog.Level, text string) { logged = append(logged, text) })
	tables, err := resolve.NewOpener(main, table.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	for _, expand := range []bool{false, true} {
		agent, err := New(say{expand}, "pipe", main, tables, log)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range cases {
			logged = nil
			words := map[deliver.Action]string{deliver.Deferred: "deferred", deliver.Bounced: "bounced", deliver.Final: "sent"}
			var got []string
			result := func(s *deliver.Status) {
				got = append(got, fmt.Sprintf("dsn=%s, status=%s (%s)", s.Enhanced, words[s.Action], s.Text))
			}
			r := &deliver.Request{Nexthop: test.nexthop, Recipients: make([]deliver.Recipient, 1)}
			r.Result = func(_ int, _, _ string, s *deliver.Status) { result(s) }
			agent.Deliver(context.Background(), r, func(_ int, s deliver.Status) {
				if !s.Logged {
					result(&s)
				}
			})
			if len(got) != 1 || got[0] != test.want {
				t.Errorf("%s: got %q, want %q", test.name, got, test.want)
			}
			if strings.Join(logged, "\n") != test.warning {
				t.Errorf("%s: log %q, want %q", test.name, logged, test.warning)
			}
		}
	}
	for _, command := range []string{"smtp", "error", "discard"} {
		if a, err := New(say{}, command, main, tables, log); err != nil || a != deliver.Agent(say{}) {
			t.Errorf("%s has a filter: %v, %v", command, a, err)
		}
	}
}

// A say agent says what the next hop is; with expand, of an address that the recipient was expanded to.
type say struct{ expand bool }

func (a say) Deliver(_ context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	s := deliver.Status{Action: deliver.Final, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "delivered via say service (" + r.Nexthop + ")"}
	if dsn, n := smtp.ParseEnhanced(r.Nexthop); n > 0 {
		s.Action, s.Enhanced, s.Text = deliver.Bounced, dsn, r.Nexthop[n+1:]
		if dsn[0] == 4 {
			s.Action = deliver.Deferred
		}
	}
	if a.expand {
		r.Result(0, "a@example.org", "", &s)
		s.Logged = true
	}
	report(0, s)
}

var delays = regexp.MustCompile(`relay=say, delay=[^,]*, delays=[^,]*, `)

// The cases are what the real Postfix does.
func TestFilterLikePostfix(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("starts Postfix, which only root may")
	}
	addr := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	var transport strings.Builder
	text := "EHLO client.example.org\r\n"
	for i, c := range cases {
		fmt.Fprintf(&transport, "d%d.test say:%s\n", i, c.nexthop)
		text += fmt.Sprintf("MAIL FROM:<>\r\nRCPT TO:<a@d%d.test>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\n", i)
	}
	script := filepath.Join(harness.Dir(t), "say")
	harness.Write(t, script, `printf %s "$1"; case "$1" in 4*) exit 75;; 5*) exit 69;; esac`)
	p := harness.StartPostfix(t, map[string]string{
		"main.cf": "compatibility_level = 3.6\nmyhostname = mail.example.org\ninet_protocols = ipv4\nmydestination =\nalias_maps =\nmynetworks = 127.0.0.0/8\nsmtpd_peername_lookup = no\n" +
			"relay_domains = texthash:DIR/etc/transport\ntransport_maps = texthash:DIR/etc/transport\nfast_flush_domains =\ndefault_delivery_status_filter = regexp:DIR/etc/filter\n",
		"master.cf": addr + " inet n - n - - smtpd\nsay unix - n n - - pipe user=nobody argv=/bin/sh " + script + " ${nexthop}\n",
		"transport": transport.String(), "filter": filterTable,
	})
	var c net.Conn
	harness.Eventually(t, "SMTP server", func() bool {
		var err error
		c, err = net.Dial("tcp", addr)
		return err == nil
	})
	defer c.Close()
	fmt.Fprint(c, text)
	go io.Copy(io.Discard, c) //nolint:errcheck // what the server says does not matter
	for i, test := range cases {
		status := ""
		harness.Eventually(t, "status: "+test.name, func() bool {
			for line := range strings.Lines(p.Log()) {
				if _, rest, ok := strings.Cut(line, fmt.Sprintf("to=<a@d%d.test>, ", i)); ok {
					status = delays.ReplaceAllString(strings.TrimSpace(rest), "")
				}
			}
			return status != ""
		})
		if status != test.want {
			t.Errorf("%s: Postfix says %q, the case %q", test.name, status, test.want)
		}
		if !strings.Contains(p.Log(), test.warning) {
			t.Errorf("%s: Postfix does not warn %q", test.name, test.warning)
		}
	}
}

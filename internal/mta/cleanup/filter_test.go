package cleanup

import (
	"context"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/google/go-cmp/cmp"
)

// TestActions goes through the actions of header_checks and body_checks.
func TestActions(t *testing.T) {
	const content = "Subject: one\nX-Two: two\n\nfirst\nsecond\n"
	from := " from client.example[192.0.2.1]; from=<a@example.net> to=<alice@example.com> proto=ESMTP helo=<h>"
	origin := Origin{Sender: "a@example.net", Source: "smtpd", Client: "client.example[192.0.2.1]", Proto: "ESMTP", Helo: "h"}
	for _, tt := range []struct {
		name, header, body, config string
		want, log, err             string
		env                        queue.Envelope
		rcpts                      string
	}{
		{name: "reject", header: "/^Subject/ REJECT no thanks", err: "550 5.7.1 no thanks", log: "ABC: reject: header Subject: one" + from + ": 5.7.1 no thanks\n"},
		{name: "reject with status", header: "/^X-Two/ REJECT 4.2.2 full", err: "451 4.2.2 full", log: "ABC: reject: header X-Two: two" + from + ": 4.2.2 full\n"},
		{name: "reject body", body: "/^second/ REJECT", err: "550 5.7.1 message content rejected",
			log: "ABC: message-id=<>\nABC: reject: body second" + from + ": 5.7.1 message content rejected\n"},
		{name: "discard", body: "/^first/ DISCARD", log: "ABC: message-id=<>\nABC: discard: body first" + from + "\n"},
		{name: "ignore and replace", header: "/^Subject/ IGNORE", body: "/^first/ REPLACE other", want: "X-Two: two\n\nother\nsecond\n",
			log: "ABC: message-id=<>\nABC: replace: body first" + from + ": other\n"},
		{name: "prepend", header: "/^X-/ PREPEND X-One: 1", body: "/^first/ PREPEND zero", want: "Subject: one\nX-One: 1\nX-Two: two\n\nzero\nfirst\nsecond\n"},
		{name: "hold, filter, bcc", header: "/^Sub/ HOLD", body: "/first/ FILTER smtp:x", want: content, env: queue.Envelope{Hold: true, Filter: "smtp:x"}},
		{name: "bcc", body: "/first/ BCC copy", header: "/X/ BCC me@example.com", want: content, rcpts: "alice@example.com me@example.com"},
		{name: "redirect", body: "/first/ REDIRECT r@example.com", want: content, env: queue.Envelope{Redirect: "r@example.com"}, rcpts: "r@example.com"},
		{name: "pass", header: "/^Sub/ PASS", body: "/first/ REJECT", want: content},
		{name: "table down", config: "body_checks = fail:x\n", err: "451 4.3.0 Error: queue file write error"},
		{name: "size limit", body: "/second/ REJECT", config: "body_checks_size_limit = 4\n", want: content},
		{name: "reject characters", config: "message_reject_characters = \\0w\n", err: "550 5.7.1 disallowed character"},
		{name: "strip characters", config: "message_strip_characters = \\163e\n", want: "Subjct: on\nX-Two: two\n\nfirt\ncond\n"},
		{name: "no checks asked for", body: "/first/ REJECT", config: "", want: content},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := tt.config
			if tt.header != "" {
				config += "header_checks = regexp:{{" + tt.header + "}}\n"
			}
			if tt.body != "" {
				config += "body_checks = regexp:{{" + tt.body + "}}\n"
			}
			o := origin
			o.Unchecked = tt.name == "no checks asked for"
			for piece := 1; piece < 60; piece += 7 {
				f := newFixture(t, config)
				got, err := f.sendChecked(t, o, content, piece)
				switch {
				case tt.err != "":
					if err == nil || err.Error() != tt.err || !f.queue.aborted {
						t.Errorf("error %v, want %s", err, tt.err)
					}
				case err != nil:
					t.Error(err)
				case tt.want == "":
					if !f.queue.aborted || f.queue.written {
						t.Error("the message is queued")
					}
				default:
					if diff := cmp.Diff(tt.want, got); diff != "" {
						t.Error(diff)
					}
				}
				if tt.log != "" && f.log() != tt.log {
					t.Errorf("log %s", cmp.Diff(tt.log, f.log()))
				}
				env := &f.queue.env
				if env.Hold != tt.env.Hold || env.Filter != tt.env.Filter || env.Redirect != tt.env.Redirect {
					t.Errorf("envelope %+v", env)
				}
				var rcpts []string
				for _, r := range env.Recipients {
					rcpts = append(rcpts, r.Address)
				}
				if tt.rcpts != "" && strings.Join(rcpts, " ") != tt.rcpts {
					t.Errorf("recipients %v", rcpts)
				}
			}
		})
	}
}

// sendChecked is send for content that is looked at, whose log has the recipient.
func (f *fixture) sendChecked(t testing.TB, o Origin, content string, piece int) (string, error) {
	t.Helper()
	m, err := f.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	m.Recipient("alice")
	for p := strings.ReplaceAll(content, "\n", "\r\n"); p != ""; {
		n := min(piece, len(p))
		if _, err := m.Write([]byte(p[:n])); err != nil {
			t.Fatal(err)
		}
		p = p[n:]
	}
	err = m.Finish(context.Background(), &queue.Envelope{Sender: o.Sender, Recipients: []queue.Recipient{{Address: "alice"}}})
	return strings.ReplaceAll(f.queue.body.String(), "\r\n", "\n"), err
}

func TestInternalMailIsNotChecked(t *testing.T) {
	for classes, refused := range map[string]bool{"": false, "notify": false, "bounce": true} {
		f := newFixture(t, "header_checks = static:REJECT\nalways_bcc = copy@example.com\ninternal_mail_filter_classes = "+classes+"\n")
		_, err := f.send(t, Origin{Internal: true}, "Subject: x\n\n", 99)
		if (err != nil) != refused {
			t.Errorf("classes %q: error %v", classes, err)
		}
		if err == nil && len(f.queue.env.Recipients) != 1 {
			t.Errorf("copies of internal mail: %+v", f.queue.env.Recipients)
		}
	}
}

func TestSMTPUTF8Autodetect(t *testing.T) {
	for _, tt := range []struct {
		source, sender, content string
		want                    bool
	}{
		{"sendmail", "a@example.net", "Subject: caf\u00e9\n\n", true},
		{"sendmail", "\u00fc@example.net", "Subject: x\n\n", true},
		{"sendmail", "a@example.net", "Subject: x\n\n\u00fc\n", false},
		{"smtpd", "\u00fc@example.net", "Subject: caf\u00e9\n\n", false},
	} {
		f := newFixture(t, "smtputf8_enable = yes\n")
		if _, err := f.send(t, Origin{Source: tt.source, Sender: tt.sender, Local: true}, tt.content, 99); err != nil {
			t.Fatal(err)
		}
		if f.queue.env.SMTPUTF8 != tt.want {
			t.Errorf("%+v: SMTPUTF8 is %v", tt, !tt.want)
		}
	}
}

func TestBadSettings(t *testing.T) {
	for _, config := range []string{
		"canonical_classes = no_such\n", "sender_canonical_classes = envelope_recipient\n", "masquerade_classes = x\n",
		"smtputf8_autodetect_classes = x\n", "internal_mail_filter_classes = smtpd\n",
	} {
		if err := tryNew(t, config); err == nil || !strings.Contains(err.Error(), "unknown ") {
			t.Errorf("%s: %v", config, err)
		}
	}
}

// FuzzFilter compares filtered content that comes at once with the same in pieces, and what
// an idle filter passes on with what comes without one.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"Subject: x\n\nbody\n", "Content-Type: multipart/x; boundary=b\n\n--b\nA: b\n\n--b--\n", "a\rb: c\n", "\n", " x\n", "To: x\n y\nX:\n"} {
		f.Add(s, uint8(1))
	}
	const limits = "line_length_limit = 512\nheader_size_limit = 600\n"
	plain := newFixture(f, limits)
	idle := newFixture(f, limits+"body_checks = regexp:{{/^nothing like this$$/ REJECT}}\n")
	f.Fuzz(func(t *testing.T, in string, piece uint8) {
		if strings.ContainsAny(in, "\x00\r") {
			return
		}
		in = strings.TrimSuffix(in, "\n") + "\n" // SMTP has no other end
		origin := Origin{Sender: "s@example.net", Local: true, Client: "c", Unchecked: false}
		run := func(fix *fixture, piece int) string {
			fix.queue = new(testQueue)
			got, err := fix.send(t, origin, in, piece)
			if err != nil {
				got += "\nerror: " + err.Error()
			}
			return got
		}
		want := run(idle, len(in)+1)
		if got := run(idle, int(piece)%9+1); got != want {
			t.Errorf("at once %q, in pieces %q", want, got)
		}
		if strings.Contains(strings.ToLower(in), "content-type") {
			return // headers inside the content are put in order by the filter only
		}
		if got := run(plain, len(in)+1); got != want {
			t.Errorf("without filter %q, with one %q", got, want)
		}
	})
}

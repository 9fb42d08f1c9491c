package cleanup

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/google/go-cmp/cmp"
)

// testQueue takes one message.
type testQueue struct {
	body             bytes.Buffer
	env              queue.Envelope
	aborted, written bool
	err              error
}

func (q *testQueue) ID() string                  { return "ABC" }
func (q *testQueue) Write(p []byte) (int, error) { return q.body.Write(p) }
func (q *testQueue) Size() int64                 { return int64(q.body.Len()) }
func (q *testQueue) Abort()                      { q.aborted = true }
func (q *testQueue) Commit(_ context.Context, env *queue.Envelope) error {
	q.env, q.written = *env, true
	return q.err
}

var testTime = time.Date(2026, 11, 2, 8, 38, 15, 0, time.UTC)

type fixture struct {
	*Cleanup
	queue *testQueue
	log   func() string
}

func newFixture(t testing.TB, config string) *fixture {
	t.Helper()
	f := new(fixture)
	if err := f.start(t, config); err != nil {
		t.Fatal(err)
	}
	return f
}

// tryNew tells why a configuration is refused.
func tryNew(t testing.TB, config string) error { return new(fixture).start(t, config) }

func (f *fixture) start(t testing.TB, config string) error {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), "compatibility_level = 3.6\nmyhostname = mail.example.com\nmyorigin = example.com\n"+
		"mydestination = example.com\ninet_interfaces = 127.0.0.1\nrecipient_delimiter = +\n"+config)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	sink := maillog.NewFile(file, maillog.Postfix, "mail")
	t.Cleanup(sink.Close)
	open, err := resolve.NewOpener(main, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := resolve.New(main, open, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.queue = new(testQueue)
	f.Cleanup, err = New(Config{
		Main: main, Resolver: res, Log: maillog.New(sink, "postfix/cleanup[1]"),
		Queue: func(time.Time) (Writer, error) { return f.queue, nil },
		Now:   func() time.Time { return testTime },
	})
	if err != nil {
		return err
	}
	f.log = func() string {
		sink.Flush()
		b, _ := os.ReadFile(file.Name())
		var out strings.Builder
		for line := range strings.Lines(string(b)) {
			_, text, _ := strings.Cut(line, "]: ")
			out.WriteString(text)
		}
		return out.String()
	}
	return nil
}

// send sends content, in lines that end with LF here, in pieces.
func (f *fixture) send(t testing.TB, o Origin, content string, piece int, rcpts ...string) (string, error) {
	t.Helper()
	m, err := f.Start(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if rcpts == nil {
		rcpts = []string{"alice@example.com"}
	}
	env := &queue.Envelope{Sender: o.Sender}
	for _, r := range rcpts {
		env.Recipients = append(env.Recipients, queue.Recipient{Address: r})
	}
	for p := strings.ReplaceAll(content, "\n", "\r\n"); p != ""; {
		n := min(piece, len(p))
		m.Write([]byte(p[:n]))
		p = p[n:]
	}
	err = m.Finish(context.Background(), env)
	return strings.ReplaceAll(f.queue.body.String(), "\r\n", "\n"), err
}

func TestContent(t *testing.T) {
	local, remote := Origin{Sender: "a@example.net", Local: true}, Origin{Sender: "a@example.net"}
	added := "Message-Id: <20261102083815.ABC@mail.example.com>\nDate: Mon,  2 Nov 2026 08:38:15 +0000 (UTC)\n"
	for _, tt := range []struct {
		name, config string
		origin       Origin
		in, want     string
		log          string
		err          string
	}{
		{name: "nothing missing", origin: local, in: "Date: x\nFrom: a@b.example\nMessage-ID: <x>\n\nbody\n",
			want: "Date: x\nFrom: a@b.example\nMessage-ID: <x>\n\nbody\n", log: "ABC: message-id=<x>\n"},
		{name: "missing, local", origin: local, in: "Subject: x\n\nbody\n",
			want: "Subject: x\n" + added + "From: a@example.net\n\nbody\n", log: "ABC: message-id=<20261102083815.ABC@mail.example.com>\n"},
		{name: "missing, remote", origin: remote, in: "Subject: x\n\nbody\n", want: "Subject: x\n\nbody\n", log: "ABC: message-id=<>\n"},
		{name: "always_add_missing_headers", config: "always_add_missing_headers = yes\nundisclosed_recipients_header = To: undisclosed-recipients:;\n", origin: remote,
			in: "Subject: x\n\n", want: "Subject: x\n" + added + "From: a@example.net\nTo: undisclosed-recipients:;\n\n"},
		{name: "full name", origin: Origin{Sender: "a@example.net", FullName: "A. B.", Local: true}, in: "\n", want: added + "From: \"A. B.\" <a@example.net>\n\n"},
		{name: "obsolete From", config: "header_from_format = obsolete\n", origin: Origin{Sender: "a@example.net", FullName: "A (B)", Local: true}, in: "\n",
			want: added + "From: a@example.net (A (B))\n\n"},
		{name: "null sender", origin: Origin{Local: true}, in: "", want: added + "From: MAILER-DAEMON\n"},
		{name: "long queue ids", config: "enable_long_queue_ids = yes\n", origin: local, in: "Date: x\nFrom: a@b.example\n\n",
			want: "Date: x\nFrom: a@b.example\nMessage-Id: <ABC@mail.example.com>\n\n"},
		{name: "no header", origin: remote, in: "body: no\nbody is this\n", want: "body: no\n\nbody is this\n"},
		{name: "dropped", origin: remote, in: "Bcc: x\n y\nX: y\nRETURN-PATH: z\nContent-length : 3\n\nbody\n", want: "X: y\n\nbody\n"},
		{name: "folded message id", origin: remote, in: "Message-Id:\n <x@y>\n\n", want: "Message-Id:\n <x@y>\n\n", log: "ABC: message-id=<x@y>\n"},
		{name: "resent", origin: local, in: "Resent-To: x@y.example\nMessage-Id: <x>\n\n",
			want: "Resent-To: x@y.example\nMessage-Id: <x>\nResent-" + strings.ReplaceAll(added, "\nDate", "\nResent-Date") + "Resent-From: a@example.net\n\n"},
		{name: "stray CR", origin: remote, in: "Subject: a\rb\n\nc\rd\r\n\re\n", want: "Subject: a b\n\nc d \n e\n"},
		{name: "stray CR kept", config: "cleanup_replace_stray_cr_lf = no\n", origin: remote, in: "\nc\rd\n", want: "\nc\rd\n"},
		{name: "header limit", config: "header_size_limit = 20\n", origin: remote, in: "Subject: 0123456789012345\nX: y\n more text\n even more\nY: z\n\nbody\n",
			want: "Subject: 01234567890\nX: y\n more text\n eve\nY: z\n\nbody\n"},
		{name: "hop count", config: "hopcount_limit = 2\n", origin: remote, in: "Received: a\nreceived: b\n\n", err: "554 5.4.0 Error: too many hops",
			log: "warning: ABC: message rejected: hopcount exceeded\n"},
		{name: "hops below", config: "hopcount_limit = 3\n", origin: remote, in: "Received: a\nreceived: b\n\n", want: "Received: a\nreceived: b\n\n"},
		{name: "last line open", origin: remote, in: "Subject: x", want: "Subject: x\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for piece := 1; piece < len(tt.in)+9; piece += 4 {
				f := newFixture(t, tt.config)
				got, err := f.send(t, tt.origin, tt.in, piece)
				if tt.err != "" {
					if err == nil || err.Error() != tt.err || !f.queue.aborted {
						t.Fatalf("pieces of %d: error %v, want %s", piece, err, tt.err)
					}
				} else if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
					t.Fatalf("pieces of %d: %v\n%s", piece, err, diff)
				}
				if tt.log != "" && f.log() != tt.log {
					t.Errorf("log: %q, want %q", f.log(), tt.log)
				}
			}
		})
	}
}

func TestEnvelope(t *testing.T) {
	const aliases = "virtual_alias_maps = inline:{{a@v.example=b@v.example c@example.com},{b@v.example=a@v.example,d@remote.example}," +
		"{self@v.example=Self@v.example,x@example.com},{bare@v.example=alice},{@dom.example=@other.example},{ext@v.example=e@example.com}," +
		"{quoted@v.example=\"a b\"@example.com},{loop@v.example=loop+x@v.example}}\n"
	for _, tt := range []struct {
		name, config string
		in, want     []string
	}{
		{"as given", "", []string{"alice", "bob@x.example"}, []string{"alice@example.com", "bob@x.example"}},
		{"self", aliases, []string{"self@v.example"}, []string{"Self@v.example", "x@example.com"}},
		{"recursion", aliases, []string{"a@v.example"}, nil},
		{"myorigin", aliases, []string{"bare@v.example"}, []string{"alice@example.com"}},
		{"domain", aliases, []string{"u@dom.example"}, []string{"u@other.example"}},
		{"extension", aliases, []string{"ext+y@v.example"}, []string{"e+y@example.com"}},
		{"not propagated", aliases + "propagate_unmatched_extensions =\n", []string{"ext+y@v.example"}, []string{"e@example.com"}},
		{"quoted", aliases, []string{"quoted@v.example"}, []string{"a b@example.com"}},
		{"duplicates", "enable_original_recipient = no\n", []string{"x@y.example", "X@Y.example"}, []string{"x@y.example"}},
		{"growing", aliases, []string{"loop@v.example"}, nil},
		{"table down", "virtual_alias_maps = fail:now\n", []string{"x@y.example"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, tt.config)
			_, err := f.send(t, Origin{Sender: "mailer-daemon"}, "\n", 9, tt.in...)
			if tt.want == nil {
				var reply smtp.Reply
				if want := "451 4." + map[bool]string{true: "3.0 Error: queue file write error", false: "6.0 Alias expansion error"}[tt.name == "table down"]; !errors.As(err, &reply) || reply.Error() != want {
					t.Fatalf("error %v", err)
				}
				if !strings.Contains(f.log(), "-- message not accepted, try again later") {
					t.Errorf("log: %s", f.log())
				}
				return
			}
			var got []string
			for _, r := range f.queue.env.Recipients {
				got = append(got, r.Address)
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
			if f.queue.env.Sender != "" || f.queue.env.Recipients[0].Original != tt.in[0] || f.queue.env.RewriteContext != "remote" {
				t.Errorf("envelope %+v", f.queue.env)
			}
		})
	}
}

func TestQueueErrors(t *testing.T) {
	f := newFixture(t, "")
	f.queue.err = queue.ErrNoSpace
	if _, err := f.send(t, Origin{}, "\n", 9); err == nil || err.Error() != "452 4.3.1 Error: insufficient system storage" {
		t.Errorf("full: %v", err)
	}
}

// FuzzContent compares content that comes at once with the same in pieces.
func FuzzContent(f *testing.F) {
	for _, s := range []string{
		"Subject: x\n\nbody\n", "To: alice, (c) bob;\nX : y\n z\n", "a\rb: c\n", "\n", ": x\n", " x\n", "Bcc: x\n y\n\nz",
		"To: \"open, <x@\n", "Cc: g: a, b;, c <d>\n\n", "Resent-From: <@a,@b:c@d>\nMessage-Id:\n",
	} {
		f.Add(s, uint8(1))
	}
	fix := newFixture(f, "header_size_limit = 50\n")
	f.Fuzz(func(t *testing.T, in string, piece uint8) {
		in = strings.ReplaceAll(in, "\r\n", "\n")
		origin := Origin{Sender: "s@example.net", Local: piece%2 == 0}
		fix.queue = new(testQueue)
		want, wantErr := fix.send(t, origin, in, len(in)+1)
		fix.queue = new(testQueue)
		got, err := fix.send(t, origin, in, int(piece)%9+1)
		if (err == nil) != (wantErr == nil) || got != want {
			t.Errorf("at once %q, %v; in pieces %q, %v", want, wantErr, got, err)
		}
		if strings.Count(want, "\r") > 0 && !strings.Contains(in, "\r") {
			t.Errorf("stray CR in %q", want)
		}
	})
}

func BenchmarkMessage(b *testing.B) {
	f := newFixture(b, "")
	content := []byte("Received: from a.example (a.example [192.0.2.1])\r\n\tby mail.example.com (Postfix) with ESMTP id ABC\r\n\tfor <alice@example.com>; Mon, 2 Nov 2026 08:38:15 +0000 (UTC)\r\n" +
		"From: Some One <one@remote.example>\r\nTo: alice@example.com\r\nSubject: a message\r\nMessage-Id: <x@remote.example>\r\nDate: Mon, 2 Nov 2026 08:38:15 +0000\r\n" +
		"Content-Type: text/plain\r\n\r\n" + strings.Repeat("This is a line of text in the body of the message, of a usual length.\r\n", 140))
	b.ReportAllocs()
	for b.Loop() {
		f.queue.body.Reset()
		m, err := f.Start(context.Background(), Origin{Sender: "one@remote.example"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := m.Write(content); err != nil {
			b.Fatal(err)
		}
		env := &queue.Envelope{Sender: "one@remote.example", Recipients: []queue.Recipient{{Address: "alice@example.com", Original: "alice@example.com"}}}
		if err := m.Finish(context.Background(), env); err != nil {
			b.Fatal(err)
		}
	}
}

package bounce

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

var errDisk = errors.New("disk on fire")

// A fixture is a Bouncer whose notifications fail as told.
type fixture struct {
	*Bouncer
	m     *queue.Message
	fails map[string]error // by step: "start", "write", "commit of RECIPIENT"
	sent  []string         // recipients of what was queued
	text  string           // of the last one
}

// output takes one notification.
type output struct {
	*queue.Writer
	f    *fixture
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	if err := o.f.fails["write"]; err != nil {
		return 0, err
	}
	return o.text.Write(p)
}

func (o *output) Commit(_ context.Context, env *queue.Envelope) error {
	o.Abort()
	to := env.Recipients[0].Address
	if err := o.f.fails["commit of "+to]; err != nil {
		return err
	}
	o.f.sent = append(o.f.sent, to)
	o.f.text = o.text.String()
	return nil
}

func newFixture(t *testing.T, config string, m queue.Envelope) *fixture {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), "compatibility_level = 3.6\nmyhostname = mail.example.test\nmyorigin = example.test\n"+
		"mydestination =\ninet_interfaces = 127.0.0.1\n"+config)
	if err != nil {
		t.Fatal(err)
	}
	open, err := resolve.NewOpener(main, table.Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := resolve.New(main, open, nil)
	if err != nil {
		t.Fatal(err)
	}
	store, err := queue.Open(t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f := &fixture{fails: make(map[string]error)}
	store.OnArrival(func(m *queue.Message) { f.m = m })
	w, err := store.NewMessage(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("Subject: it\r\n\r\nbody\r\n")); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	for i := range f.m.Outcomes {
		f.m.Outcomes[i] = queue.Outcome{State: queue.Failed, Action: "failed", DSN: "5.1.1", Text: "no\r\nX-Injected: such\x00user"}
	}
	cl, err := cleanup.New(cleanup.Config{Main: main, Resolver: res, Queue: func(now time.Time) (cleanup.Writer, error) {
		if err := f.fails["start"]; err != nil {
			return nil, err
		}
		w, err := store.NewMessage(now)
		return &output{Writer: w, f: f}, err
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.Bouncer, err = New(Config{Main: main, Store: store, Cleanup: cl})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func envelope(sender string, recipients ...queue.Recipient) queue.Envelope {
	return queue.Envelope{Sender: sender, Recipients: recipients}
}

var (
	plain = queue.Recipient{Address: "a@remote.test", Original: "a@remote.test"}
	never = queue.Recipient{Address: "n@remote.test", Notify: queue.NotifyNever}
)

// Whatever fails is tried again, and nobody is told twice for it.
func TestFailuresAreTemporary(t *testing.T) {
	const all = "notify_classes = bounce, 2bounce, delay\n"
	for _, c := range []struct {
		name, config, sender string
		fails                string
		wantErr              bool
		sent                 []string // before the repetition succeeds
	}{
		{"no queue file", "", "s@origin.test", "start", true, nil},
		{"write error", "", "s@origin.test", "write", true, nil},
		{"commit error", "", "s@origin.test", "commit of s@origin.test", true, nil},
		{"commit error, with copies", all, "s@origin.test", "commit of s@origin.test", true, nil},
		{"copy fails", all, "s@origin.test", "commit of postmaster@example.test", false, []string{"s@origin.test"}},
		{"double bounce fails", all, "", "commit of postmaster@example.test", true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.config, envelope(c.sender, plain))
			f.fails[c.fails] = errDisk
			err := f.Failure(t.Context(), f.m, []int{0})
			if (err != nil) != c.wantErr {
				t.Errorf("Failure: %v, want error: %v", err, c.wantErr)
			}
			if diff := cmp.Diff(c.sent, f.sent); diff != "" {
				t.Errorf("sent (-want +got):\n%s", diff)
			}
			if !c.wantErr {
				return
			}
			clear(f.fails)
			if err := f.Failure(t.Context(), f.m, []int{0}); err != nil || len(f.sent) == 0 {
				t.Errorf("again: %v, sent %q", err, f.sent)
			}
		})
	}
}

func TestWhoIsTold(t *testing.T) {
	for _, c := range []struct {
		name, config string
		m            queue.Envelope
		want         []string
	}{
		{"sender", "", envelope("s@origin.test", plain), []string{"s@origin.test"}},
		{"nobody asked", "", envelope("s@origin.test", never), nil},
		{"nobody asked, postmaster wants to know", "notify_classes = bounce\n", envelope("s@origin.test", never), []string{"postmaster@example.test"}},
		{"null sender", "", envelope("", plain), nil},
		{"null sender, double bounce", "notify_classes = 2bounce\n", envelope("", plain), []string{"postmaster@example.test"}},
		{"double bounce comes back", "notify_classes = 2bounce\n", envelope("double-bounce@mail.example.test", plain), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, c.config, c.m)
			if err := f.Failure(t.Context(), f.m, []int{0}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, f.sent); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What a server replies cannot become a line of its own.
func TestRepliesAreText(t *testing.T) {
	f := newFixture(t, "", envelope("s@origin.test", plain))
	if err := f.Failure(t.Context(), f.m, []int{0}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(f.text, "\nX-Injected") || strings.ContainsRune(f.text, 0) || !strings.Contains(f.text, "no??X-Injected: such?user") {
		t.Errorf("notification:\n%s", f.text)
	}
}

func TestFolded(t *testing.T) {
	word := strings.Repeat("x", 100)
	for _, c := range []struct {
		name, in, want string
	}{
		{"empty", "", "\n"},
		{"short", "a b c", "a b c\n"},
		{"79", strings.Repeat("a", 77) + " b", strings.Repeat("a", 77) + " b\n"},
		{"80", strings.Repeat("a", 78) + " b", strings.Repeat("a", 78) + "\n    b\n"},
		{"one long word", word, word + "\n"},
		{"long word first", word + " b c", word + "\n    b c\n"},
		{"long word between", "a " + word + " b", "a\n    " + word + "\n    b\n"},
		{"long words", word + " " + word, word + "\n    " + word + "\n"},
		{"blanks at the break and the end", strings.Repeat("a", 79) + "   b   ", strings.Repeat("a", 79) + "\n    b\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var r report
			r.folded(c.in)
			if got := strings.ReplaceAll(r.buf.String(), "\r\n", "\n"); got != c.want {
				t.Errorf("%q\ngives %q\nwant  %q", c.in, got, c.want)
			}
		})
	}
}

// The header ends where it does, however the content comes.
func TestHeaderOnly(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"usual", "A: b\r\nC: d\r\n\r\nbody\r\n\r\nmore\r\n", "A: b\r\nC: d\r\n"},
		{"no body", "A: b\r\n", "A: b\r\n"},
		{"no header", "\r\nbody\r\n", ""},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for size := 1; size <= len(c.in)+1; size++ {
				var out bytes.Buffer
				h := &headerOnly{w: &out}
				for in := []byte(c.in); len(in) > 0; {
					n := min(size, len(in))
					if _, err := h.Write(in[:n]); err != nil {
						t.Fatal(err)
					}
					in = in[n:]
				}
				if got := out.String(); got != c.want {
					t.Errorf("in pieces of %d: %q, want %q", size, got, c.want)
				}
			}
		})
	}
}

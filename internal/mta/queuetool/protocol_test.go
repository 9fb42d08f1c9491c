package queuetool

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// calls is a Scheduler that notes what it is told.
type calls []string

func (c *calls) Flush()                 { *c = append(*c, "flush") }
func (c *calls) FlushMessage(id string) { *c = append(*c, "message") }
func (c *calls) FlushSite(_ context.Context, site string) error {
	*c = append(*c, "site "+site)
	return nil
}
func (c *calls) Released(id string) { *c = append(*c, "released") }

// openQueue returns a queue with a message for each of some recipients.
func openQueue(t testing.TB, recipients ...string) *queue.Store {
	t.Helper()
	store, err := queue.Open(t.TempDir(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	store.OnArrival(func(m *queue.Message) {
		for i := range m.Outcomes {
			m.Outcomes[i].Text = "busy"
		}
		store.Defer(m, time.Now().Add(time.Hour))
	})
	for _, to := range recipients {
		w, err := store.NewMessage(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(w, "Subject: for %s\r\n\r\nbody\r\n", to)
		env := &queue.Envelope{Sender: "s@origin.test", Recipients: []queue.Recipient{{Address: to, Original: to}}}
		if err := w.Commit(t.Context(), env); err != nil {
			t.Fatal(err)
		}
	}
	return store
}

// startServer returns a client of a server of the queue.
func startServer(t *testing.T, store *queue.Store, sched Scheduler) *client {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "tools", "control"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- Serve(ctx, l, t.TempDir(), store, sched, nil, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &client{core: &postfix.Core{QueueDirectory: dir}}
}

// Over the socket and directly, the answer is the same.
func TestSocketAndDirect(t *testing.T) {
	store := openQueue(t, "a@remote.test", "b@remote.test")
	sched := new(calls)
	remote, direct := startServer(t, store, sched), &client{own: &backend{store: store}}
	for _, req := range []Request{
		{Op: "list"}, {Op: "cat", IDs: ids(store)}, {Op: "cat", IDs: []string{"NOSUCH"}}, {Op: "nonsense"},
		{Op: "expire", IDs: []string{"NOSUCH"}}, {Op: "hold", IDs: []string{all}, Queues: []string{"active"}},
	} {
		var answers [2]string
		for i, c := range []*client{remote, direct} {
			var b strings.Builder
			err := c.reach(&req, handler{
				entry:   func(e *Entry) error { fmt.Fprintln(&b, *e); return nil },
				changed: func(id, did string) { fmt.Fprintln(&b, id, did) },
				content: func(env *queue.Envelope, r io.Reader) error {
					text, err := io.ReadAll(r)
					fmt.Fprintf(&b, "%v %q %v\n", env.Recipients, text, err)
					return nil
				},
			})
			fmt.Fprintln(&b, err)
			answers[i] = b.String()
		}
		if diff := cmp.Diff(answers[0], answers[1]); diff != "" {
			t.Errorf("%v: socket (-), direct (+):\n%s", req, diff)
		}
	}
}

func ids(store *queue.Store) []string {
	var all []string
	for _, info := range store.List() {
		all = append(all, info.ID)
	}
	slices.Sort(all)
	return all
}

// Each change finds the messages it is for, once, and tells the scheduler.
func TestChanges(t *testing.T) {
	store := openQueue(t, "a@remote.test", "b@remote.test", "c@remote.test")
	sched := new(calls)
	c := startServer(t, store, sched)
	one := ids(store)[:1]
	for _, step := range []struct {
		req   Request
		count int
		calls calls
		left  int
	}{
		{Request{Op: "hold", IDs: one}, 1, nil, 3},
		{Request{Op: "hold", IDs: one}, 0, nil, 3},
		{Request{Op: "expire", IDs: []string{all}}, 3, nil, 3},
		{Request{Op: "expire", IDs: []string{all}}, 0, nil, 3},
		{Request{Op: "release", IDs: []string{all}}, 1, calls{"released"}, 3},
		{Request{Op: "requeue", IDs: []string{all}, Queues: []string{"hold"}}, 0, nil, 3},
		{Request{Op: "requeue", IDs: []string{all}}, 3, calls{"message", "message", "message"}, 3},
		{Request{Op: "flush"}, 0, calls{"flush"}, 3},
		{Request{Op: "flush-site", Site: "remote.test"}, 0, calls{"site remote.test"}, 3},
		{Request{Op: "delete", IDs: append(one, "NOSUCH")}, 1, nil, 2},
		{Request{Op: "delete", IDs: []string{all}}, 2, nil, 0},
	} {
		*sched = nil
		count := 0
		if err := c.ask(&step.req, handler{changed: func(string, string) { count++ }}); err != nil {
			t.Errorf("%v: %v", step.req, err)
		}
		if count != step.count || !slices.Equal(*sched, step.calls) || store.Len() != step.left {
			t.Errorf("%v: %d changed, calls %v, %d left; want %d, %v, %d", step.req, count, *sched, store.Len(), step.count, step.calls, step.left)
		}
	}
}

// Who merely can connect lists and flushes, no more.
func TestOthersChangeNothing(t *testing.T) {
	store := openQueue(t, "a@remote.test")
	b := &backend{store: store, sched: new(calls)}
	for name, op := range ops {
		req := &Request{Op: name, IDs: []string{all}}
		if name == "cat" {
			req.IDs = ids(store)
		}
		var out bytes.Buffer
		err := b.do(req, newStream(&out, nil), who{uid: 65534})
		if allowed := strings.HasPrefix(name, "flush") || name == "list"; (err == nil) != allowed || (op.may < reading) != allowed {
			t.Errorf("%s: %v", name, err)
		}
	}
	if store.Len() != 1 {
		t.Error("the message is gone")
	}
}

// Recipients without a reason come first, then those with the same together.
func TestEntryGroupsReasons(t *testing.T) {
	m := &queue.Message{
		Envelope: queue.Envelope{Recipients: []queue.Recipient{{Address: "a"}, {Address: "b"}, {Address: "c"}, {Address: "d"}, {Address: "e f@x"}}},
		Outcomes: []queue.Outcome{{Text: "one"}, {Text: "two"}, {Text: "one"}, {State: queue.Done}, {}},
	}
	got := newEntry(&queue.Info{ID: "ABC"}, m)
	want := &Entry{Queue: "active", ID: "ABC", Arrival: time.Time{}.Unix(), Sender: "MAILER-DAEMON",
		Recipients: []Recipient{{`"e f"@x`, ""}, {"a", "one"}, {"c", "one"}, {"b", "two"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A request is anything that can connect writes.
func FuzzRequest(f *testing.F) {
	for name := range ops {
		line, err := json.Marshal(Request{Op: name, IDs: []string{all, "NOSUCH"}, Queues: []string{"hold"}, Site: "example.test"})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Add([]byte(`{"op":"list"`))
	f.Add([]byte(`[]`))
	store := openQueue(f, "a@remote.test")
	f.Fuzz(func(t *testing.T, request []byte) {
		b := &backend{store: store, sched: new(calls)}
		var out bytes.Buffer
		s := newStream(&out, nil)
		b.answer(bytes.NewReader(request), s, who{uid: 65534}) //nolint:errcheck // nearly all are bad
		s.w.Flush()
		if store.Len() != 1 {
			t.Errorf("%q removed a message", request)
		}
		s.enc.Encode(answer{Done: true})
		s.w.Flush()
		if err := readAnswer(bufio.NewReader(&out), discard); err != nil {
			t.Errorf("answer to %q: %v", request, err)
		}
	})
}

// discard is a handler that takes everything.
var discard = handler{
	entry:   func(*Entry) error { return nil },
	changed: func(string, string) {},
	content: func(*queue.Envelope, io.Reader) error { return nil },
}

// An answer that is cut off or wrong is an error, and what is shown of a good one
// can be shown.
func FuzzAnswer(f *testing.F) {
	for _, lines := range []string{
		`{"queue_name":"deferred","queue_id":"ABC","arrival_time":1,"message_size":2,"sender":"a","recipients":[{"address":"b","delay_reason":"c"}]}` + "\n" + `{"done":true}` + "\n",
		`{"changed":"ABC","did":"removed"}` + "\n" + `{"done":true,"error":"oh"}` + "\n",
		`{"queue_name":"hold","queue_id":"ABC"}` + "\n" + `{"Sender":"a","Recipients":[{"Address":"b"}]}` + "\n" + `{"content":9}` + "\nA: b\r\n\r\nc" + `{"done":true}` + "\n",
		`{"content":9}` + "\n", `{"content":-1}` + "\n",
	} {
		f.Add([]byte(lines))
	}
	f.Fuzz(func(t *testing.T, lines []byte) {
		text := lister{w: bufio.NewWriter(io.Discard)}
		object := lister{w: bufio.NewWriter(io.Discard)}
		var last *Entry
		readAnswer(bufio.NewReader(bytes.NewReader(lines)), handler{ //nolint:errcheck // nearly all are bad
			changed: func(string, string) {},
			entry: func(e *Entry) error {
				last = e
				if err := object.json(e); err != nil {
					return err
				}
				if !json.Valid(object.line) {
					t.Errorf("postqueue -j: %s", object.line)
				}
				return text.text(e)
			},
			content: func(env *queue.Envelope, r io.Reader) error {
				return (&view{parts: parts{true, true, true}, w: text.w, warn: func(string, ...any) {}}).show(last, env, r)
			},
		})
	})
}

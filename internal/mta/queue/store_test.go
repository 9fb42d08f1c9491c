package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// small are limits that make segments fill and roll within a test.
var small = limits{
	segment: 64 << 10,
	inline:  8 << 10,
	batch:   16 << 10,
	cache:   32 << 10,
	reserve: 4 << 10,
	spares:  2,
	slack:   128 << 10,
}

func openTest(t testing.TB, dir string, lim limits) *Store {
	t.Helper()
	d, err := openDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := open(d, nil, lim, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.closers = append(s.closers, d.close)
	return s
}

func envelope(rcpts ...string) *Envelope {
	env := &Envelope{Sender: "sender@example.com"}
	for _, r := range rcpts {
		env.Recipients = append(env.Recipients, Recipient{Address: r, Original: r})
	}
	return env
}

func mustCommit(t testing.TB, s *Store, env *Envelope, content string) string {
	t.Helper()
	id, err := commitMessage(s, env, content)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func commitMessage(s *Store, env *Envelope, content string) (string, error) {
	w, err := s.NewMessage(time.Now())
	if err != nil {
		return "", err
	}
	if _, err := io.WriteString(w, content); err != nil {
		w.Abort()
		return "", err
	}
	return w.ID(), w.Commit(context.Background(), env)
}

func mustLoad(t testing.TB, s *Store, id string) *Message {
	t.Helper()
	m, err := s.Load(id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func contentOf(t testing.TB, s *Store, m *Message) string {
	t.Helper()
	c, err := s.Content(m)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c.NewReader())
	if err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	if _, err := c.WriteTo(&w); err != nil || !bytes.Equal(b, w.Bytes()) {
		t.Fatalf("WriteTo and NewReader differ (%v)", err)
	}
	return string(b)
}

func text(n int) string { return strings.Repeat("0123456789abcde\n", n/16+1)[:n] }

func TestMessageSurvives(t *testing.T) {
	full := &Envelope{
		Sender: "s@example.com", FullName: "S. Ender", Encoding: "8bit", SMTPUTF8: true, Ret: RetHeaders,
		EnvID: "env=1", Client: Client{"c.example.com", "192.0.2.1", "2525", "ESMTP", "helo"},
		SASL: SASL{"PLAIN", "user", "sub@example.com"}, RewriteContext: "remote", VERP: "+=",
		Filter: "smtp:[127.0.0.1]", Redirect: "r@example.com", Verify: true,
		Arrival: time.UnixMicro(1795341731023087),
		Recipients: []Recipient{
			{Address: "a@example.com", Original: "alias@example.com", DSNOrcpt: "rfc822;alias@example.com", Notify: NotifySuccess | NotifyDelay},
			{Address: "b@example.com", Original: "b@example.com", Notify: NotifyNever},
		},
	}
	tests := []struct {
		name    string
		env     *Envelope
		content string
	}{
		{"all fields", full, "Subject: x\r\n\r\nbody\r\n"},
		{"empty content", envelope("a@example.com"), ""},
		{"null sender", &Envelope{Recipients: []Recipient{{Address: "a@b", Original: "a@b"}}, Arrival: time.UnixMicro(1)}, "x\r\n"},
		{"several buffers", envelope("a@example.com"), text(7 << 10)},
		{"file of its own", envelope("a@example.com"), text(100 << 10)},
		{"exactly the bound", envelope("a@example.com"), text(8 << 10)},
		{"no recipients", envelope(), "x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openTest(t, dir, small)
			want := *tt.env
			id := mustCommit(t, s, tt.env, tt.content)
			if want.Arrival.IsZero() {
				want.Arrival = time.UnixMicro(s.index[id].arrival)
			}
			for range 2 {
				m := mustLoad(t, s, id)
				if diff := cmp.Diff(want, m.Envelope, cmpopts.EquateEmpty()); diff != "" {
					t.Error(diff)
				}
				if m.Size != int64(len(tt.content)) {
					t.Errorf("size %d, want %d", m.Size, len(tt.content))
				}
				if got := contentOf(t, s, m); got != tt.content {
					t.Errorf("content differs: %d bytes, want %d", len(got), len(tt.content))
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = openTest(t, dir, small)
			}
			s.Close()
		})
	}
}

func TestOutcomesSurvive(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, small)
	id := mustCommit(t, s, envelope("a@x", "b@x", "c@x", "d@x"), "x\r\n")
	m := mustLoad(t, s, id)
	s.Activate(m)
	m.Outcomes[0] = Outcome{State: Done}
	s.Record(m, 0)
	m.Outcomes[1] = Outcome{State: Failed, Action: "failed", DSN: "5.1.1", Text: "unknown", RemoteMTA: "dns; h", RemoteCode: "smtp; 550"}
	m.Outcomes[2] = Outcome{Action: "delayed", DSN: "4.4.1", Text: "later"}
	m.Outcomes[3] = m.Outcomes[2]
	s.Record(m, 1, 2)
	want := append([]Outcome(nil), m.Outcomes...)

	check := func(step string) {
		t.Helper()
		s.Close()
		s = openTest(t, dir, small)
		got := mustLoad(t, s, id)
		if diff := cmp.Diff(want, got.Outcomes); diff != "" {
			t.Errorf("%s: %s", step, diff)
		}
		m = got
	}
	want[3] = Outcome{} // was not recorded
	check("recorded")
	m.Outcomes[3] = m.Outcomes[2]
	want[3] = want[2]
	m.Warned = true
	next := time.Unix(1800000000, 0)
	s.Defer(m, next)
	check("deferred")
	if !m.Warned || !m.Next.Equal(next) {
		t.Errorf("warned %v next %v", m.Warned, m.Next)
	}
	m.Outcomes[2] = Outcome{State: Done}
	want[2] = m.Outcomes[2]
	s.Record(m, 2)
	check("recorded after defer")
	if err := s.Hold(id); err != nil {
		t.Fatal(err)
	}
	if err := s.Expire(id); err != nil {
		t.Fatal(err)
	}
	check("held")
	if inf, _ := s.Lookup(id); inf.Queue != Held || !inf.Expired {
		t.Errorf("info %+v", inf)
	}
	if s.Activate(m) {
		t.Error("a held message was activated")
	}
	if err := s.Release(id); err != nil {
		t.Fatal(err)
	}
	check("released")
	if inf, _ := s.Lookup(id); inf.Queue != Waiting {
		t.Errorf("queue %v", inf.Queue)
	}
	s.Remove(m)
	s.Close()
	s = openTest(t, dir, small)
	if s.Len() != 0 {
		t.Error("a removed message came back")
	}
	s.Close()
}

func TestArrival(t *testing.T) {
	s := openTest(t, t.TempDir(), small)
	defer s.Close()
	var got []string
	s.OnArrival(func(m *Message) { got = append(got, m.ID) })
	id := mustCommit(t, s, envelope("a@x"), "x")
	held := envelope("a@x")
	held.Hold = true
	heldID := mustCommit(t, s, held, "x")
	if diff := cmp.Diff([]string{id}, got); diff != "" {
		t.Error(diff)
	}
	if inf, _ := s.Lookup(heldID); inf.Queue != Held {
		t.Errorf("queue %v, want hold", inf.Queue)
	}
}

// TestSegmentsAreUsedAgain sends many messages through a small store, some of
// which stay, and looks at the space that is taken.
func TestSegmentsAreUsedAgain(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, small)
	keep := make(map[string]string)
	for i := range 2000 {
		content := text(1000 + i%3000)
		id := mustCommit(t, s, envelope("a@x"), content)
		m := mustLoad(t, s, id)
		if i%50 == 0 {
			s.Defer(m, time.Unix(1, 0))
			keep[id] = content
			continue
		}
		s.Remove(m)
	}
	spacious := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		var size, live int64
		for _, seg := range s.segments {
			size += seg.size
			live += seg.live
		}
		return size > 2*live+small.slack+4*small.segment
	}
	check := func() {
		t.Helper()
		if s.Len() != len(keep) {
			t.Errorf("%d messages, want %d", s.Len(), len(keep))
		}
		for id, content := range keep {
			if got := contentOf(t, s, mustLoad(t, s, id)); got != content {
				t.Errorf("%s: content differs", id)
			}
		}
		for deadline := time.Now().Add(60 * time.Second); spacious(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the segments take too much space")
			}
		}
	}
	check()
	s.Close()
	s = openTest(t, dir, small)
	check()
	for id := range keep {
		if err := s.Delete(id); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = openTest(t, dir, small)
	if s.Len() != 0 {
		t.Errorf("%d messages came back", s.Len())
	}
	s.Close()
}

func TestCloseWakesNobodyTwice(t *testing.T) {
	s := openTest(t, t.TempDir(), small)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != ErrClosed {
		t.Errorf("second Close: %v", err)
	}
	if _, err := s.NewMessage(time.Now()); err != ErrClosed {
		t.Errorf("NewMessage: %v", err)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil, nil); err == nil || !strings.Contains(err.Error(), ErrLocked.Error()) {
		t.Errorf("second Open: %v", err)
	}
	s.Close()
	if s, err = Open(dir, nil, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func TestConcurrentUse(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, small)
	kept := make([][]string, 16)
	var wg sync.WaitGroup
	for i := range kept {
		wg.Go(func() {
			for j := range 100 {
				id, err := commitMessage(s, envelope("a@x"), text(500+j*10))
				if err != nil {
					t.Error(err)
					return
				}
				m, err := s.Load(id)
				if err != nil {
					t.Error(err)
					return
				}
				if c, err := s.Content(m); err != nil || c.Size() != int64(500+j*10) {
					t.Errorf("%s: %v", id, err)
				} else {
					c.Close()
				}
				if j%10 == 0 {
					s.Defer(m, time.Unix(1, 0))
					kept[i] = append(kept[i], id)
				} else {
					s.Remove(m)
				}
			}
		})
	}
	wg.Wait()
	s.Close()
	s = openTest(t, dir, small)
	defer s.Close()
	n := 0
	for _, ids := range kept {
		for _, id := range ids {
			mustLoad(t, s, id)
			n++
		}
	}
	if s.Len() != n {
		t.Errorf("%d messages, want %d", s.Len(), n)
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 50} {
		b.Run(fmt.Sprintf("10KB-%d", writers), func(b *testing.B) {
			s := openTest(b, b.TempDir(), defaultLimits)
			defer s.Close()
			content := []byte(text(10 << 10))
			ch := make(chan *Message, 1000)
			s.OnArrival(func(m *Message) { ch <- m })
			var drain sync.WaitGroup
			drain.Go(func() {
				for m := range ch {
					s.Remove(m)
				}
			})
			b.SetBytes(int64(len(content)))
			b.ReportAllocs()
			jobs := make(chan struct{}, writers)
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					env := envelope("rcpt@example.com")
					for range jobs {
						w, err := s.NewMessage(time.Now())
						if err != nil {
							b.Error(err)
							return
						}
						w.Write(content)
						if err := w.Commit(context.Background(), env); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			for b.Loop() {
				jobs <- struct{}{}
			}
			close(jobs)
			wg.Wait()
			close(ch)
			drain.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commits/s")
		})
	}
}

package queue

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestImport(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, small)
	past := &Past{
		Outcomes: []Outcome{
			{State: Done},
			{Action: "delayed", DSN: "4.4.1", Text: "refused", RemoteMTA: "dns; x", RemoteCode: "smtp; 450 no"},
			{State: Failed, Action: "failed", DSN: "5.1.1", Text: "unknown"},
		},
		Queued: time.UnixMicro(1795341731000001), Next: time.Unix(1795349999, 0), Warned: true, Expired: true,
	}
	cancel := s.OnArrival(func(*Message) { t.Error("announced") })
	const id = "8EB89A1C754"
	env := envelope("a@b", "c@d", "e@f")
	env.Arrival = time.UnixMicro(1795341731023087)
	w, err := s.NewImport(id)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "x\r\n")
	if err := w.CommitPast(context.Background(), env, past); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := s.NewImport(id); !errors.Is(err, ErrExists) {
		t.Errorf("a second import with the ID: %v", err)
	}
	for range 3 {
		m := mustLoad(t, s, id)
		if diff := cmp.Diff(past.Outcomes, m.Outcomes); diff != "" {
			t.Errorf("outcomes (-want +got):\n%s", diff)
		}
		if !m.Queued.Equal(past.Queued) || !m.Next.Equal(past.Next) || !m.Warned || !m.Expired || !m.Arrival.Equal(env.Arrival) {
			t.Errorf("queued %v, next %v, warned %v, expired %v", m.Queued, m.Next, m.Warned, m.Expired)
		}
		if inf, _ := s.Lookup(id); inf.Queue != Waiting {
			t.Errorf("in the queue %v", inf.Queue)
		}
		// The log moves on under it.
		for range 200 {
			s.Delete(mustCommit(t, s, envelope("x@y"), text(1000)))
		}
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, dir, small)
	}
	s.Close()
}

func TestImportHeld(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, dir, small)
	env := envelope("a@b")
	env.Hold = true
	w, err := s.NewImport("4jXPkW0BzCz1XvGv")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.CommitPast(context.Background(), env, &Past{}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openTest(t, dir, small)
	defer s.Close()
	if inf, ok := s.Lookup("4jXPkW0BzCz1XvGv"); !ok || inf.Queue != Held {
		t.Errorf("%v %v, not on hold", inf, ok)
	}
}

// TestImportTorn opens the queue as it is after each write of an import: the
// message is there with its past, or not at all.
func TestImportTorn(t *testing.T) {
	past := &Past{Outcomes: []Outcome{{State: Done}, {}}, Warned: true}
	found := 0
	d := newMemDisk()
	s, err := open(d, nil, small, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := s.NewImport("8EB89A1C754")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "x\r\n")
	if err := w.CommitPast(context.Background(), envelope("a@b", "c@d"), past); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for n := range d.count() + 1 {
		s, err := open(d.at(n, nil), nil, small, nil)
		if err != nil {
			t.Fatalf("after %d writes: %v", n, err)
		}
		if s.Len() > 0 {
			found++
			if m := mustLoad(t, s, "8EB89A1C754"); m.Outcomes[0].State != Done || !m.Warned {
				t.Errorf("after %d writes: %+v", n, m)
			}
		}
		s.Close()
	}
	if found == 0 {
		t.Error("never found")
	}
}

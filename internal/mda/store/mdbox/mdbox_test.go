package mdbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

var ctx = context.Background()

// A bin is a mailbox that keeps map uids.
type bin struct {
	mu     sync.Mutex
	uids   []uint32
	groups int
	fail   error
}

func (b *bin) Add(_ context.Context, list []*Append, ready Ready) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.groups++
	var err error
	if ready != nil {
		_, err = ready()
	}
	for _, a := range list {
		if a.Err = cmp.Or(b.fail, err); a.Err != nil {
			continue
		}
		for i := range a.Messages {
			b.uids = append(b.uids, a.Messages[i].MapUID)
		}
	}
}

func openStorage(tb testing.TB, opt Options) *Storage {
	tb.Helper()
	if opt.Dir == "" {
		opt.Dir = filepath.Join(tb.TempDir(), "storage")
	}
	s, err := Open(ctx, opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if s.ix != nil {
			s.Close()
		}
	})
	return s
}

func store(tb testing.TB, s *Storage, b *bin, text string) error {
	tb.Helper()
	w := dbox.NewMessage(s.Dir())
	defer w.Abort()
	if _, err := w.Write([]byte(text)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Finish(&dbox.Fields{Received: time.Unix(1, 0), Mailbox: "INBOX"}); err != nil {
		tb.Fatal(err)
	}
	return s.Append(ctx, &Append{Mailbox: b, Messages: []Message{{Writer: w}}})
}

func read(tb testing.TB, s *Storage, uid uint32) string {
	tb.Helper()
	f, err := s.Open(ctx, uid)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, f.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) {
		tb.Fatal(err)
	}
	return string(b)
}

func refs(tb testing.TB, s *Storage, uid uint32) uint16 {
	tb.Helper()
	e, err := s.find(ctx, uid, true)
	if err != nil {
		tb.Fatal(err)
	}
	return e.refs
}

// Sessions that save at the same time share rounds.
func TestGroups(t *testing.T) {
	s, b := openStorage(t, Options{}), &bin{}
	s.mu.Lock() // until all are waiting
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			if err := store(t, s, b, fmt.Sprintf("message %d\n", n)); err != nil {
				t.Error(err)
			}
		})
	}
	waiting := func() bool {
		s.queueMu.Lock()
		defer s.queueMu.Unlock()
		return len(s.queue) == 50
	}
	for !waiting() {
		time.Sleep(time.Millisecond)
	}
	s.mu.Unlock()
	wg.Wait()
	if b.groups != 1 || len(b.uids) != 50 {
		t.Errorf("%d groups with %d messages", b.groups, len(b.uids))
	}
	texts := map[string]bool{}
	for _, uid := range b.uids {
		texts[read(t, s, uid)] = true
	}
	if len(texts) != 50 {
		t.Errorf("%d different texts", len(texts))
	}
}

// A mailbox that does not take its messages costs others nothing.
func TestMailboxFails(t *testing.T) {
	s, good, bad := openStorage(t, Options{}), &bin{}, &bin{fail: errors.New("full")}
	if err := store(t, s, good, "one\n"); err != nil {
		t.Fatal(err)
	}
	if err := store(t, s, bad, "two\n"); !errors.Is(err, bad.fail) {
		t.Errorf("got %v", err)
	}
	if err := store(t, s, good, "three\n"); err != nil {
		t.Fatal(err)
	}
	if got := refs(t, s, 2); got != 0 {
		t.Errorf("the message of the mailbox that failed has %d references", got)
	}
	if got := read(t, s, good.uids[1]); got != "three\n" {
		t.Errorf("text %q", got)
	}
}

// References are counted, and no more than Dovecot has.
func TestReferences(t *testing.T) {
	s, b := openStorage(t, Options{}), &bin{}
	if err := store(t, s, b, "text\n"); err != nil {
		t.Fatal(err)
	}
	refer := func(n int) error {
		a := &Append{Mailbox: b, Messages: make([]Message, n)}
		for i := range a.Messages {
			a.Messages[i].MapUID = 1
		}
		return s.Append(ctx, a)
	}
	if err := refer(maxRefs - 1); err != nil || refs(t, s, 1) != maxRefs {
		t.Fatalf("%d references, %v", refs(t, s, 1), err)
	}
	if err := refer(1); !errors.Is(err, ErrTooManyRefs) {
		t.Errorf("one more: %v", err)
	}
	if ok, err := s.CanShare(ctx, 1); ok || err != nil {
		t.Errorf("can be shared: %v, %v", ok, err)
	}
	if err := s.Append(ctx, &Append{Mailbox: b, Messages: []Message{{MapUID: 7}}}); !errors.Is(err, ErrExpunged) {
		t.Errorf("reference to nothing: %v", err)
	}
	for _, expunged := range []bool{false, true} {
		e, err := s.BeginExpunge(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Unref([]uint32{1, 1}); err != nil {
			t.Fatal(err)
		}
		if !s.ix.TailBehind() {
			t.Error("the log does not show that something is unfinished")
		}
		e.End(expunged)
		if s.ix.TailBehind() {
			t.Error("the log shows something unfinished")
		}
	}
	if got := refs(t, s, 1); got != maxRefs-2 {
		t.Errorf("%d references", got)
	}
}

// What was unfinished when a process died is made good by the next.
func TestUnfinishedExpunge(t *testing.T) {
	s, b := openStorage(t, Options{}), &bin{}
	if err := store(t, s, b, "text\n"); err != nil {
		t.Fatal(err)
	}
	e, err := s.BeginExpunge(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Unref([]uint32{1}); err != nil {
		t.Fatal(err)
	}
	s.ix.Abandon()
	s.mu.Unlock()
	before := s.generation()
	if err := store(t, s, b, "later\n"); err != nil {
		t.Fatal(err)
	}
	if s.generation() == before {
		t.Error("nothing was rebuilt")
	}
}

func TestSampleFile(t *testing.T) {
	f, err := os.Open("testdata/m.1")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	sound, err := scanMessages(int(f.Fd()), st.Size(), func(m *dbox.Stored) {
		got = append(got, fmt.Sprintf("%d+%d %s", m.At, m.End-m.At, m.Metadata.Get(dbox.KeyOrigMailbox)))
	})
	want := []string{"16+247 INBOX", "263+247 INBOX", "510+247 INBOX", "757+247 INBOX", "1004+461 INBOX", "1465+268 Entw&APw-rfe"}
	if err != nil || !sound || !slices.Equal(got, want) {
		t.Errorf("found %q, want %q; sound %v, %v", got, want, sound, err)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]uint32{"m.1": 1, "m.4294967295": 4294967295, "m.4294967296": 0, "m.0": 0, "m.01": 0, "m.": 0, "m.+1": 0, "m.1.broken": 0, "u.1": 0} {
		if id, ok := parseName(name); ok != (want > 0) || ok && id != want {
			t.Errorf("%s is number %d, %v", name, id, ok)
		}
	}
}

func TestRotateBegin(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 16, 17, 0, time.UTC)
	for interval, want := range map[time.Duration]string{
		0:                "0001-01-01 00:00:00",
		30 * time.Second: "2026-11-22 15:15:48",
		time.Minute:      "2026-11-22 15:16:00",
		5 * time.Minute:  "2026-11-22 15:12:00",
		time.Hour:        "2026-11-22 15:00:00",
		24 * time.Hour:   "2026-11-22 00:00:00",
		48 * time.Hour:   "2026-11-21 00:00:00",
	} {
		if got := rotateBegin(now, interval).Format(time.DateTime); got != want {
			t.Errorf("interval %v begins %s, want %s", interval, got, want)
		}
	}
}

// A file of yesterday is not appended to.
func TestRotateInterval(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)
	s, b := openStorage(t, Options{RotateInterval: 24 * time.Hour, Now: func() time.Time { return now }}), &bin{}
	for range 2 {
		if err := store(t, s, b, "text\n"); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(12 * time.Hour)
	if err := store(t, s, b, "text\n"); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.listAll(); err != nil || !slices.Equal(ids, []uint32{1, 2}) {
		t.Errorf("files %v, %v", ids, err)
	}
}

func TestStaleTemps(t *testing.T) {
	now := time.Now()
	s := openStorage(t, Options{Now: func() time.Time { return now }})
	path := filepath.Join(s.dir.Path, dbox.TempName())
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.RemoveStale(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error("removed too early")
	}
	now = now.Add(2 * dbox.StaleAge)
	if err := s.RemoveStale(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("not removed: %v", err)
	}
}

// FuzzStorage makes a storage of any bytes as m.1: nothing but complete messages is
// found in it, and messages can be appended.
func FuzzStorage(f *testing.F) {
	sample, err := os.ReadFile("testdata/m.1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sample)
	f.Add(sample[:300])
	f.Add(append(slices.Clone(sample[:263]), sample[510:]...))
	f.Add([]byte("2 M1e C1\n\x01\x02N          FFFFFFFFFFFFFFFF\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(t.TempDir(), "storage")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "m.1"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, b := openStorage(t, Options{Dir: dir}), &bin{}
		if err := s.load(ctx); err != nil {
			t.Fatal(err)
		}
		table := s.table.Load()
		for i := range table.st.Len() {
			file, err := s.Open(ctx, table.entry(i).uid)
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if _, err := file.Metadata(); err != nil {
				t.Errorf("message %d: %v", i, err)
			}
			file.Close()
		}
		if err := store(t, s, b, "text\n"); err != nil || read(t, s, b.uids[0]) != "text\n" {
			t.Errorf("append: %v", err)
		}
		if err := s.Purge(ctx); err != nil {
			t.Errorf("purge: %v", err)
		}
	})
}

// FuzzMap reads any bytes as log of the map.
func FuzzMap(f *testing.F) {
	s := openStorage(f, Options{})
	for n := range 3 {
		if err := store(f, s, &bin{}, strings.Repeat("x", n)); err != nil {
			f.Fatal(err)
		}
	}
	log, err := os.ReadFile(filepath.Join(s.dir.Path, mapName+".log"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(log)
	f.Add(log[:len(log)-20])
	message, err := os.ReadFile(filepath.Join(s.dir.Path, "m.1"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := filepath.Join(t.TempDir(), "storage")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"m.1": message, mapName + ".log": data} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s, err := Open(ctx, Options{Dir: dir})
		if err != nil {
			if !errors.Is(err, index.ErrDamaged) && !errors.Is(err, index.ErrDeleted) {
				t.Fatal(err)
			}
			return
		}
		defer s.Close()
		b := &bin{}
		if store(t, s, b, "text\n") != nil {
			return
		}
		// A map whose extensions have been reset takes no records.
		if f, err := s.Open(ctx, b.uids[0]); err == nil {
			f.Close()
			if got := read(t, s, b.uids[0]); got != "text\n" {
				t.Errorf("text %q", got)
			}
		}
		_ = s.Purge(ctx)
	})
}

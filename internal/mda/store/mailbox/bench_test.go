package mailbox

import (
	"bytes"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// BenchmarkSave saves 10 KB messages, durably. In each run every goroutine opens
// the mailbox, saves and closes it, as a delivery does.
func BenchmarkSave(b *testing.B) {
	for _, c := range []struct{ goroutines, boxes int }{{1, 1}, {20, 1}, {1, 100}, {20, 100}, {20, 1000}} {
		b.Run(fmt.Sprintf("goroutines=%d/mailboxes=%d", c.goroutines, c.boxes), func(b *testing.B) {
			benchmarkSave(b, c.goroutines, c.boxes)
		})
	}
}

func benchmarkSave(b *testing.B, goroutines, boxes int) {
	w := newWorld(b)
	benchmarkSaveTo(b, w, goroutines, boxes, func(n int) Location { return w.loc(fmt.Sprint(n)) })
}

// BenchmarkSaveMdbox is BenchmarkSave into one mailbox of each user, or several
// mailboxes of one.
func BenchmarkSaveMdbox(b *testing.B) {
	for _, c := range []struct {
		goroutines, boxes int
		users             bool
	}{{1, 1, true}, {20, 1, true}, {20, 20, false}, {1, 100, true}, {20, 100, true}, {20, 1000, true}} {
		b.Run(fmt.Sprintf("goroutines=%d/mailboxes=%d/users=%v", c.goroutines, c.boxes, c.users), func(b *testing.B) {
			w := newWorld(b)
			benchmarkSaveTo(b, w, c.goroutines, c.boxes, func(n int) Location {
				if c.users {
					return mdboxLoc(filepath.Join(w.root, fmt.Sprint(n)), "INBOX")
				}
				return mdboxLoc(w.root, fmt.Sprint(n))
			})
		})
	}
}

// BenchmarkSaveMaildir saves into Maildirs.
func BenchmarkSaveMaildir(b *testing.B) {
	for _, c := range []struct{ goroutines, boxes int }{{1, 1}, {20, 1}, {20, 100}} {
		b.Run(fmt.Sprintf("goroutines=%d/mailboxes=%d", c.goroutines, c.boxes), func(b *testing.B) {
			w := newWorld(b)
			w.format = "maildir"
			benchmarkSaveTo(b, w, c.goroutines, c.boxes, func(n int) Location { return w.loc(fmt.Sprint(n)) })
		})
	}
}

// BenchmarkSaveMbox saves into mboxes.
func BenchmarkSaveMbox(b *testing.B) {
	for _, c := range []struct{ goroutines, boxes int }{{1, 1}, {20, 1}, {20, 100}} {
		b.Run(fmt.Sprintf("goroutines=%d/mailboxes=%d", c.goroutines, c.boxes), func(b *testing.B) {
			w := newMboxWorld(b)
			benchmarkSaveTo(b, w, c.goroutines, c.boxes, func(n int) Location { return w.loc(fmt.Sprint(n)) })
		})
	}
}

func benchmarkSaveTo(b *testing.B, w *world, goroutines, boxes int, loc func(n int) Location) {
	for i := range boxes {
		if err := w.pool.Create(ctx, loc(i), &w.set, Identity{}); err != nil {
			b.Fatal(err)
		}
	}
	line := []byte("0123456789012345678901234567890123456789012345678901234567890123456789\r\n")
	msg := append([]byte("Subject: benchmark\r\n\r\n"), bytes.Repeat(line, 10240/len(line))...)
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	var n atomic.Int64
	for range goroutines {
		wg.Go(func() {
			for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
				if err := deliver(w, loc(int(i*7919%int64(boxes))), msg); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "saves/s")
}

func deliver(w *world, loc Location, msg []byte) error {
	m, err := w.pool.Open(ctx, loc, &w.set)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := m.Save(ctx, SaveOptions{})
	if err != nil {
		return err
	}
	defer s.Abort()
	if _, err := s.Write(msg); err != nil {
		return err
	}
	_, err = s.Commit(ctx)
	return err
}

// fill makes a mailbox with n messages that have no files.
func fill(tb testing.TB, w *world, name string, n int) {
	m := w.create(name)
	defer m.Close()
	err := m.b.lock(ctx, func() error {
		m.b.tx.KeepModSeq(1)
		msgs := make([]index.New, n)
		for i := range msgs {
			msgs[i] = index.New{UID: uint32(i + 1), Flags: byte(i & 8)}
		}
		m.b.tx.Append(msgs...)
		m.b.tx.Keyword(index.KeywordAdd, "$Label1", []index.Range{{First: 1, Last: uint32(n / 2)}})
		if err := m.b.commit(); err != nil {
			return err
		}
		return m.b.ix.Rewrite()
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkOpen(b *testing.B) {
	const n = 200_000
	for _, c := range []struct {
		name string
		full bool
	}{{"messages", true}, {"delivery", false}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b)
			fill(b, w, "big", n)
			b.ReportAllocs()
			for b.Loop() {
				w.restart()
				m, err := w.pool.Open(ctx, w.loc("big"), &w.set)
				if err != nil {
					b.Fatal(err)
				}
				if c.full && m.Snapshot().Len() != n {
					b.Fatal(m.Snapshot().Len())
				}
				m.Close()
			}
		})
	}
}

// BenchmarkSaveLarge saves into a mailbox of 200,000 messages that a session has
// open.
func BenchmarkSaveLarge(b *testing.B) {
	w := newWorld(b)
	w.set.Fsync = "never"
	fill(b, w, "big", 200_000)
	m := w.open("big")
	m.Snapshot()
	b.ReportAllocs()
	for b.Loop() {
		if err := deliver(w, w.loc("big"), []byte("a\r\n")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSetFlags(b *testing.B) {
	for _, n := range []int{1, 1000, 200_000} {
		b.Run(fmt.Sprintf("messages=%d", n), func(b *testing.B) {
			w := newWorld(b)
			fill(b, w, "big", 200_000)
			m := w.open("big")
			uids := make([]uint32, n)
			for i := range uids {
				uids[i] = uint32(i + 1)
			}
			b.ReportAllocs()
			op := FlagsAdd
			for b.Loop() {
				if _, err := m.SetFlags(ctx, FlagChange{UIDs: uids, Op: op, Flags: Flagged, UnchangedSince: Unconditional}); err != nil {
					b.Fatal(err)
				}
				op ^= FlagsRemove
			}
		})
	}
}

func BenchmarkSync(b *testing.B) {
	w := newWorld(b)
	fill(b, w, "big", 200_000)
	m := w.open("big")
	m.Snapshot()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Sync(ctx); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSaveReopened saves into an mdbox whose last file is nearly full of small messages, and
// that is opened anew each time, as for a user who gets mail now and then.
func BenchmarkSaveReopened(b *testing.B) {
	w := newWorld(b)
	w.format, w.set.Fsync = "mdbox", "never"
	m := w.create("A")
	text := bytes.Repeat([]byte("0123456789abcde\n"), 64)
	for range 4000 {
		s, err := m.Save(ctx, SaveOptions{})
		if err != nil {
			b.Fatal(err)
		}
		s.Write(text) //nolint:errcheck // Commit tells
		if _, err := s.Commit(ctx); err != nil {
			b.Fatal(err)
		}
	}
	m.Close()
	other := w.loc("A")
	b.ReportAllocs()
	for b.Loop() {
		w.pool.mu.Lock()
		drop := w.pool.expire(time.Now().Add(2 * idleTime))
		w.pool.mu.Unlock()
		closeAll(drop)
		if err := deliver(w, other, []byte("a\r\n")); err != nil {
			b.Fatal(err)
		}
	}
}

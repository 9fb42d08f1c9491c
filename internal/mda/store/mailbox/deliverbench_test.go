package mailbox

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkDeliver saves one message into a small and into a large mailbox: what it
// costs must not depend on what is there. Cold opens the mailbox for each message, as
// a process does that delivers to many.
func BenchmarkDeliver(b *testing.B) {
	for _, format := range []string{"sdbox", "mdbox", "maildir"} {
		for _, messages := range []int{10, 200_000} {
			w := newWorld(b)
			w.format, w.set.Fsync = format, "never"
			multiply(b, w, messages)
			for _, cold := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/messages=%d/cold=%v", format, messages, cold), func(b *testing.B) { benchmarkDeliver(b, w, cold) })
			}
		}
	}
}

func benchmarkDeliver(b *testing.B, w *world, cold bool) {
	msg := append([]byte("Subject: benchmark\r\n\r\n"), bytes.Repeat([]byte("0123456789\r\n"), 100)...)
	b.ReportAllocs()
	for b.Loop() {
		if err := deliver(w, w.loc("INBOX"), msg); err != nil {
			b.Fatal(err)
		}
		if cold {
			b.StopTimer()
			w.pool.Close()
			w.pool = NewPool(nil)
			b.StartTimer()
		}
	}
}

// multiply makes a mailbox of n messages: some are saved and then copied.
func multiply(b *testing.B, w *world, n int) {
	b.Helper()
	m := w.create("INBOX")
	defer m.Close()
	first := min(n, 5000) // messages can have only so many links and references
	var uids []uint32
	for range first {
		if err := deliver(w, w.loc("INBOX"), []byte("Subject: x\r\n\r\nx\r\n")); err != nil {
			b.Fatal(err)
		}
	}
	for have := first; have < n; {
		s, err := m.Sync(ctx)
		if err != nil {
			b.Fatal(err)
		}
		uids = uids[:0]
		for i := range min(have, n-have, 10_000) {
			uids = append(uids, s.UID(i))
		}
		if _, err := m.Copy(ctx, uids, m); err != nil {
			b.Fatal(err)
		}
		have += len(uids)
	}
}

package queuetool

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// BenchmarkList is "postqueue -p" with 100,000 waiting messages, asked over a
// socket: the time of the program's start is not in it.
func BenchmarkList(b *testing.B) {
	const messages = 100000
	store, err := queue.Open(b.TempDir(), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	var fill sync.WaitGroup
	for w := range 100 {
		fill.Go(func() {
			for i := range messages / 100 {
				addQueued(b, store, fmt.Sprintf("user%d@destination%d.example", w, i))
			}
		})
	}
	fill.Wait()
	path := filepath.Join(b.TempDir(), "control")
	l, err := net.Listen("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go Serve(ctx, l, "", store, nil, nil, nil) //nolint:errcheck // it ends with the benchmark
	for b.Loop() {
		out := lister{w: bufio.NewWriter(io.Discard)}
		conn, err := net.Dial("unix", path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write([]byte(`{"op":"list"}` + "\n")); err != nil {
			b.Fatal(err)
		}
		if err := readAnswer(bufio.NewReaderSize(conn, 32<<10), handler{entry: out.text}); err != nil {
			b.Fatal(err)
		}
		conn.Close()
		if out.count != messages {
			b.Fatalf("%d messages listed", out.count)
		}
	}
}

// addQueued adds a message that was tried once.
func addQueued(b *testing.B, store *queue.Store, rcpt string) {
	w, err := store.NewMessage(time.Now())
	if err != nil {
		b.Error(err)
		return
	}
	id := w.ID()
	w.Write([]byte("Subject: x\r\n\r\nbody\r\n")) //nolint:errcheck // Commit tells
	if err := w.Commit(b.Context(), &queue.Envelope{Sender: "sender@example.com", Recipients: []queue.Recipient{{Address: rcpt, Original: rcpt}}}); err != nil {
		b.Error(err)
		return
	}
	m, err := store.Load(id)
	if err != nil {
		b.Error(err)
		return
	}
	m.Outcomes[0] = queue.Outcome{Action: "delayed", DSN: "4.4.1", Text: "connect to destination.example[192.0.2.1]:25: Connection refused"}
	store.Defer(m, time.Now().Add(time.Hour))
}

// FuzzEntry shows that what is written of an entry is read again, and that it is
// JSON for others.
func FuzzEntry(f *testing.F) {
	f.Add("deferred", "ABC", int64(1), int64(2), false, "a@b", "c@d", "why \"not\"\n\\")
	f.Add("", "", int64(-1), int64(0), true, "\x00", "\xff", "")
	f.Fuzz(func(t *testing.T, name, id string, arrival, size int64, expired bool, sender, addr, reason string) {
		in := Entry{Queue: name, ID: id, Arrival: arrival, Size: size, Expired: expired, Sender: sender,
			Recipients: []Recipient{{addr, reason}, {Address: sender}}}
		line := appendEntry(nil, &in)
		var out Entry
		ok := readEntry(line, &out)
		if !utf8.Valid(line) {
			return // escapes in such a string change its bytes
		}
		if ok != (id != "") || ok && !reflect.DeepEqual(in, out) {
			t.Errorf("%v, %+v, want %+v", ok, out, in)
		}
		if err := json.Unmarshal(line, &out); err != nil || !reflect.DeepEqual(in, out) {
			t.Errorf("encoding/json: %v, %+v, want %+v", err, out, in)
		}
	})
}

package takeover

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// many leaves n deferred messages of 10 KB, each with a log.
func many(b *testing.B, n int) string {
	b.Helper()
	dir := b.TempDir()
	m := &queuefile.Message{
		Arrival: time.Now(), Created: time.Now(), Sender: "sender@example.com", Context: "local",
		Recipients: []queuefile.Recipient{{Address: "rcpt@example.com", Original: "rcpt@example.com", Type: queuefile.TypeRecipient}},
	}
	path := filepath.Join(dir, "message")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if err := m.Compose(f, strings.NewReader("Subject: x\r\n\r\n"+strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128))); err != nil {
		b.Fatal(err)
	}
	f.Close()
	file, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	var log bytes.Buffer
	queuefile.WriteLog(&log, []queuefile.Entry{{Recipient: "rcpt@example.com", Status: "4.4.1", Action: "delayed", Reason: "connection refused"}})
	for i := range n {
		id := fmt.Sprintf("%05X%X", i*9973%1000000, 0xA00000+i)
		put(b, filepath.Join(dir, queuefile.Path("deferred", id, 1)), file, 0o700, due)
		put(b, filepath.Join(dir, queuefile.Path("defer", id, 1)), log.Bytes(), 0o600, due)
	}
	return dir
}

// report tells the memory that the last run needed.
func report(b *testing.B) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.Sys)/1e6, "MB-sys")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
}

// BenchmarkThere takes deferred messages over: -benchtime 100000x for a large
// queue.
func BenchmarkThere(b *testing.B) {
	dir := many(b, b.N)
	sub := filepath.Join(dir, queue.Subdir)
	os.MkdirAll(sub, 0o700)
	s, err := queue.Open(sub, &queue.Settings{}, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.ResetTimer()
	r, err := Run(context.Background(), Config{Dir: dir, Store: s, Owner: os.Geteuid()})
	if err != nil || r.Total() != b.N {
		b.Fatal(r, err)
	}
	b.StopTimer()
	report(b)
}

// BenchmarkBack exports them again.
func BenchmarkBack(b *testing.B) {
	dir := many(b, b.N)
	s := openStore(b, dir)
	take(b, dir, s)
	e := newExporter(b, dir, s)
	b.ResetTimer()
	if done, left, err := e.run(context.Background()); done != b.N || left > 0 || err != nil {
		b.Fatal(done, left, err)
	}
	b.StopTimer()
	report(b)
}

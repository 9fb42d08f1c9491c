package imap

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// benchBox makes INBOX have n messages and returns a session that has it
// selected.
func benchBox(b *testing.B, srv *testServer, n int) (net.Conn, *bufio.Reader) {
	b.Helper()
	c, _ := srv.serve(b)
	r := bufio.NewReaderSize(c, 1<<20)
	r.ReadString('\n')
	// Copies are links, of which file systems allow few: begin with several.
	first := min(n, 10)
	for range first {
		mustRun(b, c, r, "a APPEND INBOX (\\Seen) {4+}\r\nabc")
	}
	mustRun(b, c, r, "a SELECT INBOX")
	for have := first; have < n; {
		k := min(have, n-have)
		mustRun(b, c, r, fmt.Sprintf("a COPY 1:%d INBOX", k))
		have += k
	}
	return c, r
}

// mustRun runs a command whose tag is a and returns the number of untagged
// replies.
func mustRun(t testing.TB, c net.Conn, r *bufio.Reader, line string) (n int) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		t.Fatal(err)
	}
	for {
		reply, err := r.ReadSlice('\n')
		if err != nil {
			t.Fatal(line, err)
		}
		if reply[0] == 'a' && reply[1] == ' ' {
			if string(reply[2:4]) != "OK" {
				t.Fatalf("%s: %s", line, reply)
			}
			return n
		}
		n++
	}
}

// BenchmarkFetchFlags is FETCH of rows that come from memory.
func BenchmarkFetchFlags(b *testing.B) {
	const messages = 100_000
	srv := newTestServer(b, nil)
	c, r := benchBox(b, srv, messages)
	for _, items := range []string{"FLAGS", "(UID FLAGS)", "(UID FLAGS RFC822.SIZE)"} {
		b.Run(items, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := mustRun(b, c, r, "a FETCH 1:* "+items); n != messages {
					b.Fatal(n, "rows")
				}
			}
			b.ReportMetric(float64(b.N)*messages/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// BenchmarkFetchBody is FETCH of whole messages.
func BenchmarkFetchBody(b *testing.B) {
	srv := newTestServer(b, nil)
	c, r := benchBox(b, srv, 1)
	body := strings.Repeat("0123456789 0123456789 0123456789 0123456789 0123456789 01234567\r\n", 16<<10)
	mustRun(b, c, r, fmt.Sprintf("a APPEND INBOX {%d+}\r\n%s", len(body)+2, "\r\n"+body))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		mustRun(b, c, r, "a FETCH 2 BODY.PEEK[]")
	}
}

// BenchmarkNoop is the shortest exchange.
func BenchmarkNoop(b *testing.B) {
	srv := newTestServer(b, nil)
	c, r := benchBox(b, srv, 1)
	b.ReportAllocs()
	for b.Loop() {
		mustRun(b, c, r, "a NOOP")
	}
}

// BenchmarkIdleSession reports what a session in IDLE costs: all memory of the
// process, the kernel's aside.
func BenchmarkIdleSession(b *testing.B) {
	const sessions = 500
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < 2*sessions+100 {
		b.Skipf("needs %d open files", 2*sessions+100)
	}
	for b.Loop() {
		srv := newTestServer(b, nil)
		first, r := benchBox(b, srv, 10)
		mustRun(b, first, r, "a NOOP")
		before := memory()
		clients := make([]int, 0, sessions) // descriptors: the clients' side must not count
		for range sessions {
			clients = append(clients, idleClient(b, srv))
		}
		after := memory()
		b.ReportMetric(float64(after-before)/sessions, "B/session")
		for _, fd := range clients {
			syscall.Close(fd)
		}
		srv.cancel()
	}
}

// idleClient brings a session into IDLE and returns the client's descriptor.
func idleClient(b *testing.B, srv *testServer) int {
	b.Helper()
	client, _ := srv.serve(b)
	f, err := client.(*net.TCPConn).File()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		b.Fatal(err)
	}
	r := bufio.NewReader(client)
	r.ReadString('\n')
	mustRun(b, client, r, "a SELECT INBOX")
	mustRun(b, client, r, "a FETCH 1:* (FLAGS BODY.PEEK[])")
	io.WriteString(client, "a IDLE\r\n")
	r.ReadString('\n')
	client.Close()
	return fd
}

// memory returns what the process holds after garbage collection.
func memory() uint64 {
	for range 5 {
		runtime.GC() // also shrinks stacks
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

package lmtp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// memory is a Mailer that keeps the messages, or fails with err.
type memory struct {
	err  error
	wait chan struct{}

	mu    sync.Mutex
	saved []saved
}

type saved struct {
	env  Envelope
	text []byte
}

func (m *memory) Deliver(_ context.Context, _ store.UserInfo, _ string, env Envelope, msg Content) error {
	if m.wait != nil {
		<-m.wait
	}
	if m.err != nil {
		return m.err
	}
	text, err := io.ReadAll(io.NewSectionReader(msg, 0, msg.Size()))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.saved = append(m.saved, saved{env, text})
	return nil
}

// converse sends everything and returns all answers.
func converse(t testing.TB, s *testServer, input string) string {
	t.Helper()
	conn := dial(t, s)
	go io.WriteString(conn, input)
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%v after %q", err, out)
	}
	return string(out)
}

func dial(t testing.TB, s *testServer) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr(""))
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

const hello = "LHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<bob>\r\n"

// TestFailures checks what the MTA is told when a message cannot be saved:
// nothing that can pass may be answered with 5xx.
func TestFailures(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, config string
		err          error
		want         string
	}{
		{"disk full", "", fmt.Errorf("write u.1: %w", mailbox.ErrNoSpace), "452 4.3.1 <bob> Not enough disk space"},
		{"disk full, told as over quota", "", &store.Error{Code: store.CodeOverQuota, Text: "Not enough disk space", Err: mailbox.ErrNoSpace}, "452 4.3.1 <bob> Not enough disk space"},
		{"over quota", "", &store.Error{Code: store.CodeOverQuota, Text: "Quota exceeded (mailbox for user is full)"}, "552 5.2.2 <bob> Quota exceeded (mailbox for user is full)"},
		{"over quota, temporary", "quota_full_tempfail = yes\n", &store.Error{Code: store.CodeOverQuota, Text: "Quota exceeded (mailbox for user is full)"}, "452 4.2.2 <bob> Quota exceeded (mailbox for user is full)"},
		{"storage", "", &store.Error{Text: "Internal error occurred."}, "451 4.2.0 <bob> Internal error occurred."},
		{"other", "", errors.New("broken"), "451 4.3.0 <bob> Temporary internal error"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newTestServer(t, tt.config, &memory{err: tt.err})
			out := converse(t, s, hello+"DATA\r\nx: y\r\n\r\n.\r\nQUIT\r\n")
			if !strings.Contains(out, "\r\n"+tt.want+"\r\n") {
				t.Errorf("got %q, want %s", out, tt.want)
			}
		})
	}
}

// TestSizes sends messages around the limits of the buffers.
func TestSizes(t *testing.T) {
	t.Parallel()
	m := new(memory)
	dir := t.TempDir()
	s := newTestServer(t, "lmtp_add_received_header = no\nlmtp_hdr_delivery_address = none\nmail_temp_dir = "+dir+"\n", m)
	for _, size := range []int{0, 100, firstBuffer - 30, firstBuffer, firstBuffer + 1, memoryLimit - 30, memoryLimit, memoryLimit + 1, 1 << 20} {
		text := strings.Repeat("0123456789abcdef0123456789abcd\r\n", size/32)
		out := converse(t, s, hello+"RCPT TO:<alice>\r\nDATA\r\n"+text+".\r\nQUIT\r\n")
		if n := strings.Count(out, " Saved\r\n"); n != 2 {
			t.Fatalf("size %d: %q", size, out)
		}
		want := sha256.Sum256([]byte("Return-Path: <a@b>\r\n" + text))
		for _, sv := range m.saved {
			if got := sha256.Sum256(sv.text); got != want {
				t.Errorf("size %d: %d bytes saved for %s differ", size, len(sv.text), sv.env.Recipient)
			}
		}
		m.saved = nil
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("%d files are left in mail_temp_dir", len(left))
	}
}

func TestTempDirMissing(t *testing.T) {
	t.Parallel()
	s := newTestServer(t, "mail_temp_dir = /nonexistent\n", new(memory))
	out := converse(t, s, hello+"DATA\r\n"+strings.Repeat("0123456789abcdef\r\n", memoryLimit/10)+".\r\nNOOP\r\nQUIT\r\n")
	if !strings.Contains(out, "\r\n451 4.3.0 <bob> Temporary internal error\r\n250 2.0.0 OK\r\n") {
		t.Errorf("got %q", out)
	}
}

func TestUserConcurrency(t *testing.T) {
	t.Parallel()
	m := &memory{wait: make(chan struct{})}
	s := newTestServer(t, "lmtp_user_concurrency_limit = 1\n", m)
	first := dial(t, s)
	io.WriteString(first, hello)
	if out := readUntil(t, first, "2.1.5 OK"); !strings.Contains(out, "250 2.1.5 OK") {
		t.Fatalf("first recipient: %q", out)
	}
	if out := converse(t, s, hello+"QUIT\r\n"); !strings.Contains(out, "\r\n451 4.3.0 <bob> Too many concurrent deliveries for user\r\n") {
		t.Errorf("second recipient: %q", out)
	}
	io.WriteString(first, "RSET\r\nQUIT\r\n")
	io.ReadAll(first)
	if out := converse(t, s, hello+"QUIT\r\n"); !strings.Contains(out, "250 2.1.5 OK") {
		t.Errorf("after RSET: %q", out)
	}
}

func readUntil(t testing.TB, conn net.Conn, text string) string {
	t.Helper()
	var out []byte
	for !bytes.Contains(out, []byte(text)) {
		var b [1]byte
		if _, err := conn.Read(b[:]); err != nil {
			t.Fatalf("%v after %q", err, out)
		}
		out = append(out, b[0])
	}
	return string(out)
}

const whole = hello + "RCPT TO:<alice>\r\nDATA\r\nSubject: x\r\n\r\n..y\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob>\r\nBDAT 3\r\nabcBDAT 2 LAST\r\n\r\nQUIT\r\n"

// TestDisconnectAnywhere cuts the session after every byte: what was not
// received whole must not be delivered.
func TestDisconnectAnywhere(t *testing.T) {
	t.Parallel()
	m := new(memory)
	s := newTestServer(t, "", m)
	first := strings.Index(whole, "\r\n.\r\n") + len("\r\n.\r\n")
	for n := range first {
		conn := dial(t, s)
		io.WriteString(conn, whole[:n])
		if n%2 == 0 {
			conn.SetLinger(0)
		}
		conn.Close()
	}
	converse(t, s, "QUIT\r\n")
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.saved) > 0 {
		t.Errorf("%d deliveries", len(m.saved))
	}
}

// TestSlowClient sends single bytes and gets the same answers.
func TestSlowClient(t *testing.T) {
	t.Parallel()
	m := new(memory)
	s := newTestServer(t, "", m)
	conn := dial(t, s)
	go func() {
		for i := range len(whole) {
			io.WriteString(conn, whole[i:i+1])
		}
	}()
	out, err := io.ReadAll(conn)
	if err != nil || bytes.Count(out, []byte(" Saved\r\n")) != 3 {
		t.Errorf("%v, got %q", err, out)
	}
	if got := string(m.saved[0].text); !strings.HasSuffix(got, "\r\nSubject: x\r\n\r\n.y\r\n") {
		t.Errorf("saved %q", got)
	}
}

// TestShutdown ends a waiting session, but not a delivery that has begun.
func TestShutdown(t *testing.T) {
	t.Parallel()
	m := &memory{wait: make(chan struct{})}
	s := newTestServer(t, "", m)
	ctx, stop := context.WithCancel(context.Background())
	idle, busy := net.Conn(nil), net.Conn(nil)
	var done sync.WaitGroup
	for _, conn := range []*net.Conn{&idle, &busy} {
		ours, theirs := tcpPair(t)
		*conn = ours
		done.Go(func() { s.Serve(ctx, theirs, Listener{}) })
		readUntil(t, ours, "ready.\r\n")
	}
	io.WriteString(busy, hello+"DATA\r\nx: y\r\n\r\n.\r\n")
	readUntil(t, busy, "354 OK\r\n")
	stop()
	if out, _ := io.ReadAll(idle); !strings.Contains(string(out), "421 4.3.2 ") {
		t.Errorf("idle session got %q", out)
	}
	close(m.wait)
	if out, _ := io.ReadAll(busy); !strings.HasPrefix(string(out), "250 2.0.0 <bob> ") {
		t.Errorf("busy session got %q", out)
	}
	done.Wait()
}

func tcpPair(t testing.TB) (ours, theirs net.Conn) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if ours, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	ours.SetDeadline(time.Now().Add(60 * time.Second))
	t.Cleanup(func() { ours.Close() })
	return ours, theirs
}

func TestSplitDetail(t *testing.T) {
	for _, tt := range []struct{ address, delimiters, user, detail string }{
		{"bob+x@d", "+", "bob@d", "x"},
		{"bob+x", "+", "bob", "x"},
		{"bob-x+y@d", "+-", "bob@d", "x+y"},
		{"bob+x@d", "", "bob+x@d", ""},
		{"bob@d+x", "+", "bob@d+x", ""},
		{"bob+@d", "+", "bob@d", ""},
	} {
		if user, detail := splitDetail(tt.address, tt.delimiters); user != tt.user || detail != tt.detail {
			t.Errorf("%s: got %q, %q", tt.address, user, detail)
		}
	}
}

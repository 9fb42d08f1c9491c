package smtpd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// baseConfig is what all tests begin with.
const baseConfig = `
compatibility_level = 3.6
myhostname = mail.example.com
mydomain = example.com
myorigin = $mydomain
mydestination = example.com, localhost
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
recipient_delimiter = +
smtpd_peername_lookup = no
alias_maps =
local_recipient_maps = inline:{{alice=x},{bob=x}}
virtual_alias_domains = alias.example
virtual_alias_maps = inline:{{info@alias.example=alice},{many@alias.example=alice,bob@remote.example},{loop@alias.example=loop@alias.example}}
virtual_mailbox_domains = vmail.example
virtual_mailbox_maps = inline:{{v@vmail.example=x}}
relay_domains = relay.example
relay_recipient_maps = inline:{{r@relay.example=x}}
smtpd_forbid_bare_newline = normalize
`

// memoryQueue is a queue that keeps messages in memory.
type memoryQueue struct {
	mu       sync.Mutex
	next     int
	messages []*memoryMessage
	discard  bool // count, keep nothing
	count    int
	fail     error // of Commit
}

type memoryMessage struct {
	q    *memoryQueue
	id   string
	size int64
	body bytes.Buffer
	env  queue.Envelope
}

func (q *memoryQueue) newMessage(time.Time) (cleanup.Writer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.next++
	return &memoryMessage{q: q, id: fmt.Sprintf("%09X", 0xABC000000+q.next)}, nil
}

func (m *memoryMessage) ID() string { return m.id }

func (m *memoryMessage) Write(p []byte) (int, error) {
	m.size += int64(len(p))
	if m.q.discard {
		return len(p), nil
	}
	return m.body.Write(p)
}

func (m *memoryMessage) Size() int64 { return m.size }

func (m *memoryMessage) Commit(_ context.Context, env *queue.Envelope) error {
	m.env = *env
	m.q.mu.Lock()
	defer m.q.mu.Unlock()
	if m.q.fail != nil {
		return m.q.fail
	}
	m.q.count++
	if !m.q.discard {
		m.q.messages = append(m.q.messages, m)
	}
	return nil
}

func (m *memoryMessage) Abort() {}

// logBuffer gathers log lines.
type logBuffer struct {
	file *os.File
	sink *maillog.Sink
}

func newLog(t testing.TB) *logBuffer {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	l := &logBuffer{file: f, sink: maillog.NewFile(f, maillog.Postfix, "mail")}
	t.Cleanup(l.sink.Close)
	return l
}

// lines returns the text of the lines so far, without date and tag.
func (l *logBuffer) lines(t testing.TB) string {
	t.Helper()
	l.sink.Flush()
	b, err := os.ReadFile(l.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		_, text, ok := strings.Cut(line, "]: ")
		if !ok {
			text = line
		}
		out.WriteString(text)
	}
	return out.String()
}

// testServer is a server on a loopback port.
type testServer struct {
	*Server
	addr  string
	queue *memoryQueue
	log   *logBuffer
	stop  func() // returns when all sessions are over
}

func startServer(t testing.TB, config string, adjust func(*Config)) *testServer {
	t.Helper()
	ts := &testServer{queue: new(memoryQueue), log: newLog(t)}
	c := testConfig(t, config, ts)
	if adjust != nil {
		adjust(&c)
	}
	var err error
	if ts.Server, err = New(c); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ts.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ts.Serve(ctx, l, nil) }()
	var once sync.Once
	ts.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(ts.stop)
	return ts
}

func testConfig(t testing.TB, config string, ts *testServer) Config {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), baseConfig+config)
	if err != nil {
		t.Fatal(err)
	}
	log := maillog.New(ts.log.sink, "postfix/smtpd[1]")
	open, err := resolve.NewOpener(main, table.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	res, err := resolve.New(main, open, log)
	if err != nil {
		t.Fatal(err)
	}
	cl, err := cleanup.New(cleanup.Config{
		Main: main, Queue: ts.queue.newMessage, Resolver: res,
		Log: log.With("postfix/cleanup[2]"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return Config{Main: main, Service: "smtp", Cleanup: cl, Resolver: res, Tables: open, Log: log}
}

// awaitSessions returns when no session is left.
func (ts *testServer) awaitSessions(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(time.Millisecond) {
		ts.mu.Lock()
		n := len(ts.active)
		ts.mu.Unlock()
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions do not end", n)
		}
	}
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	t.Cleanup(func() { conn.Close() })
	return conn
}

func readAll(t testing.TB, conn net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(conn)
	if err != nil {
		t.Logf("read: %v", err)
	}
	return string(b)
}

func TestMinimal(t *testing.T) {
	ts := startServer(t, "", nil)
	conn := dial(t, ts.addr)
	io.WriteString(conn, "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice>\r\nDATA\r\n")
	io.WriteString(conn, "Subject: x\r\n\r\nhello\r\n.\r\nQUIT\r\n")
	t.Log(readAll(t, conn))
	ts.stop()
	t.Log(ts.log.lines(t))
	for _, m := range ts.queue.messages {
		t.Logf("%s\n%+v", m.body.String(), m.env)
	}
}

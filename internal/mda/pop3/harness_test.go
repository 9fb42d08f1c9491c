package pop3

import (
	"bufio"
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

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// messages are what the INBOX of the user "pop" begins with. The original's LMTP
// writes the first line itself.
var messages = []string{
	"Return-Path: <>\r\nSubject: one\r\n\r\nbody1\r\n.dot\r\n\r\nlast\r\n",
	"Return-Path: <>\r\nSubject: two\r\n\r\nbody2\r\n",
	"Return-Path: <>\r\nSubject: three\r\n\r\nb3\r\n",
}

// testServer serves the user "pop" after a minimal login: USER and PASS, as
// the dialogues have them, are answered here.
type testServer struct {
	*Server
	cfg  *dovecot.Config
	pool *mailbox.Pool
	dir  string
	sink *maillog.Sink
	log  *maillog.Logger
	ln   net.Listener
	done sync.WaitGroup
}

func newTestServer(t testing.TB, config string) *testServer {
	t.Helper()
	dir := t.TempDir()
	cfg, err := dovecot.Parse("test.conf", "mail_location = sdbox:"+dir+"/mail/%u\nfirst_valid_uid = 0\n"+config)
	if err != nil {
		t.Fatal(err)
	}
	s := &testServer{cfg: cfg, dir: dir}
	f, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s.sink = maillog.NewFile(f, maillog.Dovecot, "")
	s.log = maillog.New(s.sink, "pop3")
	s.pool = mailbox.NewPool(s.log)
	if s.Server, err = NewServer(Config{Dovecot: cfg, Pool: s.pool, Log: s.log}); err != nil {
		t.Fatal(err)
	}
	s.fill(t)
	ctx, stop := context.WithCancel(context.Background())
	if s.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := s.ln.Accept()
			if err != nil {
				return
			}
			s.done.Go(func() { s.serve(ctx, t, conn) })
		}
	}()
	t.Cleanup(func() {
		stop()
		s.ln.Close()
		s.done.Wait()
		s.pool.Close()
		s.sink.Close()
	})
	return s
}

func (s *testServer) user(ctx context.Context, name string) (*store.User, error) {
	return store.OpenUser(ctx, s.cfg, store.UserInfo{
		Username: name, UID: os.Getuid(), GID: os.Getgid(), Home: filepath.Join(s.dir, "home", name),
		Service: "pop3", SessionID: "sess",
	}, s.pool, s.log)
}

// fill saves the messages.
func (s *testServer) fill(t testing.TB) {
	ctx := context.Background()
	user, err := s.user(ctx, "pop")
	if err != nil {
		t.Fatal(err)
	}
	defer user.Close()
	box, err := user.Mailbox(ctx, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	for _, text := range messages {
		save, err := box.Save(ctx, mailbox.SaveOptions{})
		if err == nil {
			io.WriteString(save, text)
			_, err = save.Commit(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// serve does the login and hands the connection over with what was read.
func (s *testServer) serve(ctx context.Context, t testing.TB, conn net.Conn) {
	io.WriteString(conn, "+OK Dovecot ready.\r\n")
	in := bufio.NewReader(conn)
	line, err := in.ReadString('\n')
	name := strings.TrimSpace(strings.TrimPrefix(line, "USER "))
	if err == nil {
		io.WriteString(conn, "+OK\r\n")
		_, err = in.ReadString('\n')
	}
	if err != nil {
		conn.Close()
		return
	}
	rest, _ := in.Peek(in.Buffered())
	user, err := s.user(ctx, name)
	if err != nil {
		if ctx.Err() == nil { // the test is over, and the client was gone before
			t.Error(err)
		}
		return
	}
	defer user.Close()
	s.Serve(ctx, conn, handoff.Login{Session: "sess", Input: rest}, user)
}

// Addr implements dialogue.Server.
func (s *testServer) Addr(string) string { return s.ln.Addr().String() }

// Log implements dialogue.Server.
func (s *testServer) Log() []string {
	s.sink.Flush()
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n")
}

// Mail implements dialogue.Server.
func (s *testServer) Mail() string { return filepath.Join(s.dir, "mail") }

// deliver gives the original the same messages, by LMTP.
func deliver(t testing.TB, addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	in := bufio.NewReader(conn)
	expect := func(code string) {
		for {
			line, err := in.ReadString('\n')
			if err != nil || !strings.HasPrefix(line, code) {
				t.Fatalf("LMTP: %q %v", line, err)
			}
			if line[3] == ' ' {
				return
			}
		}
	}
	expect("220")
	fmt.Fprintf(conn, "LHLO x\r\n")
	expect("250")
	for _, text := range messages {
		fmt.Fprintf(conn, "MAIL FROM:<>\r\nRCPT TO:<pop>\r\nDATA\r\n")
		expect("250")
		expect("250")
		expect("354")
		fmt.Fprintf(conn, "%s.\r\n", strings.ReplaceAll(strings.TrimPrefix(text, "Return-Path: <>\r\n"), "\n.", "\n.."))
		expect("250")
	}
}

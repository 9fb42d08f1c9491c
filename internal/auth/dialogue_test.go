package auth

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// TestDialogues plays the scripts in testdata: a dovecot.conf, the files it
// names as $DIR/name, a dialogue, and optionally the log lines that it leaves.
//
// In a dialogue, "connect NAME [PID]" opens a connection to a socket and does
// the handshake, "C:" lines are sent, "S:" lines expected, and "S: EOF" is the end of the
// connection. "→" is a TAB, "<text>" the base64 of text, "\0" in it a NUL,
// "$COOKIE" the cookie of the latest login connection. "S:" lines may have "*"
// for what varies.
func TestDialogues(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			playFile(t, path)
		})
	}
}

func playFile(t *testing.T, path string) {
	script, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string]string{}
	for _, f := range script.Files {
		text := strings.ReplaceAll(string(f.Data), "$DIR", dir)
		files[f.Name] = text
		if err := os.WriteFile(filepath.Join(dir, f.Name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startServer(t, dir, files["dovecot.conf"])
	p := &player{t: t, server: s}
	for i, line := range strings.Split(files["dialogue"], "\n") {
		p.line(i+1, line)
	}
	p.close()
	if want, ok := files["log"]; ok {
		s.sink.Flush()
		got, err := os.ReadFile(s.logPath)
		if err != nil {
			t.Fatal(err)
		}
		if got := cleanLog(string(got), dir); got != cleanLog(want, dir) {
			t.Errorf("log:\n%s\nwant:\n%s", got, want)
		}
	}
}

var logStamp = regexp.MustCompile(`(?m)^[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d |created \d+ msecs ago, handshake \d+ msecs ago`)

// cleanLog removes what varies.
func cleanLog(text, dir string) string {
	return strings.ReplaceAll(logStamp.ReplaceAllString(text, ""), dir, "$DIR")
}

// A testServer is a server with one socket of each kind.
type testServer struct {
	*Server
	dir, logPath string
	sink         *maillog.Sink
}

func startServer(t testing.TB, dir, conf string) *testServer {
	t.Helper()
	cfg, err := dovecot.Parse("dovecot.conf", conf)
	if err != nil {
		t.Fatal(err)
	}
	logPath := filepath.Join(dir, "auth.log")
	logFile, err := os.Create(logPath)
	if err != nil {
		t.Fatal(err)
	}
	sink := maillog.NewFile(logFile, maillog.Dovecot, "")
	t.Cleanup(sink.Close)
	s, err := NewServer(&Setup{Config: cfg}, maillog.New(sink, "auth"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"auth-client", "login", "auth-master", "auth-userdb"} {
		l, err := net.Listen("unix", filepath.Join(dir, name+".sock"))
		if err != nil {
			t.Fatal(err)
		}
		serve(t, s, l, KindOf(name))
	}
	return &testServer{Server: s, dir: dir, logPath: logPath, sink: sink}
}

// serve serves l until the test ends.
func serve(t testing.TB, s *Server, l net.Listener, kind Kind) {
	ctx := t.Context()
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l, kind) }()
	t.Cleanup(func() { // the context of the test is done by now
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A player plays one dialogue.
type player struct {
	t      *testing.T
	server *testServer
	conn   net.Conn
	r      *bufio.Reader
	cookie string
	kept   []net.Conn
}

func (p *player) close() {
	for _, c := range p.kept {
		c.Close()
	}
}

func (p *player) line(n int, line string) {
	p.t.Helper()
	line = strings.TrimRight(line, "\r")
	switch verb, text, _ := strings.Cut(line, " "); verb {
	case "", "#":
	case "connect":
		p.connect(text)
	case "C:":
		// A server that has closed the connection, after the line before, shows in the
		// next "S:" line: whether writing fails is a matter of who is faster.
		io.WriteString(p.conn, p.encode(text)+"\n") //nolint:errcheck // as said
	case "S:":
		p.expect(n, text)
	default:
		p.t.Fatalf("line %d: what is %q?", n, line)
	}
}

func (p *player) connect(args string) {
	name, pid, _ := strings.Cut(args, " ")
	conn, err := net.Dial("unix", filepath.Join(p.server.dir, name+".sock"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.kept = append(p.kept, conn)
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	p.conn, p.r = conn, bufio.NewReader(conn)
	hello, last := "VERSION\t1\t1\n", "SPID\t"
	if pid != "" {
		hello, last = "VERSION\t1\t2\nCPID\t"+pid+"\n", "DONE\n"
	}
	io.WriteString(conn, hello)
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		if cookie, ok := strings.CutPrefix(line, "COOKIE\t"); ok {
			p.cookie = strings.TrimSpace(cookie)
		}
		if strings.HasPrefix(line, last) {
			return
		}
	}
}

var base64Text = regexp.MustCompile(`<[^>]*>`)

func (p *player) encode(text string) string {
	text = base64Text.ReplaceAllStringFunc(text, func(s string) string {
		s = strings.ReplaceAll(s[1:len(s)-1], `\0`, "\x00")
		return base64.StdEncoding.EncodeToString([]byte(s))
	})
	text = strings.ReplaceAll(text, "→", "\t")
	return strings.ReplaceAll(text, "$COOKIE", p.cookie)
}

func (p *player) expect(n int, want string) {
	p.t.Helper()
	want = p.encode(want)
	got, err := p.r.ReadString('\n')
	if err != nil {
		got = "EOF"
	}
	got = strings.TrimSuffix(got, "\n")
	if got != want && !wildcardMatch(want, got) {
		p.t.Errorf("line %d: got  %q\n         want %q", n, got, want)
	}
}

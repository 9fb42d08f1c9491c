package anvil_test

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dovetail-mail/dovetail/internal/mda/anvil"
)

// A table is a Source for tests.
type table struct {
	sessions  []anvil.Session
	penalties []anvil.Penalty
	kicked    []uint64
}

func (s *table) Sessions() []anvil.Session                          { return s.sessions }
func (s *table) Penalties(context.Context) ([]anvil.Penalty, error) { return s.penalties, nil }
func (s *table) Kick(ids []uint64)                                  { s.kicked = append(s.kicked, ids...) }

// What the server has arrives at the client.
func TestClient(t *testing.T) {
	ip := netip.MustParseAddr("2001:db8::1")
	src := &table{
		sessions: []anvil.Session{
			{ID: 1, Service: "imap", User: "a/b\t@x", Remote: ip, PID: 7},
			{ID: 2, Service: "pop3", User: "bob", PID: 7},
			{ID: 3, Service: "imap", User: "a/b\t@x", Remote: ip, PID: 7},
			{ID: 4, Service: "imap", User: "a/b\t@x", Remote: ip, PID: 8},
		},
		penalties: []anvil.Penalty{{IP: ip, Count: 2, Last: time.Unix(100, 0), Updated: time.Unix(200, 0)}, {Last: time.Unix(1, 0), Updated: time.Unix(2, 0)}},
	}
	c := serve(t, src)
	var lines []anvil.Line
	if err := c.Sessions(func(l anvil.Line) { lines = append(lines, l) }); err != nil {
		t.Fatal(err)
	}
	want := []anvil.Line{
		{Session: anvil.Session{Service: "imap", User: "a/b\t@x", Remote: ip, PID: 7}, Count: 2},
		{Session: anvil.Session{Service: "pop3", User: "bob", PID: 7}, Count: 1},
		{Session: anvil.Session{Service: "imap", User: "a/b\t@x", Remote: ip, PID: 8}, Count: 1},
	}
	if diff := cmp.Diff(want, lines, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	var penalties []anvil.Penalty
	if err := c.Penalties(func(p anvil.Penalty) { penalties = append(penalties, p) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(src.penalties, penalties, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if n, err := c.Kick(&lines[0]); n != 2 || err != nil || !cmp.Equal(src.kicked, []uint64{1, 3}) {
		t.Errorf("%d, %v, %v", n, err, src.kicked)
	}
}

func serve(t testing.TB, src anvil.Source) *anvil.Client {
	path := filepath.Join(t.TempDir(), "anvil")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go anvil.Serve(t.Context(), l, func(error) {}, src)
	c, err := anvil.Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// No bytes of a client do harm.
func FuzzServer(f *testing.F) {
	f.Add("VERSION\tanvil\t1\t0\nCONNECT-DUMP\nPENALTY-DUMP\nKICK\timap//bob\t7\n")
	f.Add("KICK\t\x01\t\n")
	f.Fuzz(func(t *testing.T, input string) {
		src := &table{sessions: []anvil.Session{{ID: 2, Service: "imap", User: "bob", PID: 7}}}
		client, server := net.Pipe()
		l := &single{conn: server, closed: make(chan struct{})}
		go anvil.Serve(t.Context(), l, func(error) {}, src)
		go func() {
			client.Write([]byte(input))
			client.Write([]byte("\nEND\n")) // an unknown command ends the connection
		}()
		buf := make([]byte, 4096)
		for {
			if _, err := client.Read(buf); err != nil {
				break
			}
		}
		client.Close()
		close(l.closed)
	})
}

// A single is a listener with one connection.
type single struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *single) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}
func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return &net.UnixAddr{} }

// No bytes of a server do harm.
func FuzzClient(f *testing.F) {
	f.Add("imap/127.0.0.1/bob\t7\t1\n\n")
	f.Add("x\n\n")
	f.Add("192.0.2.1\t1\t2\t3\n\n")
	f.Fuzz(func(t *testing.T, input string) {
		path := filepath.Join(t.TempDir(), "anvil")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Write([]byte(input))
				conn.(*net.UnixConn).CloseWrite()
			}
		}()
		for _, ask := range []func(*anvil.Client) error{
			func(c *anvil.Client) error { return c.Sessions(func(anvil.Line) {}) },
			func(c *anvil.Client) error { return c.Penalties(func(anvil.Penalty) {}) },
		} {
			c, err := anvil.Dial(path)
			if err != nil {
				t.Fatal(err)
			}
			ask(c) //nolint:errcheck // it may fail, but not do harm
			c.Close()
		}
	})
}

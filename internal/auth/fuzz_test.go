package auth

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A fuzzConn is a connection whose peer sends all it has and reads everything.
type fuzzConn struct {
	in  bytes.Reader
	out bytes.Buffer
}

func (c *fuzzConn) Read(b []byte) (int, error)         { return c.in.Read(b) }
func (c *fuzzConn) Write(b []byte) (int, error)        { return c.out.Write(b) }
func (c *fuzzConn) Close() error                       { return nil }
func (c *fuzzConn) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (c *fuzzConn) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (c *fuzzConn) SetDeadline(time.Time) error        { return nil }
func (c *fuzzConn) SetReadDeadline(time.Time) error    { return nil }
func (c *fuzzConn) SetWriteDeadline(t time.Time) error { return nil }

func fuzzServer(f *testing.F) *Server {
	set := &Settings{
		Mechanisms: "plain login anonymous external cram-md5", UsernameFormat: "%Lu", VerbosePasswords: "no",
		UsernameChars: "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@", MasterUserSeparator: "*", AnonymousUsername: "anonymous",
	}
	rules := dovecot.Passdb{Driver: "static", Args: "password=secret", Skip: "never", ResultSuccess: "return-ok", ResultFailure: "continue", ResultInternalfail: "continue"}
	s, err := newServer(set, &dovecot.Auth{Passdbs: []dovecot.Passdb{rules}}, &db.Env{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// checkLines checks that the output is whole lines within bounds.
func checkLines(t *testing.T, out []byte) {
	if len(out) > 0 && out[len(out)-1] != '\n' {
		t.Errorf("output does not end with a line: %q", out)
	}
	if bytes.IndexByte(out, 0) >= 0 {
		t.Errorf("output has a NUL: %q", out)
	}
}

// FuzzClientConn plays both ends of the client protocol against a client that
// sends anything.
func FuzzClientConn(f *testing.F) {
	s := fuzzServer(f)
	for _, seed := range []string{
		"AUTH→1→PLAIN→service=imap→no-penalty→resp=AGFsaWNlAHNlY3JldA==", "AUTH→1→LOGIN→service=imap→no-penalty\nCONT→1→YQ==\nCONT→1→YQ==",
		"AUTH→1→CRAM-MD5→service=x→no-penalty\nCONT→1→YSAwMA==", "AUTH→1→ANONYMOUS→service=x→resp==\nCANCEL→1\nCONT→1→",
		"AUTH→1→PLAIN→service=imap→forward_fields=YT1i→rip=::1→no-penalty→resp=!!!", "FOO", "AUTH→x", "CONT→1",
	} {
		f.Add([]byte(strings.ReplaceAll(seed, "→", "\t") + "\n"))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := new(fuzzConn)
		conn.in.Reset(append([]byte("VERSION\t1\t2\nCPID\t7\n"), data...))
		c := newClientConn(s, conn, KindLogin)
		c.serve(context.Background())
		checkLines(t, conn.out.Bytes())
	})
}

// FuzzMasterConn is the same for the master protocol.
func FuzzMasterConn(f *testing.F) {
	s := fuzzServer(f)
	for _, seed := range []string{
		"USER→1→alice→service=imap", "PASS→1→a*b→service=imap→rip=1.2.3.4", "LIST→1→service=x", "REQUEST→1→2→3→00→session_pid=4→request_auth_token",
		"CACHE-FLUSH→1→a", "USER→x", "FOO",
	} {
		f.Add([]byte(strings.ReplaceAll(seed, "→", "\t") + "\n"))
	}
	l := &fuzzListener{}
	f.Fuzz(func(t *testing.T, data []byte) {
		conn := new(fuzzConn)
		conn.in.Reset(append([]byte("VERSION\t1\t1\n"), data...))
		newMasterConn(s, conn, l, KindMaster).serve(context.Background())
		checkLines(t, conn.out.Bytes())
	})
}

type fuzzListener struct{ net.Listener }

func (*fuzzListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestLineLimit(t *testing.T) {
	r := wire.NewReader(strings.NewReader(strings.Repeat("a", wire.MaxLine) + "\n" + strings.Repeat("b", wire.MaxLine+1) + "\n"))
	if line, err := r.Next(); err != nil || len(line) != wire.MaxLine {
		t.Errorf("longest line: %d bytes, %v", len(line), err)
	}
	if _, err := r.Next(); err != wire.ErrLineTooLong {
		t.Errorf("too long a line: %v", err)
	}
}

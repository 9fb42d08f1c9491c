package auth

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/password"
)

const oneUser = "auth_failure_delay = 0\npassdb {\n  driver = static\n  args = password=pass\n}\n"

// TestFailureWait shows that the time of a failure does not tell how long it was
// decided about.
func TestFailureWait(t *testing.T) {
	const delay = 2 * time.Second
	for _, tt := range []struct{ elapsed, told time.Duration }{
		{0, delay},
		{time.Millisecond, delay},      // unknown user
		{90 * time.Millisecond, delay}, // a hash
		{delay, delay},
		{delay + time.Millisecond, delay + failureStep},
		{delay + failureStep + 1, delay + 2*failureStep},
	} {
		if told := tt.elapsed + failureWait(delay, tt.elapsed); told != tt.told {
			t.Errorf("decided after %v: told after %v, want %v", tt.elapsed, told, tt.told)
		}
	}
	if wait := failureWait(0, time.Millisecond); wait != 0 {
		t.Errorf("without delay: %v", wait)
	}
}

// TestCryptTooLong refuses passwords whose hash would take long: sha512-crypt's
// cost grows with the square of their length.
func TestCryptTooLong(t *testing.T) {
	for _, scheme := range []string{"SHA512-CRYPT", "MD5-CRYPT", "DES-CRYPT"} {
		long := strings.Repeat("x", 600)
		stored, err := password.Generate(scheme, long, password.Options{Rounds: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if err := password.Verify(scheme, stored, long, "u"); !errors.Is(err, password.ErrMismatch) {
			t.Errorf("%s: %v", scheme, err)
		}
		longest := long[:511]
		if stored, err = password.Generate(scheme, longest, password.Options{Rounds: 1000}); err != nil {
			t.Fatal(err)
		}
		if err := password.Verify(scheme, stored, longest, "u"); err != nil {
			t.Errorf("%s: %v", scheme, err)
		}
	}
}

// flakyListener fails to accept a few times, as one does that is out of descriptors.
type flakyListener struct {
	net.Listener
	failures atomic.Int32
}

func (l *flakyListener) Accept() (net.Conn, error) {
	if l.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// TestAcceptFails has a server run out of descriptors: it neither stops to listen
// nor leaves the clients it has.
func TestAcceptFails(t *testing.T) {
	s := startServer(t, t.TempDir(), oneUser)
	path := filepath.Join(s.dir, "flaky")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	flaky := &flakyListener{Listener: l}
	serve(t, s.Server, flaky, KindClient)
	greeting := func() {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		if _, err := io.ReadFull(conn, make([]byte, 7)); err != nil {
			t.Errorf("after failures: %v", err)
		}
	}
	greeting()
	flaky.failures.Store(3)
	greeting() // accepted by the call that waited
	greeting()
}

// panicPassdb panics on one user, and has another.
type panicPassdb struct{}

func (panicPassdb) Blocking() bool { return false }

func (panicPassdb) Fetch(_ context.Context, r *db.Request) (db.Secret, error) {
	if r.User == "panic" {
		panic("injected")
	}
	return db.Secret{Stored: "pass", DefaultScheme: "PLAIN"}, nil
}

// TestPanicCostsOneLogin has a database panic: the login fails for now, those
// on the same connection go on.
func TestPanicCostsOneLogin(t *testing.T) {
	s := startServer(t, t.TempDir(), oneUser)
	s.passdbs[0].driver = panicPassdb{}
	p := &player{t: t, server: s}
	defer p.close()
	for i, line := range []string{
		"connect auth-client 1",
		"C: AUTH→1→PLAIN→service=imap→secured→no-penalty",
		"S: CONT→1→",
		"C: AUTH→2→PLAIN→service=imap→secured→no-penalty→resp=<\\0panic\\0pass>",
		"S: FAIL→2→code=temp_fail",
		"C: CONT→1→<\\0bob\\0pass>",
		"S: OK→1→user=bob",
		"C: AUTH→3→PLAIN→service=imap→secured→no-penalty→resp=<\\0alice\\0pass>",
		"S: OK→3→user=alice",
	} {
		p.line(i, line)
	}
}

// TestRestrictedWithoutSocket treats a peer as one of the public when it cannot be
// found out who may use the socket.
func TestRestrictedWithoutSocket(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	if p := (peer{uid: 1000, known: true}); !p.isRestricted(gone) {
		t.Error("a user may look up everybody")
	}
	if p := (peer{known: true}); p.isRestricted(gone) {
		t.Error("root is restricted")
	}
}

package login

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
)

// pass hands an authenticated client to the mail process. The session is over
// then, one way or the other.
func (c *session) pass(ctx context.Context, res *client.Result) bool {
	c.state = statePassing
	c.busy.Store(passing)
	l := handoff.Login{
		ID: c.srv.nextID.Add(1), Service: c.srv.service,
		AuthID: res.ID, AuthPID: res.PID, AuthCookie: res.Cookie,
		Session: c.id, Local: c.local, Remote: c.remote,
		Secured: c.secured, TLS: c.hasTLS(), LocalName: c.localName,
		Tag: c.tag, UntaggedCapability: c.askedForCaps, Input: c.in.pending(), ClientID: c.clientID,
	}
	passed, err := c.handOver(ctx, &l)
	c.mailPID = passed.PID
	switch {
	case err != nil:
		c.srv.log.Errorf("login to %s failed: %v", c.srv.service, err)
		c.passFailed(&failure{failUnavailable, textInternalLogin}, fmt.Sprintf("Internal login failure (pid=%d id=%d)", res.PID, res.ID))
	case passed.Refused != "":
		f := failure{failUnavailable, passed.Refused}
		if passed.Limit {
			f.kind = failLimit
		}
		cause, _, _ := strings.Cut(passed.Refused, "\r\n")
		c.passFailed(&f, cause)
	default:
		c.logf("Login")
	}
	return false
}

// passFailed ends a session whose client the mail process did not take. The
// descriptor may be on its way still, so the connection is shut down, too.
func (c *session) passFailed(f *failure, cause string) {
	if c.relay != nil {
		c.relay.peer.Close() //nolint:errcheck // nothing was sent over it
		c.relay = nil
	}
	c.protocol.refuse(c, f)
	c.flush()
	c.logf("Disconnected: " + cause)
	if c.tlsConn != nil {
		c.tlsConn.Close() //nolint:errcheck // closes conn too
	}
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite() //nolint:errcheck // the connection is closed next
	}
}

// handOver passes the client's socket itself or, with TLS, the end of a socket
// pair whose other end will be relayed to the client.
func (c *session) handOver(ctx context.Context, l *handoff.Login) (Passed, error) {
	if c.tlsConn == nil {
		sc, ok := c.conn.(syscall.Conn)
		if !ok {
			return Passed{}, fmt.Errorf("%T has no descriptor to pass", c.conn)
		}
		return c.srv.Pass.Pass(ctx, l, sc)
	}
	peer, far, err := socketPair()
	if err != nil {
		return Passed{}, err
	}
	defer far.Close()
	c.conn.SetDeadline(time.Time{}) //nolint:errcheck // the mail process has its own limits
	c.relay = &relay{srv: c.srv, client: c.tlsConn, raw: c.gate, peer: peer}
	return c.srv.Pass.Pass(ctx, l, far)
}

// socketPair returns a connection for this process and a file to pass on.
func socketPair() (near *net.UnixConn, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	nearFile := os.NewFile(uintptr(fds[0]), "login relay")
	far = os.NewFile(uintptr(fds[1]), "login relay")
	defer nearFile.Close()
	conn, err := net.FileConn(nearFile)
	if err != nil {
		far.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), far, nil
}

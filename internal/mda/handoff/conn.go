package handoff

import (
	"net"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Conn is a client's connection that was received as a descriptor. It wraps an
// [os.File] rather than a net.Conn made by net.FileConn, which would duplicate
// the descriptor and ask the kernel six questions whose answers came along.
// It has SyscallConn, to wait for readability without a buffer.
type Conn struct {
	*os.File
	local, remote netip.AddrPort
}

// NewConn returns the connection in f, which it owns from then on.
func NewConn(f *os.File, local, remote netip.AddrPort) (*Conn, error) {
	// The login process had it in non-blocking mode; a socket pair may not be.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	f.Close()
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &Conn{File: os.NewFile(uintptr(fd), "client"), local: local, remote: remote}, nil
}

// LocalAddr returns the server's address.
func (c *Conn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// CloseWrite tells the client that nothing more will come.
func (c *Conn) CloseWrite() error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var shutErr error
	if err := raw.Control(func(fd uintptr) { shutErr = unix.Shutdown(int(fd), unix.SHUT_WR) }); err != nil {
		return err
	}
	return shutErr
}

package master

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxMessage bounds one control message; what is larger goes as a memfd.
const maxMessage = 96 << 10

// maxFiles is the most descriptors one message carries (SCM_MAX_FD).
const maxFiles = 253

// A Conn is a control socket between master and child. Send may be called
// concurrently; Receive by one goroutine at a time.
type Conn struct {
	uc  *net.UnixConn
	mu  sync.Mutex // serializes writers
	out []byte
	in  []byte
	oob []byte
}

// A Message is one datagram of a control socket. Whoever receives it owns Files.
type Message struct {
	Kind  string
	Body  []byte // JSON; valid until the next Receive
	Files []*os.File

	lost bool // descriptors were: see ErrDescriptors
}

// ErrDescriptors says that a message came without its descriptors, because the process has as many open as it may
// (RLIMIT_NOFILE).
var ErrDescriptors = errors.New("control message: its descriptors are lost: too many open files")

// Decode unmarshals the body.
func (m *Message) Decode(v any) error {
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("control message %s: %w", m.Kind, err)
	}
	return nil
}

// CloseFiles closes the descriptors of a message that nobody wants.
func (m *Message) CloseFiles() {
	for _, f := range m.Files {
		f.Close()
	}
}

// NewPair returns the two ends of a control socket: one to use here and one to
// give to a child.
func NewPair() (*Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds {
		// Room for a burst of logins while the other side is being scheduled.
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20) //nolint:errcheck // a smaller buffer only blocks earlier
	}
	theirs := os.NewFile(uintptr(fds[1]), "control")
	ours, err := NewConn(os.NewFile(uintptr(fds[0]), "control"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// NewConn returns the control socket in f, and closes f.
func NewConn(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("control socket: not a UNIX-domain socket")
	}
	return &Conn{uc: uc, in: make([]byte, maxMessage), oob: make([]byte, unix.CmsgSpace(4*maxFiles))}, nil
}

// Close closes the socket; the other side's Receive then returns io.EOF.
func (c *Conn) Close() error { return c.uc.Close() }

// Send sends one message. The files stay the caller's.
func (c *Conn) Send(kind string, body any, files ...*os.File) error {
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fd, err := descriptor(f)
			if err != nil {
				return err
			}
			fds[i] = fd
		}
		oob = unix.UnixRights(fds...)
	}
	err := c.send(kind, body, oob)
	runtime.KeepAlive(files)
	return err
}

// descriptor returns the descriptor of f. [os.File.Fd] would put a socket into
// blocking mode, and with it all descriptors of it in all processes: one that waits
// for clients at a listener would no longer notice that it was closed.
func descriptor(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	var n int
	err = raw.Control(func(fd uintptr) { n = int(fd) })
	return n, err
}

// SendConn sends one message with a connection's descriptor. The connection
// stays the caller's.
func (c *Conn) SendConn(kind string, body any, conn syscall.Conn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var sendErr error
	if err := raw.Control(func(fd uintptr) { sendErr = c.send(kind, body, unix.UnixRights(int(fd))) }); err != nil {
		return err
	}
	return sendErr
}

func (c *Conn) send(kind string, body any, oob []byte) error {
	js, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("control message %s: %w", kind, err)
	}
	if len(kind)+1+len(js) > maxMessage {
		return fmt.Errorf("control message %s: %d bytes is more than the limit of %d", kind, len(js), maxMessage)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(append(append(c.out[:0], kind...), '\n'), js...)
	if _, _, err := c.uc.WriteMsgUnix(c.out, oob, nil); err != nil {
		return fmt.Errorf("control message %s: %w", kind, err)
	}
	return nil
}

// Receive waits for the next message. It returns io.EOF when the other side is gone. With ErrDescriptors the message
// is there, but none of its files.
func (c *Conn) Receive() (Message, error) {
	n, oobn, flags, _, err := c.uc.ReadMsgUnix(c.in, c.oob)
	if err != nil {
		return Message{}, err
	}
	if n == 0 && oobn == 0 {
		return Message{}, io.EOF
	}
	files, err := receivedFiles(c.oob[:oobn])
	if err != nil {
		return Message{}, err
	}
	m := Message{Files: files}
	if flags&unix.MSG_TRUNC != 0 {
		m.CloseFiles()
		return Message{}, errors.New("control message: truncated")
	}
	kind, body, _ := bytes.Cut(c.in[:n], []byte{'\n'})
	m.Kind, m.Body = string(kind), body
	if flags&unix.MSG_CTRUNC != 0 {
		m.CloseFiles()
		m.Files, m.lost = nil, true
		return m, ErrDescriptors
	}
	return m, nil
}

func receivedFiles(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("control message: %w", err)
	}
	var files []*os.File
	for i := range msgs {
		fds, err := unix.ParseUnixRights(&msgs[i])
		if err != nil {
			continue // credentials, or something newer
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// Memfd returns an anonymous file with the given content, for what is larger
// than a control message or must not be on disk.
func Memfd(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.WriteAt(content, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("memfd %s: %w", name, err)
	}
	return f, nil
}

// ReadMemfd returns the content of a file made by [Memfd] and closes it.
func ReadMemfd(f *os.File) ([]byte, error) {
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), content); err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	return content, nil
}

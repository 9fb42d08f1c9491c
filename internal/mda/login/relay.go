package login

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// A relay connects the TLS session of a client with the mail process. It is all
// that is left of the session here: two goroutines and, while data flows, a
// buffer each.
type relay struct {
	srv    *Server
	client *tls.Conn
	raw    *gate // below client
	peer   *net.UnixConn
}

// relayPatience is how long a client may leave output unread: longer than the
// mail process bears it, which then says so in its log.
const relayPatience = 15 * time.Minute

// relayBuffer is a TLS record's content: larger buffers save nothing.
const relayBuffer = 16 << 10

var relayBuffers = sync.Pool{New: func() any { return new([relayBuffer]byte) }}

// goodbyeTime is how long relaying goes on when this process is to end. The mail process is
// told at the same time and says goodbye; the master kills what has not ended after 5 s.
const goodbyeTime = 3 * time.Second

// run relays until both directions are closed. When ctx ends it goes on for as long as the
// mail process may take to say goodbye to the client.
func (r *relay) run(ctx context.Context) {
	r.raw.SetDeadline(time.Time{}) //nolint:errcheck // of the login; a closed connection shows in the first read
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(r.srv.goodbyeTime, r.close) })
	defer stop()
	defer r.close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.srv.recover(r.raw)
		r.toClient()
	}()
	r.toPeer()
	<-done
}

func (r *relay) close() {
	r.raw.Close()  //nolint:errcheck // nobody is left to be told
	r.peer.Close() //nolint:errcheck
}

// toPeer relays what the client sends. The first byte of a record is awaited
// in a buffer of its own, so that idle clients hold no large one.
func (r *relay) toPeer() {
	var first [1]byte
	for {
		n, err := r.client.Read(first[:])
		if n == 0 || err != nil {
			break
		}
		if err := r.forward(first[0]); err != nil {
			break
		}
	}
	r.peer.CloseWrite() //nolint:errcheck // the mail process sees the end of input
}

// forward relays a byte and what was decrypted with it.
func (r *relay) forward(first byte) error {
	buf := relayBuffers.Get().(*[relayBuffer]byte)
	defer relayBuffers.Put(buf)
	buf[0] = first
	r.raw.shut = true
	n, err := r.client.Read(buf[1:])
	r.raw.shut = false
	if err != nil && !errors.Is(err, errShut) {
		return err
	}
	_, err = r.peer.Write(buf[:1+n])
	return err
}

// toClient relays what the mail process sends. When that closes its end, the
// client's session is over.
func (r *relay) toClient() {
	defer r.close()
	raw, err := r.peer.SyscallConn()
	if err != nil {
		return
	}
	in := input{}
	for in.wait(raw) {
		// The mail process cannot make a relay end that waits for its client.
		r.raw.SetWriteDeadline(time.Now().Add(r.srv.relayPatience)) //nolint:errcheck // the write shows it
		_, err := r.client.Write(in.buf[:in.n])
		relayBuffers.Put(in.buf)
		if err != nil {
			return
		}
	}
	r.client.CloseWrite() //nolint:errcheck // close_notify is a courtesy
}

// input is what was read from the mail process.
type input struct {
	buf *[relayBuffer]byte
	n   int
}

// wait waits for input, without a buffer, and reads it into one. It returns
// false at the end of input.
func (in *input) wait(raw syscall.RawConn) bool {
	err := raw.Read(func(fd uintptr) bool {
		in.buf = relayBuffers.Get().(*[relayBuffer]byte)
		var err error
		in.n, err = ignoringEINTR(func() (int, error) { return syscall.Read(int(fd), in.buf[:]) })
		if in.n <= 0 {
			relayBuffers.Put(in.buf)
			in.buf = nil
		}
		return err != syscall.EAGAIN //nolint:errorlint // a bare errno
	})
	return err == nil && in.n > 0
}

func ignoringEINTR(read func() (int, error)) (int, error) {
	for {
		n, err := read()
		if err != syscall.EINTR { //nolint:errorlint // a bare errno
			return n, err
		}
	}
}

// A gate is the connection below a TLS session. While it is shut, reads give
// errShut instead of waiting, which shows whether the session still has
// decrypted input.
type gate struct {
	net.Conn
	shut bool // only the reading goroutine uses it
}

func (g *gate) Read(p []byte) (int, error) {
	if g.shut {
		return 0, errShut
	}
	return g.Conn.Read(p)
}

// errShut is temporary, so that the TLS session can be read again.
var errShut net.Error = shutError{}

type shutError struct{}

func (shutError) Error() string   { return "no input buffered" }
func (shutError) Timeout() bool   { return true }
func (shutError) Temporary() bool { return true }

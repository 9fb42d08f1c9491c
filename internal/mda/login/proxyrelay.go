package login

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// A proxyRelay connects a client with the server on which it has logged in. It is all that
// is left of the session: two goroutines and, while data flows, a buffer each.
type proxyRelay struct {
	srv            *Server
	record         *proxyRecord
	client, server side
	user           string        // at the server
	notify         time.Duration // between two notes that the user is here; 0: none
	delay          time.Duration // login_proxy_max_disconnect_delay

	logBefore, logAfter string // of a log line
	in, out             atomic.Int64
	last                atomic.Int64 // when data was relayed last, in Unix seconds

	toServer, toClient []byte // what was read before

	over   sync.Once
	closed chan struct{} // by over
	linger time.Duration // the client stays that much longer
}

// A side is one of the two connections.
type side struct {
	raw  net.Conn
	tls  *tls.Conn // nil without TLS
	gate *gate     // below it
}

func (s *side) writer() io.Writer {
	if s.tls != nil {
		return s.tls
	}
	return s.raw
}

// errEnd is an error of relaying after which there is nothing to say.
var errEnd = errors.New("end of input")

// read waits for input, without holding a buffer, and passes it on.
func (s *side) read(pass func([]byte) error) error {
	if s.tls == nil {
		return s.readRaw(pass)
	}
	var first [1]byte
	for {
		n, err := s.tls.Read(first[:])
		switch {
		case n == 0 && err != nil:
			return err
		case n == 0:
			continue
		}
		if err := s.readRecord(first[0], pass); err != nil {
			return err
		}
	}
}

// readRecord reads what was decrypted with a byte.
func (s *side) readRecord(first byte, pass func([]byte) error) error {
	buf := relayBuffers.Get().(*[relayBuffer]byte)
	defer relayBuffers.Put(buf)
	buf[0] = first
	s.gate.shut = true
	n, err := s.tls.Read(buf[1:])
	s.gate.shut = false
	if err != nil && !errors.Is(err, errShut) && n == 0 {
		if passed := pass(buf[:1]); passed != nil {
			return passed
		}
		return err
	}
	return pass(buf[:1+n])
}

func (s *side) readRaw(pass func([]byte) error) error {
	sc, ok := s.raw.(syscall.Conn)
	if !ok {
		return s.readRecorded(pass)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	for {
		in := input{}
		if !in.wait(raw) {
			return errEnd
		}
		err := pass(in.buf[:in.n])
		relayBuffers.Put(in.buf)
		if err != nil {
			return err
		}
	}
}

// readRecorded is the same for a connection with a record, which must see all that is read.
func (s *side) readRecorded(pass func([]byte) error) error {
	buf := relayBuffers.Get().(*[relayBuffer]byte)
	defer relayBuffers.Put(buf)
	for {
		n, err := s.raw.Read(buf[:])
		if n > 0 {
			if err := pass(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// An outputError is one of the side that is written to.
type outputError struct{ error }

// run relays until one side has gone, or ctx ends.
func (r *proxyRelay) run(ctx context.Context) {
	r.closed = make(chan struct{})
	r.last.Store(time.Now().Unix())
	stop := context.AfterFunc(ctx, func() { r.end("Disconnected by proxy: Process shutting down", 0) })
	defer stop()
	if r.notify > 0 {
		t := time.AfterFunc(r.notify, r.stillHere)
		defer t.Stop()
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer r.srv.recover(r.client.raw)
		r.copy(&r.client, &r.server, &r.in, r.toServer, "client", "server")
	}()
	r.copy(&r.server, &r.client, &r.out, r.toClient, "server", "client")
	<-r.closed
	stop()
	r.stay(ctx, done)
	r.client.raw.Close() //nolint:errcheck // nobody is left to be told
	<-done
}

// stillHere tells login_proxy_notify_path, now and again.
func (r *proxyRelay) stillHere() {
	if !r.isOver() {
		r.srv.proxies.notify(r.user)
		time.AfterFunc(r.notify, r.stillHere)
	}
}

func (r *proxyRelay) isOver() bool {
	select {
	case <-r.closed:
		return true
	default:
		return false
	}
}

// copy relays one direction until its end, which is the end of both.
func (r *proxyRelay) copy(from, to *side, count *atomic.Int64, first []byte, fromName, toName string) {
	pass := func(b []byte) error {
		if r.isOver() {
			return nil // a client that may stay a while longer
		}
		// Nobody can make a relay wait that never reads.
		to.raw.SetWriteDeadline(time.Now().Add(r.srv.relayPatience)) //nolint:errcheck // the write shows it
		count.Add(int64(len(b)))                                     // before the other side can answer, and leave
		_, err := to.writer().Write(b)
		r.last.Store(time.Now().Unix())
		if err != nil {
			return outputError{err}
		}
		return nil
	}
	var err error
	if len(first) > 0 {
		err = pass(first)
	}
	r.forgetFirst(fromName)
	if err == nil {
		err = from.read(pass)
	}
	var output outputError
	name := fromName
	if errors.As(err, &output) {
		name, err = toName, output.error
	}
	text := "Disconnected by " + name
	if !errors.Is(err, errEnd) && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		text += ": " + dialError(err)
	}
	r.ended(text, name == "server")
}

func (r *proxyRelay) forgetFirst(from string) {
	if from == "client" {
		r.toServer = nil
		return
	}
	r.toClient = nil
}

// ended is called by each direction; the first one counts.
func (r *proxyRelay) ended(text string, byServer bool) {
	idle := time.Now().Unix() - r.last.Load()
	text += fmt.Sprintf(" (%ds idle, in=%d, out=%d)", idle, r.in.Load(), r.out.Load())
	delay := time.Duration(0)
	if byServer {
		delay = -1 // to be found
	}
	r.end(text, delay)
}

// end closes the connection to the server, once. The client's is closed when all was
// said to it.
func (r *proxyRelay) end(text string, delay time.Duration) {
	r.over.Do(func() {
		r.server.raw.Close() //nolint:errcheck // nobody is left to be told
		r.record.leave()
		r.srv.Relays.remove(r)
		if delay < 0 {
			r.linger = r.record.delayDisconnect(r.delay, time.Now())
		}
		if r.linger > 0 {
			text += fmt.Sprintf(" - disconnecting client in %dms", r.linger.Milliseconds())
		} else {
			r.closeClient()
		}
		r.srv.log.Append(maillog.Info, func(b []byte) []byte {
			b = append(append(b, r.logBefore...), text...)
			return append(b, r.logAfter...)
		})
		close(r.closed)
	})
}

func (r *proxyRelay) closeClient() {
	if r.client.tls != nil {
		// A client that does not read must not hold this up.
		r.client.raw.SetWriteDeadline(time.Now().Add(time.Second)) //nolint:errcheck // the write shows it
		r.client.tls.CloseWrite()                                  //nolint:errcheck // close_notify is a courtesy
	}
	r.client.raw.Close() //nolint:errcheck // nobody is left to be told
}

// stay waits with a client whose server has gone until it leaves, or has to.
func (r *proxyRelay) stay(ctx context.Context, left <-chan struct{}) {
	if r.linger == 0 {
		return
	}
	defer r.record.delayOver()
	select {
	case <-time.After(r.linger):
	case <-left:
	case <-ctx.Done():
	}
}

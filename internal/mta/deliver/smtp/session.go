package smtp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// maxReplyLine is the longest line accepted from a server (line_length_limit).
const maxReplyLine = 2048

// extensions are those a server offers.
type extensions uint16

const (
	extPipelining extensions = 1 << iota
	ext8BitMIME
	extSize
	extStartTLS
	extDSN
	extSMTPUTF8
	extAuth
)

var extensionNames = map[string]extensions{
	"PIPELINING": extPipelining, "8BITMIME": ext8BitMIME, "SIZE": extSize, "STARTTLS": extStartTLS,
	"DSN": extDSN, "SMTPUTF8": extSMTPUTF8, "AUTH": extAuth,
}

// A session is one connection to a server, greeted and ready for mail. It is
// used by one goroutine at a time.
type session struct {
	agent     *Agent
	server    *server
	conn      net.Conn
	r         *wire.Reader
	ext       extensions
	sizeLimit int64 // the server's SIZE, 0 for none
	uses      int
	began     time.Time // when the connection was begun
	opened    time.Time
	idleSince time.Time
	out       []byte // commands, kept for reuse
}

// connect opens a session. A status says why there is none.
func (a *Agent) connect(ctx context.Context, srv *server) (*session, *deliver.Status) {
	s, status, err := a.open(ctx, srv, a.level)
	if errors.Is(err, errHandshake) {
		// Opportunistic TLS: better in plain text than not at all.
		s, status, _ = a.open(ctx, srv, tlsNone)
	}
	return s, status
}

func (a *Agent) open(ctx context.Context, srv *server, level tlsLevel) (*session, *deliver.Status, error) {
	s := &session{agent: a, server: srv, began: time.Now()}
	if status := s.dial(ctx); status != nil {
		return nil, status, nil
	}
	status, err := s.greet(level)
	if status == nil && err == nil && a.set.SASLEnable {
		status = s.fail(deliver.Deferred, wire.Enhanced{4, 7, 0}, "SASL authentication failed: the SMTP client cannot log in to servers yet")
	}
	if status != nil || err != nil {
		s.close()
		return nil, status, err
	}
	s.opened = time.Now()
	return s, nil, nil
}

func (s *session) dial(ctx context.Context) *deliver.Status {
	d := net.Dialer{Timeout: s.agent.set.ConnectTimeout, KeepAlive: -1, LocalAddr: s.agent.bindAddress(s.server)}
	conn, err := d.DialContext(ctx, s.server.network, s.server.address)
	if err != nil {
		text := "connect to " + s.server.relay() + ": " + reason(err)
		s.agent.log.Info(text)
		return s.fail(deliver.Deferred, wire.Enhanced{4, 4, 1}, text)
	}
	s.conn = conn
	s.r = wire.NewReader(conn, maxReplyLine)
	return nil
}

// bindAddress is the local address of a connection, or nil.
func (a *Agent) bindAddress(srv *server) net.Addr {
	bind := a.set.BindAddress
	if srv.ip.Is6() {
		bind = a.set.BindAddress6
	}
	if ip, err := netip.ParseAddr(bind); err == nil && srv.network == "tcp" {
		return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, 0))
	}
	return nil
}

// reason is the cause of a network error in the words of strerror(3).
func reason(err error) string {
	var errno syscall.Errno
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return "Connection timed out"
	}
	text := err.Error()
	if errors.As(err, &errno) {
		text = errno.Error()
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// greet reads the greeting and learns what the server can do, before and after
// STARTTLS.
func (s *session) greet(level tlsLevel) (*deliver.Status, error) {
	set := s.agent.set
	s.r.SetTimeout(set.HeloTimeout)
	if set.TLSWrapper {
		if status, err := s.handshake(level, ""); status != nil || err != nil {
			return status, err
		}
	}
	reply, err := s.r.ReadReply()
	if err != nil {
		return s.lost(err, "receiving the initial server greeting"), nil
	}
	if reply.Code/100 != 2 {
		return s.refused(reply), nil
	}
	if status := s.hello(); status != nil {
		return status, nil
	}
	if set.TLSWrapper {
		return nil, nil
	}
	plain := s.conn
	status, err := s.startTLS(level, s.server.host)
	if status != nil || err != nil || s.conn == plain {
		return status, err
	}
	return s.hello(), nil // what was said in plain text does not count (RFC 3207 4.2)
}

// hello sends EHLO, or HELO where the server does not know it, or LHLO.
func (s *session) hello() *deliver.Status {
	verb := "EHLO "
	if s.agent.protocol == LMTP {
		verb = "LHLO "
	} else if s.agent.set.NeverSendEHLO {
		verb = "HELO "
	}
	s.ext, s.sizeLimit = 0, 0
	for {
		state := "performing the " + strings.TrimSpace(verb) + " handshake"
		s.r.SetTimeout(s.agent.set.HeloTimeout)
		if status := s.command(verb + s.agent.set.HeloName + "\r\n"); status != nil {
			return status
		}
		reply, err := s.r.ReadReply()
		switch {
		case err != nil:
			return s.lost(err, state)
		case reply.Code/100 == 2:
			s.learn(reply.Text)
			return nil
		case verb == "EHLO " && reply.Code/100 == 5:
			verb = "HELO "
		default:
			return s.refused(reply)
		}
	}
}

// learn takes the extensions from the lines of an EHLO reply.
func (s *session) learn(text string) {
	_, lines, _ := strings.Cut(text, "\n")
	for line := range strings.SplitSeq(lines, "\n") {
		name, args, _ := strings.Cut(line, " ")
		ext := extensionNames[strings.ToUpper(name)]
		s.ext |= ext
		if ext == extSize {
			s.sizeLimit, _ = strconv.ParseInt(strings.TrimSpace(args), 10, 64)
		}
	}
}

// command sends one line.
func (s *session) command(line string) *deliver.Status {
	s.conn.SetWriteDeadline(time.Now().Add(s.agent.set.HeloTimeout))
	if _, err := s.conn.Write([]byte(line)); err != nil {
		return s.lost(err, "sending "+strings.TrimSpace(line))
	}
	return nil
}

// quit ends the session in order. The answer is not awaited: nothing depends on it.
func (s *session) quit() {
	s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	s.conn.Write([]byte("QUIT\r\n")) //nolint:errcheck // the connection is closed either way
	s.close()
}

func (s *session) close() {
	if s.conn != nil {
		s.conn.Close()
		s.r.Release()
	}
}

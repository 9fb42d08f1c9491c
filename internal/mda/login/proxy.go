package login

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/rawlog"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

const (
	// proxyTTL is how many proxies a session may pass through.
	proxyTTL = 5

	// proxyRetry is the pause before a server that failed is tried again. An
	// attempt for which less than that would be left is not made.
	proxyRetry = time.Second

	// maxProxyLine is the longest line taken from the server before the login is done.
	maxProxyLine = 4096
)

// proxyFailureKind says who is to blame when a login at the other server failed.
type proxyFailureKind uint8

const (
	proxyConnect  proxyFailureKind = iota // it cannot be reached, or has gone
	proxyInternal                         // this server
	proxyRemote                           // it refuses to go on
	proxyConfig                           // it can never work like that
	proxyProtocol                         // it says what nobody understands
	proxyAuth                             // it refuses the login; the client was told
	proxyAuthTemp                         // it refuses the login for now
)

// proxyPrefixes begin the log lines, by kind.
var proxyPrefixes = [...]string{
	proxyInternal: "Aborting due to internal error: ",
	proxyRemote:   "Aborting due to remote server: ",
	proxyConfig:   "Aborting due to remote server: ",
	proxyProtocol: "Remote server sent invalid input: ",
	proxyAuthTemp: "",
}

// A proxyError is why a session could not be relayed.
type proxyError struct {
	kind proxyFailureKind
	text string
}

func (e *proxyError) Error() string { return proxyPrefixes[e.kind] + e.text }

// retried reports whether another attempt makes sense.
func (e *proxyError) retried() bool {
	return e.kind == proxyConnect || e.kind == proxyRemote || e.kind == proxyProtocol || e.kind == proxyAuthTemp
}

// A proxy is a session on its way to another server.
type proxy struct {
	*session
	dest       *destination
	dialogue   proxyDialogue
	record     *proxyRecord
	began      time.Time
	reconnects int

	// Of the present attempt.
	ctx         context.Context
	server      net.Conn // as connected; nil until then
	serverTLS   *tls.Conn
	serverGate  *gate
	from        reader
	sent        int64 // bytes since the connection, or TLS on it, began
	sasl        sasl.Client
	saslStarted bool // its initial response was sent
	xclient     bool // POP3: the server takes XCLIENT
}

// A proxyDialogue logs in at another server, as the client of IMAP or POP3 does.
type proxyDialogue interface {
	// reset forgets what an earlier attempt said.
	reset()
	// line handles a line of the server. done is that the client is logged in: it
	// was told so.
	line(p *proxy, line string) (done bool, err *proxyError)
	// state is how far it came, for log lines.
	state() string
	// failed answers the client, unless that was done.
	failed(p *proxy, err *proxyError)
}

// startProxy relays the session to the server that the passdb's fields name. It returns
// false when the session is over: relayed, or ended.
func (c *session) startProxy(ctx context.Context, fields client.Fields) bool {
	prefix := "proxy(" + c.user + "): "
	dest, err := newDestination(c, fields, func(text string) { c.log(maillog.Error, text) })
	p := &proxy{session: c, dest: dest, dialogue: c.protocol.proxyDialogue(), began: time.Now()}
	c.state = stateIdle
	if err != nil {
		c.log(maillog.Error, prefix+err.Error())
		p.dialogue.failed(p, &proxyError{kind: proxyInternal})
		return true
	}
	dest.source = c.srv.proxies.source(dest.source)
	p.record = c.srv.proxies.record(dest.addr)
	c.srv.Relays.add(p, p.relayedSession(fields))
	defer p.forget()
	if err := p.login(ctx); err != nil {
		return p.refused(err)
	}
	p.log(maillog.Info, p.started())
	c.relayed = p.detach()
	return false
}

// forget drops secrets and, unless it is relayed now, the connection.
func (p *proxy) forget() {
	p.from.release()
	if p.relayed != nil {
		p.srv.Relays.replace(p, p.relayed)
		return
	}
	p.srv.Relays.remove(p)
	if p.server != nil {
		p.disconnect()
	}
}

// log writes a line about the proxying.
func (p *proxy) log(level maillog.Level, text string) {
	p.session.log(level, p.prefix()+text)
}

func (p *proxy) prefix() string {
	return "proxy(" + p.user + "," + p.dest.addr.Addr().String() + ":" + strconv.Itoa(int(p.dest.addr.Port())) + "): "
}

// refused ends the attempt to relay. The client may try another login, unless its time
// is over.
func (p *proxy) refused(err *proxyError) bool {
	if p.ended {
		return false
	}
	if i := p.interrupted.Load(); i != nil {
		p.end(i.text, i.cause)
		return false
	}
	if time.Since(p.created) >= loginTimeout {
		cause := fmt.Sprintf("Logging in timed out (state=%s, duration=%ds)", p.dialogue.state(), int(time.Since(p.created).Seconds()))
		p.log(maillog.Error, cause)
		p.end(textTimeoutLogin, cause)
		return false
	}
	if err.kind != proxyAuth && err.kind != proxyAuthTemp {
		p.log(maillog.Error, err.Error())
	} else {
		if p.set.AuthVerbose {
			p.log(maillog.Info, "Login failed"+p.as()+": "+err.text)
		}
		p.proxyRefused = true
	}
	p.dialogue.failed(p, err)
	return true
}

// as says where the connection comes from and as whom it logs in, if that is special.
func (p *proxy) as() string {
	text := ""
	if p.dest.source.IsValid() {
		text += " from " + p.dest.source.String()
	}
	if p.dest.user != p.user {
		text += " as user " + p.dest.user
	}
	if p.dest.master != "" {
		text += " (master " + p.dest.master + ")"
	}
	return text
}

// started is the log line of a session that is relayed from now on.
func (p *proxy) started() string {
	ip := p.dest.addr.Addr().String()
	text := "Started proxying to <" + ip + ">"
	if p.dest.host != ip {
		text += " (<" + p.dest.host + ">)"
	}
	took := time.Since(p.began)
	text += p.as() + fmt.Sprintf(" (%d.%03d secs", int(took.Seconds()), took.Milliseconds()%1000)
	if p.reconnects > 0 {
		text += fmt.Sprintf(", %d reconnects", p.reconnects)
	}
	return text + ")"
}

// login connects and logs in, several times if need be.
func (p *proxy) login(ctx context.Context) *proxyError {
	if p.ttl <= 1 {
		return &proxyError{proxyConfig, "TTL reached zero - proxies appear to be looping?"}
	}
	for {
		err := p.attempt(ctx)
		if err == nil {
			return nil
		}
		left := p.dest.timeout - time.Since(p.began)
		if !err.retried() || ctx.Err() != nil || p.reconnects >= int(p.set.ProxyMaxReconnects) || left <= proxyRetry+100*time.Millisecond {
			return err
		}
		p.disconnect()
		p.dialogue.reset()
		select {
		case <-time.After(proxyRetry):
		case <-ctx.Done():
			return err
		}
		p.reconnects++
	}
}

// disconnect ends the present attempt.
func (p *proxy) disconnect() {
	if p.server == nil {
		return
	}
	p.server.Close() //nolint:errcheck // what was sent is of no use
	p.record.leave()
	p.from.release()
	p.server, p.serverTLS, p.serverGate, p.sasl, p.sent = nil, nil, nil, nil, 0
	p.saslStarted, p.xclient = false, false
}

// attempt connects and logs in once.
func (p *proxy) attempt(ctx context.Context) *proxyError {
	deadline := time.Now().Add(p.dest.timeout)
	if end := p.created.Add(loginTimeout); end.Before(deadline) {
		deadline = end
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	if err := p.connect(ctx); err != nil {
		return err
	}
	p.from = reader{conn: p.server}
	stop := context.AfterFunc(ctx, func() { p.server.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // wakes who waits
	defer stop()
	p.ctx = ctx
	err := p.converse(ctx)
	if err == nil && !stop() {
		return p.timedOut() // the deadline is set on the connection
	}
	return err
}

// connect makes the connection, unless too many wait for the same server already.
func (p *proxy) connect(ctx context.Context) *proxyError {
	if !p.record.wait(p.dest.downAfter) {
		return &proxyError{proxyConnect, "Host is down"}
	}
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	if p.dest.source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: p.dest.source.AsSlice()}
	}
	conn, err := d.DialContext(ctx, "tcp", p.dest.addr.String())
	p.record.connected(err == nil, p.began)
	if err != nil {
		return &proxyError{proxyConnect, fmt.Sprintf("connect(%s, %d) failed: %s%s", p.dest.addr.Addr(), p.dest.addr.Port(), dialError(err), p.after(d.LocalAddr))}
	}
	if p.server, err = rawlog.Record(conn, p.set.ProxyRawlogDir); err != nil {
		p.log(maillog.Error, "login_proxy_rawlog_dir: "+err.Error())
	}
	return nil
}

// dialError is what the system says of a connection that could not be made.
func dialError(err error) string {
	var errno syscall.Errno
	switch {
	case errors.As(err, &errno):
		text := errno.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out"
	}
	return err.Error()
}

// after says how long the attempts took.
func (p *proxy) after(local net.Addr) string {
	text := fmt.Sprintf(" (after %d secs", int(time.Since(p.began).Seconds()))
	if p.reconnects > 0 {
		text += fmt.Sprintf(", %d reconnects", p.reconnects)
	}
	if p.server != nil {
		local = p.server.LocalAddr()
	}
	if ap := addrPort(local); ap.Port() != 0 {
		text += ", local=" + ap.String()
	} else if ap.IsValid() {
		text += ", local=" + ap.Addr().String()
	}
	return text + ")"
}

func (p *proxy) timedOut() *proxyError {
	return &proxyError{proxyConnect, "Login timed out in state=" + p.dialogue.state() + p.after(nil)}
}

// converse logs in over the connection.
func (p *proxy) converse(ctx context.Context) *proxyError {
	if p.dest.implicitTLS() {
		if err := p.startServerTLS(ctx); err != nil {
			return err
		}
	}
	for {
		line, err := p.from.line(maxProxyLine)
		switch {
		case errors.Is(err, errTooLong):
			return &proxyError{proxyProtocol, "Too long input line"}
		case errors.Is(err, os.ErrDeadlineExceeded):
			return p.timedOut()
		case err != nil:
			return p.lost(err)
		}
		done, failure := p.dialogue.line(p, string(line))
		if done || failure != nil {
			return failure
		}
	}
}

// lost is for a server that is gone in the middle of the dialogue.
func (p *proxy) lost(err error) *proxyError {
	reason := causeClosed
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		reason += ": " + dialError(err)
	}
	return &proxyError{proxyConnect, fmt.Sprintf("Disconnected by server: %s (state=%s, duration=%ds)",
		reason, p.dialogue.state(), int(time.Since(p.created).Seconds()))}
}

// startServerTLS does the handshake with the server, and looks at its certificate.
func (p *proxy) startServerTLS(ctx context.Context) *proxyError {
	config, err := p.outgoingTLS(p.dest.host, p.dest.anyCert)
	if err != nil {
		return &proxyError{proxyInternal, "Failed to create SSL client: " + err.Error()}
	}
	p.from.discard() // what came in plain text is not to be believed
	p.serverGate = &gate{Conn: p.server}
	p.serverTLS = tls.Client(p.serverGate, config)
	if err := p.serverTLS.HandshakeContext(ctx); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
			return p.timedOut()
		}
		return p.lost(errors.New(handshakeError(err)))
	}
	p.from.conn, p.sent = p.serverTLS, 0
	return nil
}

// send writes to the server. Errors show in the next read.
func (p *proxy) send(text string) {
	p.sent += int64(len(text))
	if p.serverTLS != nil {
		io.WriteString(p.serverTLS, text) //nolint:errcheck // as said
		return
	}
	io.WriteString(p.server, text) //nolint:errcheck // as said
}

// answerChallenge answers a challenge of the server's mechanism, both in base64.
func (p *proxy) answerChallenge(text string, ok bool) (string, error) {
	challenge, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !ok {
		return "", errors.New("Invalid base64 data in AUTHENTICATE response")
	}
	var answer []byte
	if !p.saslStarted && len(challenge) == 0 {
		p.saslStarted = true
		if answer, err = p.sasl.Start(); err == nil && answer == nil {
			answer, err = p.sasl.Next(challenge)
		}
	} else {
		answer, err = p.sasl.Next(challenge)
	}
	if err != nil {
		return "", fmt.Errorf("Invalid authentication data: %w", err)
	}
	return base64.StdEncoding.EncodeToString(answer), nil
}

// detach makes of the session what is left of it when it is relayed.
func (p *proxy) detach() *proxyRelay {
	c := p.session
	c.conn.SetDeadline(time.Time{})   //nolint:errcheck // a closed connection shows in the first read
	p.server.SetDeadline(time.Time{}) //nolint:errcheck
	r := &proxyRelay{
		srv: c.srv, record: p.record, notify: p.dest.refresh, user: p.dest.user, delay: c.set.ProxyMaxDisconnectDelay,
		client: side{raw: c.conn, tls: c.tlsConn, gate: c.gate},
		server: side{raw: p.server, tls: p.serverTLS, gate: p.serverGate},
	}
	r.logBefore, r.logAfter = c.logFrame(p.prefix())
	r.in.Store(p.sent)
	r.out.Store(c.written)
	r.toServer, r.toClient = clone(c.in.pending()), clone(p.from.pending())
	return r
}

// clone is nil for nothing, so that a relayed session holds no empty buffer.
func clone(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return append([]byte(nil), b...)
}

package smtpd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A policyServer is asked by check_policy_service (SMTPD_POLICY_README). Its connections
// are kept for further requests.
type policyServer struct {
	name             string // as warnings name it: "inet:host:port"
	network, address string
	set              PolicySettings
	log              *maillog.Logger

	mu   sync.Mutex
	idle []*policyConn
}

type policyConn struct {
	net.Conn
	r        *bufio.Reader
	born     time.Time
	used     time.Time
	requests int
}

// newPolicyServer reads "unix:path", "inet:host:port", or "{ one of these, name = value ...}".
func newPolicyServer(main *postfix.Main, spec string, log *maillog.Logger) (*policyServer, error) {
	p := &policyServer{name: spec, log: log}
	if err := main.Decode(&p.set); err != nil {
		return nil, err
	}
	if inner, ok := strings.CutPrefix(spec, "{"); ok {
		inner, ok = strings.CutSuffix(inner, "}")
		if !ok {
			return nil, fmt.Errorf("policy service syntax error: missing '}' in \"%s\"", spec)
		}
		words := postfix.SplitList(inner)
		if len(words) == 0 {
			return nil, fmt.Errorf("empty policy service: \"%s\"", spec)
		}
		p.name = words[0]
		for _, option := range words[1:] {
			if err := p.option(option); err != nil {
				return nil, fmt.Errorf("policy service %s: %w", spec, err)
			}
		}
	}
	transport, address, _ := strings.Cut(p.name, ":")
	switch transport {
	case "inet":
		p.network, p.address = "tcp", address
	case "unix", "local":
		p.network, p.address = "unix", address
		if !filepath.IsAbs(address) {
			queue, _, err := main.Expand("queue_directory")
			if err != nil {
				return nil, err
			}
			p.address = filepath.Join(queue, address)
		}
	default:
		return nil, fmt.Errorf("invalid transport name: %s in service: %s", transport, p.name)
	}
	return p, nil
}

// option overrides a default for this server.
func (p *policyServer) option(text string) error {
	text = strings.TrimSpace(strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}"))
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return fmt.Errorf("missing '=' after attribute name: \"%s\"", text)
	}
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	set := &p.set
	switch name {
	case "default_action":
		set.DefaultAction = value
		return nil
	case "policy_context":
		set.Context = value
		return nil
	}
	if n, ok := map[string]*int{"request_limit": &set.RequestLimit, "try_limit": &set.TryLimit}[name]; ok {
		var err error
		if *n, err = strconv.Atoi(value); err != nil || *n < 0 {
			return fmt.Errorf("bad numerical configuration: %s", text)
		}
		return nil
	}
	times := map[string]*time.Duration{
		"max_idle": &set.MaxIdle, "max_ttl": &set.MaxTTL, "retry_delay": &set.RetryDelay, "timeout": &set.Timeout,
	}
	d, ok := times[name]
	if !ok {
		return fmt.Errorf("unknown attribute name: \"%s\"", name)
	}
	if *d, ok = postfix.ParseTime(value, 's'); !ok || *d <= 0 {
		return fmt.Errorf("bad time value or unit: %s", text)
	}
	return nil
}

// maxPolicyAnswer bounds what a server may send for one request.
const maxPolicyAnswer = 64 << 10

// maxIdlePolicy is how many connections to a server wait for the next request.
const maxIdlePolicy = 100

// errNoAction is an answer that has no action.
var errNoAction = errors.New("Success")

// ask sends a request and returns the action. Each try has a connection of its own; one
// that the server closed while it was idle is no try.
func (p *policyServer) ask(ctx context.Context, request []byte, pause func(time.Duration)) (string, error) {
	for try := 1; ; {
		c, fresh, err := p.conn(ctx)
		var action string
		if err == nil {
			if action, err = c.ask(request, p); err == nil {
				p.keep(c)
				return action, nil
			}
			c.Close()
			if !fresh && brokenPipe(err) {
				continue
			}
		}
		last := try >= p.set.TryLimit && p.set.TryLimit > 0
		if last || !brokenPipe(err) && !errors.Is(err, errNoAction) && !errors.Is(err, syscall.ENOENT) {
			p.log.Warningf("problem talking to server %s: %s", p.name, netReason(err))
		}
		if last {
			return "", err
		}
		pause(p.set.RetryDelay)
		try++
	}
}

// brokenPipe reports whether the server has closed the connection.
func brokenPipe(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// netReason is a network error in the words of strerror(3).
func netReason(err error) string {
	var number syscall.Errno
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "Connection timed out"
	case errors.As(err, &number):
		text := number.Error()
		return strings.ToUpper(text[:1]) + text[1:]
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "Success"
	}
	return err.Error()
}

// conn returns a connection that is idle, or a fresh one.
func (p *policyServer) conn(ctx context.Context) (c *policyConn, fresh bool, err error) {
	now := time.Now()
	p.mu.Lock()
	for len(p.idle) > 0 && c == nil {
		c = p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if p.expired(c, now) {
			c.Close()
			c = nil
		}
	}
	p.mu.Unlock()
	if c != nil {
		return c, false, nil
	}
	d := net.Dialer{Timeout: p.set.Timeout}
	conn, err := d.DialContext(ctx, p.network, p.address)
	if err != nil {
		p.log.Warningf("connect to %s: %s", p.address, netReason(err))
		return nil, true, err
	}
	return &policyConn{Conn: conn, r: bufio.NewReader(conn), born: now}, true, nil
}

func (p *policyServer) expired(c *policyConn, now time.Time) bool {
	return now.Sub(c.used) >= p.set.MaxIdle || now.Sub(c.born) >= p.set.MaxTTL
}

// keep keeps a connection for another request, and closes those that waited too long.
func (p *policyServer) keep(c *policyConn) {
	c.used = time.Now()
	c.requests++
	if p.set.RequestLimit > 0 && c.requests >= p.set.RequestLimit {
		c.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) >= maxIdlePolicy {
		c.Close()
		return
	}
	p.idle = append(p.idle, c)
	if len(p.idle) == 1 {
		time.AfterFunc(p.set.MaxIdle, p.sweep)
	}
}

// sweep closes the connections that have been idle for too long.
func (p *policyServer) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	left := p.idle[:0]
	for _, c := range p.idle {
		if p.expired(c, now) {
			c.Close()
			continue
		}
		left = append(left, c)
	}
	clear(p.idle[len(left):])
	if p.idle = left; len(left) > 0 {
		time.AfterFunc(p.set.MaxIdle, p.sweep)
	}
}

// ask has one request answered.
func (c *policyConn) ask(request []byte, p *policyServer) (string, error) {
	if err := c.SetDeadline(time.Now().Add(p.set.Timeout)); err != nil {
		return "", err
	}
	if _, err := c.Write(request); err != nil {
		return "", err
	}
	c.r.Reset(io.LimitReader(c.Conn, maxPolicyAnswer))
	action, found, err := readAction(c.r, func(line string) {
		p.log.Warningf("malformed attribute from %s: %.100s", p.name, line)
	})
	switch {
	case err != nil:
		return "", err
	case !found:
		p.log.Warningf("missing attribute action in input from %s", p.name)
		return "", errNoAction
	case !utf8.ValidString(action):
		p.log.Warningf("malformed UTF-8 in policy server %s response: \"%s\"", p.name, action)
		return "", errBadUTF8
	}
	return action, nil
}

// errBadUTF8 is an answer that is no text.
var errBadUTF8 = errors.New("malformed UTF-8")

// readAction reads an answer: lines "name=value" up to an empty one.
func readAction(r *bufio.Reader, malformed func(line string)) (action string, found bool, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", false, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			return action, found, nil
		}
		name, value, ok := strings.Cut(line, "=")
		if !ok {
			malformed(line)
			return "", false, nil
		}
		if name == "action" && !found {
			action, found = value, true
		}
	}
}

// defaultPolicyAction is for a default action that asks a server that fails.
const defaultPolicyAction = "451 4.3.5 Server configuration problem"

func (e *eval) checkPolicyService(it *item) verdict {
	action, err := it.policy.ask(e.s.ctx, e.policyRequest(it.policy.set.Context), e.s.pause)
	if err == nil {
		return e.action(it, action, "policy query", e.subject)
	}
	action = it.policy.set.DefaultAction
	if e.policyDepth > 0 {
		action = defaultPolicyAction
	}
	e.policyDepth++
	defer func() { e.policyDepth-- }()
	return e.action(it, action, "policy query", e.subject)
}

// policyRequest tells a policy server all that is known.
func (e *eval) policyRequest(policyContext string) []byte {
	s, b := e.s, make([]byte, 0, 1024)
	text := func(name, value string) {
		b = append(append(append(b, name...), '='), value...)
		b = append(b, '\n')
	}
	number := func(name string, n int64) { text(name, strconv.FormatInt(n, 10)) }
	text("request", "smtpd_access_policy")
	text("protocol_state", e.protocolState())
	text("protocol_name", s.proto)
	text("client_address", s.client.addrText)
	text("client_name", s.client.name)
	text("client_port", s.client.port)
	text("reverse_client_name", s.client.reverse)
	if server := s.client.server; server.IsValid() {
		text("server_address", server.Addr().String())
		number("server_port", int64(server.Port()))
	} else {
		text("server_address", "")
		text("server_port", "")
	}
	text("helo_name", s.heloName)
	text("sender", s.tx.sender)
	text("recipient", s.rcptNow)
	recipients := 0
	if state := e.protocolState(); state == "DATA" || state == "END-OF-MESSAGE" {
		recipients = len(s.tx.recipients)
	}
	number("recipient_count", int64(recipients))
	if s.msg != nil {
		text("queue_id", s.msg.ID())
	} else {
		text("queue_id", "")
	}
	text("instance", s.tx.instance)
	size := max(s.tx.mail.Size, 0) // -1: not told
	if s.contentBytes > 0 {
		size = s.contentBytes
	}
	number("size", size)
	text("etrn_domain", s.site)
	text("stress", s.srv.checks.Stress)
	text("sasl_method", s.login.method)
	text("sasl_username", s.login.user)
	text("sasl_sender", s.tx.auth)
	b = s.appendTLSAttributes(b)
	text("policy_context", policyContext)
	return append(b, '\n')
}

// protocolState is the command, as policy servers know it.
func (e *eval) protocolState() string {
	if e.command == "BDAT" {
		return "DATA"
	}
	return e.command
}

// policyName is a name as xtext in which "=" stays, as in Postfix.
func policyName(name string) string { return strings.ReplaceAll(smtp.Xtext(name), "+3D", "=") }

// appendTLSAttributes appends what policy servers are told about TLS. Names in a certificate
// count only if its issuer is trusted.
func (s *session) appendTLSAttributes(b []byte) []byte {
	peer := &s.tls.Peer
	subject, issuer := "", ""
	if peer.Trusted {
		subject, issuer = policyName(peer.Subject), policyName(peer.Issuer)
	}
	b = fmt.Appendf(b, "ccert_subject=%s\nccert_issuer=%s\n", subject, issuer)
	b = fmt.Appendf(b, "ccert_fingerprint=%s\nccert_pubkey_fingerprint=%s\n", peer.Fingerprint, peer.KeyFingerprint)
	return fmt.Appendf(b, "encryption_protocol=%s\nencryption_cipher=%s\nencryption_keysize=%d\n", s.tls.Protocol, s.tls.Cipher, s.tls.Bits)
}

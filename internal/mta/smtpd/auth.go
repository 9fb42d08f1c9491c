package smtpd

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/sasl"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// saslBackend is the server that checks passwords: Dovecot's auth, over its
// protocol (smtpd_sasl_type=dovecot), or saslauthd (cyrus).
type saslBackend struct {
	dial  func(ctx context.Context) (authenticator, error)
	plain securityOptions // without TLS
	tls   securityOptions
	words saslWords
	log   *maillog.Logger

	mu     sync.Mutex
	client authenticator
}

// An authenticator does exchanges.
type authenticator interface {
	Mechanisms() []client.Mechanism
	Authenticate(ctx context.Context, req *client.Request, challenge client.Challenger) (client.Result, error)
}

var (
	_ authenticator = (*client.Client)(nil)
	_ authenticator = (*cyrus)(nil)
)

// saslWords are what a type of server says of requests that do not reach it.
type saslWords struct{ mechanism, initial, continued string }

var (
	dovecotWords = saslWords{"Invalid authentication mechanism", "Invalid base64 data in initial response", "Invalid base64 data in continued response"}
	cyrusWords   = saslWords{cyrusNoMech, cyrusBadBase64, cyrusBadBase64}
)

func newSASLBackend(set *Settings, core *postfix.Core, c *Config, log *maillog.Logger) (*saslBackend, error) {
	b := &saslBackend{words: dovecotWords, log: log}
	switch {
	case c.Dial != nil:
		b.dial = func(ctx context.Context) (authenticator, error) { return c.Dial(ctx) }
	case set.SASLType == "dovecot":
		network, addr := saslAddress(set.SASLPath, core.QueueDirectory)
		b.dial = func(ctx context.Context) (authenticator, error) {
			return client.Dial(ctx, network, addr, client.Options{Log: log})
		}
	case set.SASLType == "cyrus":
		server, err := newCyrus(CyrusFiles(set.CyrusConfigPath, c.Main.Dir(), set.SASLPath), c.readFile(), set.SASLLocalDomain, log)
		if err != nil {
			return nil, err
		}
		b.client, b.words = server, cyrusWords
	default:
		return nil, fmt.Errorf("unsupported SASL server implementation: %s", set.SASLType)
	}
	var err error
	if b.plain, err = parseSecurityOptions("smtpd_sasl_security_options", set.SASLSecurityOptions); err != nil {
		return nil, err
	}
	b.tls, err = parseSecurityOptions("smtpd_sasl_tls_security_options", set.SASLTLSSecurityOptions)
	return b, err
}

// saslAddress reads smtpd_sasl_path: "inet:host:port", "unix:path" or a path;
// paths are relative to the queue directory.
func saslAddress(path, queueDir string) (network, addr string) {
	if rest, ok := strings.CutPrefix(path, "inet:"); ok {
		return "tcp", rest
	}
	path = strings.TrimPrefix(path, "unix:")
	if !filepath.IsAbs(path) {
		path = filepath.Join(queueDir, path)
	}
	return "unix", path
}

// get returns the client, which is connected at first need.
func (b *saslBackend) get(ctx context.Context) (authenticator, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client != nil {
		return b.client, nil
	}
	c, err := b.dial(ctx)
	if err != nil {
		b.log.Warningf("SASL: Connect to Dovecot auth socket failed: %v", err)
		return nil, err
	}
	b.client = c
	return c, nil
}

// securityOptions is what a mechanism must not, and must, have.
type securityOptions struct{ forbid, require sasl.Flags }

func parseSecurityOptions(param, list string) (securityOptions, error) {
	var o securityOptions
	for _, word := range postfix.SplitList(list) {
		switch strings.ToLower(word) {
		case "noplaintext":
			o.forbid |= sasl.ParseFlag("plaintext")
		case "noactive":
			o.forbid |= sasl.ParseFlag("active")
		case "nodictionary":
			o.forbid |= sasl.ParseFlag("dictionary")
		case "noanonymous":
			o.forbid |= sasl.ParseFlag("anonymous")
		case "forward_secrecy":
			o.require |= sasl.ParseFlag("forward-secrecy")
		case "mutual_auth":
			o.require |= sasl.ParseFlag("mutual-auth")
		default:
			return o, fmt.Errorf("unknown %s value %q in %q", param, word, list)
		}
	}
	return o, nil
}

func (o securityOptions) allow(f sasl.Flags) bool {
	return f&o.forbid == 0 && f&o.require == o.require
}

// authPossible reports whether AUTH makes sense in the session as it is.
func (s *session) authPossible() bool {
	return s.srv.sasl != nil && s.discard&kwAuth == 0 && !((s.srv.set.TLSAuthOnly || s.srv.level == tlsEncrypt) && s.tls.Protocol == "")
}

// authExempt reports whether AUTH is not announced to the client.
func (s *session) authExempt() bool { return s.srv.lists.saslExempt.matches(s) }

// mechanisms returns the mechanisms offered, separated by blanks.
func (s *session) mechanisms() string {
	if !s.authPossible() {
		return ""
	}
	c, err := s.srv.sasl.get(s.ctx)
	if err != nil {
		return ""
	}
	options := s.srv.sasl.plain
	if s.tls.Protocol != "" {
		options = s.srv.sasl.tls
	}
	private := sasl.ParseFlag("private")
	var b strings.Builder
	for _, m := range c.Mechanisms() {
		if m.Flags&private != 0 || !options.allow(m.Flags) {
			continue
		}
		if match, err := s.srv.lists.mechanisms.Match(s.ctx, strings.ToLower(m.Name)); err != nil || !match {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(m.Name)
	}
	return b.String()
}

// auth does AUTH (RFC 4954).
func (s *session) auth(args []byte) smtp.Reply {
	switch {
	case s.srv.set.HELORequired && s.heloName == "":
		return replyHELOFirst
	case !s.authPossible():
		return replyNoAuth
	case s.tx.open:
		return replyInMail
	case s.login.user != "":
		return replyAuthed
	}
	words := bytes.Fields(args)
	if len(words) == 0 || len(words) > 2 {
		return replySyntaxAuth
	}
	if r, ok := s.countEvent(anvilAuth); !ok {
		return r
	}
	mechanism := string(words[0]) // as it is logged
	var initial []byte
	if len(words) == 2 {
		initial = words[1]
	}
	if _, err := s.srv.sasl.get(s.ctx); err != nil { // which mechanisms there are nobody can say
		return s.authTemporary("Can't connect to authentication server")
	}
	if !hasWord(s.mechanisms(), strings.ToUpper(mechanism)) {
		if s.srv.sasl.words.mechanism == cyrusNoMech {
			s.srv.log.Warningf("SASL authentication failure: Couldn't find mech %s", mechanism)
		}
		return s.authFailed(mechanism, "", s.srv.sasl.words.mechanism)
	}
	return s.exchange(mechanism, initial)
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if w == word {
			return true
		}
	}
	return false
}

// errResponse ends an exchange for a reason that has its own reply.
type errResponse struct{ reply smtp.Reply }

func (e errResponse) Error() string { return e.reply.Text }

// exchange relays challenges and responses between client and SASL server.
func (s *session) exchange(mechanism string, initial []byte) smtp.Reply {
	request := client.Request{
		Mechanism: strings.ToUpper(mechanism), Service: s.srv.set.SASLService,
		Local:   netip.AddrPortFrom(s.client.server.Addr(), 0),
		Remote:  netip.AddrPortFrom(s.client.addr, 0),
		Secured: s.tls.Protocol != "",
	}
	if initial != nil {
		request.HasInitial = true
		if string(initial) != "=" || s.srv.sasl.words == cyrusWords { // RFC 4954 4: an empty response
			var err error
			if request.Initial, err = decodeBase64(initial); err != nil {
				return s.authFailed(mechanism, "", s.srv.sasl.words.initial)
			}
		}
	}
	backend, err := s.srv.sasl.get(s.ctx)
	if err != nil {
		return s.authTemporary("Can't connect to authentication server")
	}
	result, err := backend.Authenticate(s.ctx, &request, s.challenge)
	if err != nil {
		return s.authError(mechanism, err)
	}
	if result.User == "" {
		return s.authFailed(mechanism, "", "Authentication backend error")
	}
	s.login = login{method: mechanism, user: smtp.Visible(result.User)}
	return replyAuthOK
}

// challenge sends a challenge and returns the client's response.
func (s *session) challenge(challenge []byte) ([]byte, error) {
	s.out = append(s.out, "334 "...)
	s.out = base64.StdEncoding.AppendEncode(s.out, challenge)
	s.out = append(s.out, "\r\n"...)
	if err := s.flush(); err != nil {
		return nil, err
	}
	line, err := s.readResponse()
	if err != nil {
		return nil, err
	}
	if string(line) == "*" {
		return nil, client.ErrAborted
	}
	response, err := decodeBase64(line)
	if err != nil {
		return nil, errBase64
	}
	return response, nil
}

var errBase64 = errors.New("response is not base64")

// readResponse reads a line that may be longer than those of commands.
func (s *session) readResponse() ([]byte, error) {
	s.r.SetMaxLine(s.srv.set.SASLResponseLimit)
	defer s.r.SetMaxLine(s.srv.set.LineLengthLimit)
	line, err := s.r.ReadLine()
	s.heardSecret()
	if errors.Is(err, smtp.ErrLineTooLong) {
		return nil, errResponse{replyAuthLimit}
	}
	if err != nil {
		s.content.broken = err
	}
	return line, err
}

func decodeBase64(b []byte) ([]byte, error) {
	return base64.StdEncoding.AppendDecode(nil, b)
}

// authError is the reply to an exchange that failed.
func (s *session) authError(mechanism string, err error) smtp.Reply {
	var failure *client.Failure
	var library *cyrusError
	var response errResponse
	switch {
	case errors.As(err, &failure):
		reason := failure.Reason
		if reason == "" {
			reason = "(reason unavailable)"
		}
		refused := s.authFailed(mechanism, failure.User, reason)
		if failure.Temp { // nobody knows whether the password is right (RFC 4954 6)
			return s.authTemporary(reason)
		}
		return refused
	case errors.As(err, &library):
		return s.cyrusFailed(mechanism, library)
	case errors.As(err, &response):
		return response.reply
	case errors.Is(err, client.ErrAborted):
		s.srv.log.Warningf("%s: SASL %s authentication aborted", s.client.label, mechanism)
		return replyAuthAborted
	case errors.Is(err, errBase64):
		return s.authFailed(mechanism, "", s.srv.sasl.words.continued)
	case s.content.broken != nil:
		return smtp.Reply{}
	}
	s.srv.log.Warningf("%s: SASL %s: %v", s.client.label, mechanism, err)
	return s.authTemporary("Connection lost to authentication server")
}

// authFailed refuses a login. The log line is what fail2ban looks for.
func (s *session) authFailed(mechanism, user, reason string) smtp.Reply {
	if user == "" {
		user = "(unavailable)"
	}
	s.srv.log.Warningf("%s: SASL %s authentication failed: %s, sasl_username=%s", s.client.label, mechanism, reason, user)
	return reply(535, smtp.Enhanced{5, 7, 8}, "Error: authentication failed: "+reason)
}

// cyrusFailed is authFailed for Cyrus SASL, where a server that cannot be asked is
// told from a wrong password.
func (s *session) cyrusFailed(mechanism string, e *cyrusError) smtp.Reply {
	r := s.authFailed(mechanism, printable(e.user), e.text)
	if e.temp {
		return s.authTemporary(e.text)
	}
	return r
}

func (s *session) authTemporary(reason string) smtp.Reply {
	return reply(454, smtp.Enhanced{4, 7, 0}, "Temporary authentication failure: "+reason)
}

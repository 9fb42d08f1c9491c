package db

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

const (
	oauth2Timeout = 60 * time.Second // of one answer, as Dovecot's
	oauth2Answer  = 1 << 20          // bytes of it
	oauth2Header  = 64 << 10         // bytes of its header
)

// An oauth2Server is the HTTP server that knows about tokens.
type oauth2Server struct {
	set     *ext.OAuth2
	client  *http.Client
	timeout time.Duration
}

func newOAuth2Server(env *Env, set *ext.OAuth2) (*oauth2Server, error) {
	p := tlsconf.Params{CipherList: set.TLSCipherSuite, NoVerify: set.TLSAllowInvalidCert}
	var err error
	for _, f := range [...]struct {
		to   *[]byte
		name string
	}{{&p.CertPEM, set.TLSCertFile}, {&p.KeyPEM, set.TLSKeyFile}, {&p.CAPEM, set.TLSCACertFile}} {
		if f.name == "" {
			continue
		}
		if *f.to, err = os.ReadFile(f.name); err != nil {
			return nil, err
		}
	}
	if p.CAPEM, err = appendAuthorities(p.CAPEM, set.TLSCACertDir); err != nil {
		return nil, err
	}
	config, err := tlsconf.Client(p)
	if err != nil {
		return nil, err
	}
	s := &oauth2Server{set: set, timeout: oauth2Timeout}
	if own := time.Duration(set.TimeoutMsecs) * time.Millisecond; own > 0 {
		s.timeout = min(own, oauth2Timeout)
	}
	dial := &oauth2Dialer{tls: config}
	if set.RawlogDir != "" {
		dial.rawlog = &rawlog{dir: set.RawlogDir, warn: env.warn}
	}
	s.client = &http.Client{
		// As Dovecot: no other server is asked instead.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dial.plain,
			DialTLSContext:         dial.secure,
			MaxConnsPerHost:        max(1, set.MaxParallelConnections),
			MaxIdleConnsPerHost:    max(1, set.MaxParallelConnections),
			IdleConnTimeout:        time.Duration(set.MaxIdleTimeMsecs) * time.Millisecond,
			DisableKeepAlives:      set.MaxIdleTimeMsecs == 0,
			DisableCompression:     true,
			MaxResponseHeaderBytes: oauth2Header,
		},
	}
	return s, nil
}

// appendAuthorities adds the certificates of a directory.
func appendAuthorities(pem []byte, dir string) ([]byte, error) {
	if dir == "" {
		return pem, nil
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, fmt.Errorf("tls_ca_cert_dir: %w", err)
	}
	for _, path := range paths {
		if more, err := os.ReadFile(path); err == nil { // others are directories, or links to nowhere
			pem = append(append(pem, '\n'), more...)
		}
	}
	if len(pem) == 0 {
		return nil, fmt.Errorf("tls_ca_cert_dir: no certificates in %s", dir)
	}
	return pem, nil
}

// An oauth2Reply is what the server says. It is valid if the status of the answer is
// that of a success.
type oauth2Reply struct {
	valid  bool
	fields []Field
}

// escapeParam is a parameter of a URL, with no more escapes than Dovecot's.
func escapeParam(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte("-._~!$'()*,:@", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}

// form is parameters, given as name, value, and so on.
func form(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(pairs[i] + "=" + escapeParam(pairs[i+1]))
	}
	return b.String()
}

// tokeninfo looks a token up.
func (s *oauth2Server) tokeninfo(ctx context.Context, r *Request, token string) (*oauth2Reply, error) {
	return s.ask(ctx, r, s.set.TokeninfoURL+escapeParam(token), "", token)
}

// introspect asks about a token.
func (s *oauth2Server) introspect(ctx context.Context, r *Request, token string) (*oauth2Reply, error) {
	client := form("client_id", s.set.ClientID, "client_secret", s.set.ClientSecret)
	switch s.set.IntrospectionMode {
	case "get":
		return s.ask(ctx, r, s.set.IntrospectionURL+escapeParam(token)+"&"+client, "", "")
	case "post":
		return s.ask(ctx, r, s.set.IntrospectionURL, form("token", token)+"&"+client, "")
	}
	return s.ask(ctx, r, s.set.IntrospectionURL, "", token)
}

// grant exchanges a password for a token.
func (s *oauth2Server) grant(ctx context.Context, r *Request, password string) (*oauth2Reply, error) {
	pairs := []string{"grant_type", "password", "username", r.User, "password", password, "client_id", s.set.ClientID, "client_secret", s.set.ClientSecret}
	if s.set.Scope != "" {
		pairs = append(pairs, "scope", s.set.Scope)
	}
	return s.ask(ctx, r, s.set.GrantURL, form(pairs...), "")
}

// ask makes one request: POST if there is a payload, with the token if it has to prove
// itself.
func (s *oauth2Server) ask(ctx context.Context, r *Request, address, payload, token string) (*oauth2Reply, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	method := http.MethodGet
	if payload != "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(payload))
	if err != nil {
		return nil, errors.New("Invalid URL") // whose text has the token
	}
	req.Header.Set("User-Agent", "dovecot-oauth2-passdb/"+dovecot.Version)
	if payload != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	mode := s.set.IntrospectionMode
	if token != "" && req.URL.User == nil && (mode == "" || mode == "auth") {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	s.addLogin(req.Header, r)
	res, err := s.client.Do(req)
	if err != nil {
		return nil, s.failure(err)
	}
	defer res.Body.Close()
	if s.set.Debug {
		r.Log.Debugf("%shttp-client: %s %s://%s: %s", r.Prefix(r.Section), method, req.URL.Scheme, req.URL.Host, res.Status)
	}
	if res.StatusCode/100 != 2 && res.StatusCode/100 != 4 {
		return nil, errors.New(res.Status)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, oauth2Answer+1))
	switch {
	case err != nil:
		return nil, s.failure(err)
	case len(body) > oauth2Answer:
		return nil, fmt.Errorf("answer is larger than %d bytes", oauth2Answer)
	}
	return parseReply(res.StatusCode/100 == 2, body)
}

// addLogin tells the server about the login, if it is to know.
func (s *oauth2Server) addLogin(h http.Header, r *Request) {
	if !s.set.SendAuthHeaders {
		return
	}
	h.Set("X-Dovecot-Auth-Service", strings.Map(printable, r.Service))
	for name, a := range map[string]netip.AddrPort{"X-Dovecot-Auth-Local": r.Local, "X-Dovecot-Auth-Remote": r.Remote} {
		if a.Addr().IsValid() {
			h.Set(name, a.String())
		}
	}
}

func printable(c rune) rune {
	if c < ' ' || c > '~' {
		return '?'
	}
	return c
}

// failure says why there is no answer, without the URL: it can have the token.
func (s *oauth2Server) failure(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		err = e.Err
	}
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err):
		return fmt.Errorf("Absolute request timeout expired: no answer in %s secs", strconv.FormatFloat(s.timeout.Seconds(), 'f', 3, 64))
	case errors.As(err, &op) && op.Op == "dial" && op.Addr != nil:
		var code syscall.Errno
		if errors.As(err, &code) {
			return fmt.Errorf("connect(%s) failed: %w", op.Addr, code)
		}
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("Connection lost: Remote disconnected")
	}
	return err
}

// parseReply reads the JSON of an answer. What is no answer of such a server is an
// error; an empty one says nothing.
func parseReply(valid bool, body []byte) (*oauth2Reply, error) {
	reply := &oauth2Reply{valid: valid}
	if len(bytes.TrimSpace(body)) == 0 {
		return reply, nil
	}
	claims, err := parseClaims(body)
	if err != nil {
		return nil, err
	}
	for _, m := range claims {
		if m.kind == claimObject || m.kind == claimArray || !isField(m.name) {
			continue
		}
		switch strings.ToLower(m.name) {
		case "expires_in":
			if _, err := strconv.ParseUint(m.text, 10, 32); err != nil {
				return nil, fmt.Errorf("Malformed number '%s' in expires_in", m.text)
			}
		case "token_type":
			if !strings.EqualFold(m.text, "bearer") {
				return nil, fmt.Errorf("Expected Bearer token, got '%s'", m.text)
			}
		}
		reply.fields = append(reply.fields, Field{Name: m.name, Value: m.text})
	}
	return reply, nil
}

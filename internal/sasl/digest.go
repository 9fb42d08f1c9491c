package sasl

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// digestServer is RFC 2831 with the quality of protection "auth". What is stored
// is the scheme DIGEST-MD5, the hash of user, realm and password.
type digestServer struct {
	realms []string
	nonce  string
	response
}

// A response is the directives of a client's message.
type response struct {
	username, realm, authzid string
	nonce                    string // "" until seen
	cnonce, nc, qop, uri     string
	digest                   string // of the client, in hexadecimal
	seen                     map[string]bool
}

func newDigestServer(s Session) Server { return &digestServer{realms: s.Realms} }

// Next implements [Server]. An initial response, with which a client would
// authenticate again by an earlier challenge, is not looked at, as in Dovecot.
func (s *digestServer) Next(message []byte) (Step, error) {
	if s.nonce == "" {
		return Step{Action: Challenge, Data: s.challenge()}, nil
	}
	if s.seen != nil {
		return Step{}, ErrUnexpected
	}
	if len(message) == 0 {
		return Step{}, errors.New("Client sent no input")
	}
	s.seen = make(map[string]bool)
	if err := s.parse(string(message)); err != nil {
		return Step{}, err
	}
	step := Step{Action: Fetch, Authcid: s.username, Authzid: s.authzid, Scheme: "DIGEST-MD5", HashUser: s.username}
	switch {
	case s.realm != "" && !strings.Contains(s.username, "@"):
		step.Authcid += "@" + s.realm
		step.HashUser = step.Authcid
	case strings.Contains(s.username, "@"):
		// The domain is part of the name that the client has hashed, and no realm.
		step.HashUser += "@" + s.realm
	}
	return step, nil
}

func (s *digestServer) challenge() []byte {
	var nonce [16]byte
	rand.Read(nonce[:])
	s.nonce = base64.StdEncoding.EncodeToString(nonce[:])
	var b []byte
	for _, realm := range s.realms {
		b = fmt.Appendf(b, "realm=%q,", realm)
	}
	if len(s.realms) == 0 {
		// Without one some clients take the server's name.
		b = append(b, `realm="",`...)
	}
	return fmt.Appendf(b, `nonce="%s",qop="auth",charset="utf-8",algorithm="md5-sess"`, s.nonce)
}

// parse reads the client's directives and checks that none is missing.
func (s *digestServer) parse(message string) error {
	for key, value := range directives(message) {
		if err := s.directive(strings.ToLower(key), value); err != nil {
			return err
		}
	}
	switch {
	case s.response.nonce == "":
		return errors.New("Missing nonce parameter")
	case s.cnonce == "":
		return errors.New("Missing cnonce parameter")
	case s.username == "":
		return errors.New("Missing username parameter")
	}
	if s.nc == "" {
		s.nc = "00000001"
	}
	if s.qop == "" {
		s.qop = "auth"
	}
	return nil
}

// directive takes one directive; those that are unknown mean nothing.
func (s *digestServer) directive(key, value string) error {
	switch key {
	case "realm":
		if s.realm == "" {
			s.realm = value
		}
	case "username":
		return s.once(&s.username, "username", value, "empty username")
	case "nonce":
		if subtle.ConstantTimeCompare([]byte(value), []byte(s.nonce)) != 1 {
			return errors.New("Invalid nonce")
		}
		s.response.nonce = value
	case "cnonce":
		return s.once(&s.cnonce, "cnonce", value, "cnonce can't contain empty value")
	case "authzid":
		return s.once(&s.authzid, "authzid", value, "empty authzid")
	case "nc":
		return s.nonceCount(value)
	case "qop":
		return s.protection(value)
	case "digest-uri":
		if !strings.Contains(value, "/") {
			return errors.New("Invalid digest-uri")
		}
		s.uri = value
	case "maxbuf":
		if s.seen[key] {
			return errors.New("maxbuf must not exist more than once")
		}
		s.seen[key] = true
		if n, err := strconv.ParseUint(value, 10, 64); err != nil || n == 0 {
			return errors.New("Invalid maxbuf value")
		}
	case "charset":
		if !strings.EqualFold(value, "utf-8") {
			return errors.New("Only utf-8 charset is allowed")
		}
	case "response":
		if len(value) != 2*md5.Size {
			return errors.New("Invalid response value")
		}
		s.digest = value
	}
	return nil
}

// once takes a directive that must not be empty or repeated.
func (s *digestServer) once(to *string, key, value, empty string) error {
	switch {
	case s.seen[key]:
		return errors.New(key + " must not exist more than once")
	case value == "":
		return errors.New(empty)
	}
	s.seen[key] = true
	*to = value
	return nil
}

// nonceCount takes nc. More than 1 would be subsequent authentication (RFC 2831 2.2).
func (s *digestServer) nonceCount(value string) error {
	if s.seen["nc"] {
		return errors.New("nonce-count must not exist more than once")
	}
	s.seen["nc"] = true
	n, err := strconv.ParseUint(value, 10, 32)
	switch {
	case err != nil:
		return errors.New("nonce-count value invalid")
	case n != 1:
		return errors.New("re-auth not supported currently")
	}
	s.nc = value
	return nil
}

func (s *digestServer) protection(value string) error {
	switch strings.ToLower(value) {
	case "auth":
		s.qop = value
		return nil
	case "auth-int", "auth-conf":
		return errors.New("Nonallowed QoP requested")
	}
	return fmt.Errorf("Unknown QoP value: %s", value[:min(len(value), 32)])
}

// Credentials implements [CredentialServer]. The secret is hexadecimal.
func (s *digestServer) Credentials(secret []byte) (Step, error) {
	hash, err := hex.DecodeString(string(secret))
	if err != nil || len(hash) != md5.Size {
		return Step{}, Alarm("invalid credentials length")
	}
	want := digestResponse(hash, s.nonce, &s.response, "AUTHENTICATE:")
	if subtle.ConstantTimeCompare([]byte(want), []byte(s.digest)) != 1 {
		return Step{}, ErrMismatch
	}
	return Step{Action: Accept, Data: []byte("rspauth=" + digestResponse(hash, s.nonce, &s.response, ":"))}, nil
}

// digestResponse is the response-value of RFC 2831 2.1.2.1, of the client if method
// is "AUTHENTICATE:", of the server if it is ":".
func digestResponse(hash []byte, nonce string, r *response, method string) string {
	a1 := string(hash) + ":" + nonce + ":" + r.cnonce
	if r.authzid != "" {
		a1 += ":" + r.authzid
	}
	return hexMD5(strings.Join([]string{hexMD5(a1), nonce, r.nc, r.cnonce, r.qop, hexMD5(method + r.uri)}, ":"))
}

func hexMD5(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

// directives yields the directives of a message: KEY=VALUE or KEY="VALUE" with commas
// between. What is no directive is left out.
func directives(text string) func(yield func(key, value string) bool) {
	const blanks = " \t"
	return func(yield func(key, value string) bool) {
		for text != "" {
			text = strings.TrimLeft(text, blanks)
			end := strings.IndexAny(text, "=,")
			if end < 0 {
				return
			}
			key, sep := strings.TrimRight(text[:end], blanks), text[end]
			text = text[end+1:]
			if sep == ',' {
				continue
			}
			var value string
			if text = strings.TrimLeft(text, blanks); strings.HasPrefix(text, `"`) {
				value, text = cutQuoted(text[1:])
				text = strings.TrimPrefix(text, ",")
			} else {
				value, text, _ = strings.Cut(text, ",")
				value = strings.TrimRight(value, blanks)
			}
			if !yield(key, value) {
				return
			}
		}
	}
}

// cutQuoted reads a quoted string, after its first quote. Its end may be missing.
func cutQuoted(text string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return b.String(), text[i+1:]
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), ""
}

// digestClient is the client's side.
type digestClient struct {
	cred Credentials
	want string // of the server
	done bool
}

func newDigestClient(c Credentials) Client { return &digestClient{cred: c} }

// Start implements [Client]: the server speaks first.
func (c *digestClient) Start() ([]byte, error) { return nil, nil }

// Next implements [Client].
func (c *digestClient) Next(challenge []byte) ([]byte, error) {
	switch {
	case c.done:
		return nil, ErrChallenge
	case c.want != "":
		c.done = true
		for key, value := range directives(string(challenge)) {
			if strings.EqualFold(key, "rspauth") && subtle.ConstantTimeCompare([]byte(value), []byte(c.want)) == 1 {
				return []byte{}, nil
			}
		}
		return nil, errors.New("sasl: the server does not know the password")
	}
	realm, nonce, hasRealm := "", "", false
	for key, value := range directives(string(challenge)) {
		switch strings.ToLower(key) {
		case "realm":
			if !hasRealm { // of several the first is as good as any
				realm, hasRealm = value, true
			}
		case "nonce":
			nonce = value
		}
	}
	if nonce == "" {
		return nil, ErrChallenge
	}
	if !hasRealm {
		realm = c.cred.Hostname
	}
	service := c.cred.Service
	if service == "" {
		service = "imap"
	}
	r := &response{
		username: c.cred.Username, realm: realm, authzid: c.cred.Authzid,
		cnonce: rand.Text(), nc: "00000001", qop: "auth", uri: service + "/" + c.cred.Hostname,
	}
	hash := md5.Sum([]byte(r.username + ":" + r.realm + ":" + c.cred.Password))
	c.want = digestResponse(hash[:], nonce, r, ":")
	b := fmt.Appendf(nil, `username=%s,realm=%s,nonce=%s,cnonce="%s",nc=%s,qop=%s,digest-uri=%s,response=%s,charset=utf-8`,
		quote(r.username), quote(r.realm), quote(nonce), r.cnonce, r.nc, r.qop, quote(r.uri), digestResponse(hash[:], nonce, r, "AUTHENTICATE:"))
	if r.authzid != "" {
		b = append(append(b, ",authzid="...), quote(r.authzid)...)
	}
	return b, nil
}

// quote writes a quoted string.
func quote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

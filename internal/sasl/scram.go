package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// A scramHash is what SCRAM-SHA-1 and SCRAM-SHA-256 differ in.
type scramHash struct {
	scheme string
	new    func() hash.Hash
	size   int
}

var (
	scramSHA1   = &scramHash{"SCRAM-SHA-1", sha1.New, sha1.Size}
	scramSHA256 = &scramHash{"SCRAM-SHA-256", sha256.New, sha256.Size}
)

func (h *scramHash) mac(key []byte, text string) []byte {
	m := hmac.New(h.new, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func (h *scramHash) sum(b []byte) []byte {
	d := h.new()
	d.Write(b)
	return d.Sum(nil)
}

// scramServer is RFC 5802. What is stored does not let anybody log in elsewhere:
// "iterations,salt,StoredKey,ServerKey".
type scramServer struct {
	h           *scramHash
	plus        bool // with channel binding
	session     Session
	gs2         string // header of the client's first message, with the comma at its end
	binding     []byte // data of the channel binding that the header names
	first       string // that message without it
	nonce       string // the client's, and the server's after it
	serverFirst string
	stored, key []byte
}

func newSCRAMServer(h *scramHash) func(Session) Server {
	return func(s Session) Server { return &scramServer{h: h, session: s} }
}

func newSCRAMPlusServer(h *scramHash) func(Session) Server {
	return func(s Session) Server { return &scramServer{h: h, session: s, plus: true} }
}

// Next implements [Server].
func (s *scramServer) Next(response []byte) (Step, error) {
	switch {
	case response == nil:
		return Step{Action: Challenge}, nil
	case s.first == "":
		return s.begin(string(response))
	}
	return s.finish(string(response))
}

// begin takes the client's first message: "n,a=AUTHZID,n=USER,r=NONCE".
func (s *scramServer) begin(message string) (Step, error) {
	const invalid = "Invalid initial client message: "
	flag, rest, ok := strings.Cut(message, ",")
	if !ok {
		return Step{}, errors.New(invalid + "Missing first ',' in GS2 header")
	}
	as, bare, ok := strings.Cut(rest, ",")
	if !ok {
		return Step{}, errors.New(invalid + "Missing second ',' in GS2 header")
	}
	f := strings.SplitN(bare, ",", 3)
	if len(f) < 2 {
		return Step{}, errors.New(invalid + "Missing nonce field")
	}
	if err := s.bind(flag); err != nil {
		return Step{}, err
	}
	authzid := ""
	if as != "" {
		escaped, ok := strings.CutPrefix(as, "a=")
		if !ok {
			return Step{}, errors.New("Invalid authzid field")
		}
		if authzid, ok = unescapeName(escaped); !ok {
			return Step{}, errors.New("authzid escaping is invalid")
		}
	}
	if strings.HasPrefix(f[0], "m") {
		return Step{}, errors.New("Mandatory extension(s) not supported")
	}
	user, ok := strings.CutPrefix(f[0], "n=")
	if !ok {
		return Step{}, errors.New("Invalid username field")
	}
	if user, ok = unescapeName(user); !ok {
		return Step{}, errors.New("Username escaping is invalid")
	}
	nonce, ok := strings.CutPrefix(f[1], "r=")
	if !ok || nonce == "" {
		return Step{Authcid: user}, errors.New("Invalid client nonce")
	}
	s.gs2 = flag + "," + as + ","
	s.first = bare
	s.nonce = nonce + rand.Text() + rand.Text()
	if authzid == user {
		authzid = ""
	}
	return Step{Action: Fetch, Authcid: user, Authzid: authzid, Scheme: s.h.scheme}, nil
}

// bind takes the flag of the GS2 header (RFC 5802 6).
func (s *scramServer) bind(flag string) error {
	name, wanted := strings.CutPrefix(flag, "p=")
	switch {
	case wanted && !s.plus:
		return errors.New("Channel binding not supported")
	case wanted:
		for _, b := range s.session.Bindings {
			if b.Name == name && len(b.Data) > 0 {
				s.binding = b.Data
				return nil
			}
		}
		return fmt.Errorf("Channel binding %s not available", name[:min(len(name), 32)])
	case s.plus:
		return errors.New("Channel binding missing")
	case flag == "y" && s.session.PlusOffered:
		// The client has seen no such offer: somebody has taken it out.
		return errors.New("Client supports channel binding, but was not offered it")
	case flag == "n" || flag == "y":
		return nil
	}
	return errors.New("Invalid GS2 header")
}

// unescapeName reads a saslname, in which commas and equal signs are escaped.
func unescapeName(name string) (string, bool) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(name, "=")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), true
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			return "", false
		}
		name = after[2:]
	}
}

// escapeName writes a saslname.
func escapeName(name string) string { return nameEscapes.Replace(name) }

var nameEscapes = strings.NewReplacer("=", "=3D", ",", "=2C")

// Credentials implements [CredentialServer].
func (s *scramServer) Credentials(secret []byte) (Step, error) {
	f := strings.Split(string(secret), ",")
	if len(f) != 4 {
		return Step{}, fmt.Errorf("Invalid %s passdb entry format", s.h.scheme)
	}
	iterations, err := strconv.ParseUint(f[0], 10, 31)
	if err != nil {
		return Step{}, fmt.Errorf("sasl: stored %s password: %w", s.h.scheme, err)
	}
	var err1, err2 error
	s.stored, err1 = base64.StdEncoding.DecodeString(f[2])
	s.key, err2 = base64.StdEncoding.DecodeString(f[3])
	if err := errors.Join(err1, err2); err != nil || len(s.stored) != s.h.size || len(s.key) != s.h.size {
		return Step{}, fmt.Errorf("sasl: stored %s password has invalid keys", s.h.scheme)
	}
	s.serverFirst = fmt.Sprintf("r=%s,s=%s,i=%d", s.nonce, f[1], iterations)
	return Step{Action: Challenge, Data: []byte(s.serverFirst)}, nil
}

// finish takes the client's proof: "c=GS2,r=NONCE,p=PROOF".
func (s *scramServer) finish(message string) (Step, error) {
	if s.stored == nil {
		return Step{}, ErrUnexpected
	}
	i := max(strings.LastIndexByte(message, ','), 0)
	f := strings.Split(message[:i], ",")
	bound := base64.StdEncoding.EncodeToString(append([]byte(s.gs2), s.binding...))
	switch {
	case len(f) < 2:
		return Step{}, errors.New("Invalid final client message")
	case f[0] != "c="+bound:
		return Step{}, errors.New("Invalid channel binding data")
	case f[1] != "r="+s.nonce:
		return Step{}, errors.New("Wrong nonce")
	}
	text, ok := strings.CutPrefix(message[i:], ",p=")
	if !ok {
		return Step{}, errors.New("Invalid ClientProof")
	}
	proof, err := base64.StdEncoding.Strict().DecodeString(text)
	switch {
	case err != nil:
		return Step{}, errors.New("Invalid base64 encoding")
	case len(proof) != s.h.size:
		return Step{}, errors.New("Invalid ClientProof length")
	}
	signed := s.first + "," + s.serverFirst + "," + message[:i]
	clientKey := make([]byte, len(proof))
	subtle.XORBytes(clientKey, proof, s.h.mac(s.stored, signed))
	if subtle.ConstantTimeCompare(s.h.sum(clientKey), s.stored) != 1 {
		return Step{}, ErrMismatch
	}
	return Step{Action: Accept, Data: []byte("v=" + base64.StdEncoding.EncodeToString(s.h.mac(s.key, signed)))}, nil
}

// scramClient is the client's side.
type scramClient struct {
	h         *scramHash
	plus      bool
	cred      Credentials
	gs2       string
	first     string
	nonce     string
	signature []byte // expected of the server
	done      bool
}

func newSCRAMClient(h *scramHash) func(Credentials) Client {
	return func(c Credentials) Client { return &scramClient{h: h, cred: c} }
}

func newSCRAMPlusClient(h *scramHash) func(Credentials) Client {
	return func(c Credentials) Client { return &scramClient{h: h, cred: c, plus: true} }
}

// Start implements [Client].
func (c *scramClient) Start() ([]byte, error) {
	c.gs2 = "n,"
	if c.plus {
		c.gs2 = "p=" + c.cred.Binding.Name + ","
	}
	if c.cred.Authzid != "" {
		c.gs2 += "a=" + escapeName(c.cred.Authzid)
	}
	c.gs2 += ","
	c.nonce = rand.Text()
	c.first = "n=" + escapeName(c.cred.Username) + ",r=" + c.nonce
	return []byte(c.gs2 + c.first), nil
}

// maxClientIterations bounds what a server may have a client compute.
const maxClientIterations = 1_000_000

// Next implements [Client].
func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	switch {
	case c.done:
		return nil, ErrChallenge
	case c.signature != nil:
		want := "v=" + base64.StdEncoding.EncodeToString(c.signature)
		if subtle.ConstantTimeCompare(bytes.TrimSpace(challenge), []byte(want)) != 1 {
			return nil, errors.New("sasl: the server does not know the password")
		}
		c.done = true
		return []byte{}, nil
	}
	f := strings.Split(string(challenge), ",")
	if len(f) < 3 || !strings.HasPrefix(f[0], "r="+c.nonce) || !strings.HasPrefix(f[1], "s=") || !strings.HasPrefix(f[2], "i=") {
		return nil, ErrChallenge
	}
	salt, err := base64.StdEncoding.DecodeString(f[1][2:])
	if err != nil {
		return nil, ErrChallenge
	}
	iterations, err := strconv.Atoi(f[2][2:])
	if err != nil || iterations < 1 || iterations > maxClientIterations {
		return nil, ErrChallenge
	}
	salted, err := pbkdf2.Key(c.h.new, c.cred.Password, salt, iterations, c.h.size)
	if err != nil {
		return nil, err
	}
	key := c.h.mac(salted, "Client Key")
	bound := []byte(c.gs2)
	if c.plus {
		bound = append(bound, c.cred.Binding.Data...)
	}
	final := "c=" + base64.StdEncoding.EncodeToString(bound) + "," + f[0]
	text := c.first + "," + string(challenge) + "," + final
	proof := make([]byte, len(key))
	subtle.XORBytes(proof, key, c.h.mac(c.h.sum(key), text))
	c.signature = c.h.mac(c.h.mac(salted, "Server Key"), text)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

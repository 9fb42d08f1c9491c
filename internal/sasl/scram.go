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

// scramServer is RFC 5802, without channel binding. What is stored does not let
// anybody log in elsewhere: "iterations,salt,StoredKey,ServerKey".
type scramServer struct {
	h           *scramHash
	gs2         string // header of the client's first message, with the comma at its end
	first       string // that message without it
	nonce       string // the client's, and the server's after it
	serverFirst string
	stored, key []byte
}

func newSCRAMServer(h *scramHash) func(Session) Server {
	return func(Session) Server { return &scramServer{h: h} }
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
	f := strings.SplitN(message, ",", 5)
	if len(f) < 4 {
		return Step{}, errors.New("Invalid initial client message")
	}
	switch {
	case f[0] == "n" || f[0] == "y":
	case strings.HasPrefix(f[0], "p="):
		return Step{}, errors.New("Channel binding not supported")
	default:
		return Step{}, errors.New("Invalid GS2 header")
	}
	authzid := ""
	if f[1] != "" {
		escaped, ok := cutAttribute(f[1], "a=")
		if ok {
			authzid, ok = unescapeName(escaped)
		}
		if !ok {
			return Step{}, errors.New("Invalid authzid field")
		}
	}
	if strings.HasPrefix(f[2], "m=") {
		return Step{}, errors.New("Mandatory extension(s) not supported")
	}
	user, ok := cutAttribute(f[2], "n=")
	if ok {
		user, ok = unescapeName(user)
	}
	if !ok {
		return Step{}, errors.New("Invalid username field")
	}
	nonce, ok := cutAttribute(f[3], "r=")
	if !ok || nonce == "" {
		return Step{}, errors.New("Invalid client nonce")
	}
	s.gs2 = f[0] + "," + f[1] + ","
	s.first = message[len(s.gs2):]
	s.nonce = nonce + rand.Text() + rand.Text()
	if authzid == user {
		authzid = ""
	}
	return Step{Action: Fetch, Authcid: user, Authzid: authzid, Scheme: s.h.scheme}, nil
}

func cutAttribute(field, name string) (string, bool) { return strings.CutPrefix(field, name) }

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

// Credentials implements [CredentialServer].
func (s *scramServer) Credentials(secret []byte) (Step, error) {
	f := strings.Split(string(secret), ",")
	if len(f) != 4 {
		return Step{}, fmt.Errorf("sasl: stored %s password is not iterations,salt,key,key", s.h.scheme)
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
	i := strings.LastIndex(message, ",p=")
	if i < 0 {
		return Step{}, errors.New("Invalid client final message")
	}
	f := strings.Split(message[:i], ",")
	switch {
	case len(f) < 2 || f[0] != "c="+base64.StdEncoding.EncodeToString([]byte(s.gs2)):
		return Step{}, errors.New("Invalid channel binding data")
	case f[1] != "r="+s.nonce:
		return Step{}, errors.New("Wrong nonce")
	}
	proof, err := base64.StdEncoding.Strict().DecodeString(message[i+len(",p="):])
	if err != nil || len(proof) != s.h.size {
		return Step{}, errors.New("Invalid ClientProof")
	}
	text := s.first + "," + s.serverFirst + "," + message[:i]
	clientKey := make([]byte, len(proof))
	subtle.XORBytes(clientKey, proof, s.h.mac(s.stored, text))
	if subtle.ConstantTimeCompare(s.h.sum(clientKey), s.stored) != 1 {
		return Step{}, ErrMismatch
	}
	return Step{Action: Accept, Data: []byte("v=" + base64.StdEncoding.EncodeToString(s.h.mac(s.key, text)))}, nil
}

// scramClient is the client's side.
type scramClient struct {
	h         *scramHash
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

// Start implements [Client].
func (c *scramClient) Start() ([]byte, error) {
	escape := strings.NewReplacer("=", "=3D", ",", "=2C")
	c.gs2 = "n,,"
	if c.cred.Authzid != "" {
		c.gs2 = "n,a=" + escape.Replace(c.cred.Authzid) + ","
	}
	c.nonce = rand.Text()
	c.first = "n=" + escape.Replace(c.cred.Username) + ",r=" + c.nonce
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
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(c.gs2)) + "," + f[0]
	text := c.first + "," + string(challenge) + "," + final
	proof := make([]byte, len(key))
	subtle.XORBytes(proof, key, c.h.mac(c.h.sum(key), text))
	c.signature = c.h.mac(c.h.mac(salted, "Server Key"), text)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

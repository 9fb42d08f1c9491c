package sasl

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/subtle"
	"encoding"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"
)

// cramMD5Server is RFC 2195. The server needs no password, only the states of
// the two MD5 computations of HMAC after the key: the scheme CRAM-MD5.
type cramMD5Server struct {
	hostname  string
	challenge []byte
	digest    []byte // of the client, in hexadecimal
}

func newCRAMMD5Server(s Session) Server { return &cramMD5Server{hostname: s.Hostname} }

// ErrMismatch ends an exchange whose proof is not that of the password.
var ErrMismatch = errors.New("Password mismatch")

func (s *cramMD5Server) Next(response []byte) (Step, error) {
	if s.challenge == nil {
		var nonce [8]byte
		rand.Read(nonce[:])
		s.challenge = fmt.Appendf(nil, "<%016d.%d@%s>", binary.BigEndian.Uint64(nonce[:])%1e16, time.Now().Unix(), s.hostname)
		return Step{Action: Challenge, Data: s.challenge}, nil
	}
	// The user name may have blanks, the digest has none.
	i := strings.LastIndexByte(string(response), ' ')
	if i < 0 {
		return Step{}, ErrInvalidInput
	}
	s.digest = append([]byte(nil), response[i+1:]...)
	return Step{Action: Fetch, Authcid: string(response[:i]), Scheme: "CRAM-MD5"}, nil
}

func (s *cramMD5Server) Credentials(secret []byte) (Step, error) {
	contexts, err := hex.DecodeString(string(secret))
	if err != nil || len(contexts) != 2*md5.Size {
		return Step{}, Alarm("invalid credentials length")
	}
	inner, err := md5From(contexts[md5.Size:], s.challenge)
	if err != nil {
		return Step{}, err
	}
	sum, err := md5From(contexts[:md5.Size], inner)
	if err != nil {
		return Step{}, err
	}
	if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum)), s.digest) != 1 {
		return Step{}, ErrMismatch
	}
	return Step{Action: Accept}, nil
}

// md5From continues an MD5 computation after one block whose state, four
// little-endian words, is given.
func md5From(state, data []byte) ([]byte, error) {
	const magic = "md5\x01" // of crypto/md5
	b := []byte(magic)
	for i := 0; i < md5.Size; i += 4 {
		b = binary.BigEndian.AppendUint32(b, binary.LittleEndian.Uint32(state[i:]))
	}
	b = append(b, make([]byte, md5.BlockSize)...)
	b = binary.BigEndian.AppendUint64(b, md5.BlockSize)
	h := md5.New()
	u, ok := h.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errors.New("sasl: crypto/md5 cannot continue a computation")
	}
	if err := u.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("sasl: continuing MD5: %w", err)
	}
	h.Write(data)
	return h.Sum(nil), nil
}

type cramMD5Client struct {
	cred Credentials
	sent bool
}

func newCRAMMD5Client(c Credentials) Client { return &cramMD5Client{cred: c} }

func (c *cramMD5Client) Start() ([]byte, error) { return nil, nil }

func (c *cramMD5Client) Next(challenge []byte) ([]byte, error) {
	if c.sent {
		return nil, ErrChallenge
	}
	c.sent = true
	h := hmac.New(md5.New, []byte(c.cred.Password))
	h.Write(challenge)
	return fmt.Appendf(nil, "%s %x", c.cred.Username, h.Sum(nil)), nil
}

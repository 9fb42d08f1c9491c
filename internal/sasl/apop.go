package sasl

import (
	"bytes"
	"crypto/md5"
	"crypto/subtle"
	"errors"
	"strconv"
	"strings"
)

// apopServer is POP3's APOP (RFC 1939 7). The challenge was in the greeting, and the
// login process sends all there is: the challenge, NUL, the name, NUL, the digest.
type apopServer struct {
	session   Session
	challenge []byte
	digest    []byte
}

func newAPOPServer(s Session) Server { return &apopServer{session: s} }

// Next implements [Server].
func (s *apopServer) Next(message []byte) (Step, error) {
	if s.challenge != nil {
		return Step{}, ErrUnexpected
	}
	if len(message) == 0 {
		return Step{}, errors.New("no initial response")
	}
	challenge, rest, ok := bytes.Cut(message, nul)
	name, digest, ok2 := bytes.Cut(rest, nul)
	if !ok || !ok2 || len(digest) != md5.Size {
		return Step{}, errors.New("malformed data")
	}
	if !s.ours(string(challenge)) {
		return Step{}, errors.New("invalid challenge")
	}
	s.challenge, s.digest = bytes.Clone(challenge), bytes.Clone(digest)
	return Step{Action: Fetch, Authcid: string(name), Scheme: "PLAIN"}, nil
}

// ours reports whether a challenge "<PID.CONNECTION.TIME.…>", in hexadecimal, is one
// that the login process on this very connection can have sent. Anything else could
// be an old one, whose answer somebody has seen.
func (s *apopServer) ours(challenge string) bool {
	f := strings.SplitN(strings.TrimPrefix(challenge, "<"), ".", 4)
	if !strings.HasPrefix(challenge, "<") || len(f) != 4 {
		return false
	}
	pid, err1 := strconv.ParseUint(f[0], 16, 32)
	connection, err2 := strconv.ParseUint(f[1], 16, 32)
	at, err3 := strconv.ParseInt(f[2], 16, 64)
	return err1 == nil && err2 == nil && err3 == nil &&
		uint32(pid) == s.session.PID && uint32(connection) == s.session.Connection && at >= s.session.Started.Unix()
}

// Credentials implements [CredentialServer].
func (s *apopServer) Credentials(secret []byte) (Step, error) {
	sum := md5.Sum(append(s.challenge, secret...))
	if subtle.ConstantTimeCompare(sum[:], s.digest) != 1 {
		return Step{}, ErrQuiet
	}
	return Step{Action: Accept}, nil
}

package sasl

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/otp"
)

// otpServer is RFC 2444. What is stored is the scheme OTP, and each login replaces it.
type otpServer struct {
	started bool
	state   *otp.State
}

func newOTPServer(Session) Server { return new(otpServer) }

// Next implements [Server].
func (s *otpServer) Next(message []byte) (Step, error) {
	switch {
	case message == nil:
		return Step{Action: Challenge}, nil
	case !s.started:
		return s.begin(message)
	case s.state == nil:
		return Step{}, ErrUnexpected
	}
	r, err := otp.ParseResponse(string(message))
	if err != nil {
		return Step{}, Alarm(err.Error())
	}
	next, ok := s.state.Next(r.Hash)
	switch {
	case !ok:
		return Step{}, ErrQuiet
	case r.Init != nil:
		next = *r.Init
	}
	return Step{Action: Accept, Store: next.String()}, nil
}

// begin takes the authorization identity, which Dovecot does not look at, NUL, and
// the name. An identity other than the name is refused here: who wants to be somebody
// else must not become himself.
func (s *otpServer) begin(message []byte) (Step, error) {
	authzid, name, ok := bytes.Cut(message, nul)
	if !ok || bytes.IndexByte(name, 0) >= 0 {
		return Step{}, Alarm("invalid input")
	}
	s.started = true
	step := Step{Action: Fetch, Authcid: string(name), Scheme: "OTP", Alone: true}
	if !bytes.Equal(authzid, name) {
		step.Authzid = string(authzid)
	}
	return step, nil
}

// Credentials implements [CredentialServer].
func (s *otpServer) Credentials(secret []byte) (Step, error) {
	state, err := otp.Parse(string(secret))
	if err != nil {
		return Step{}, Alarm("invalid OTP data in passdb")
	}
	challenge, ok := state.Challenge()
	if !ok {
		return Step{}, Alarm("sequence number < 1")
	}
	s.state = &state
	return Step{Action: Challenge, Data: []byte(challenge)}, nil
}

// otpClient is the client's side, which knows the password behind the chain.
type otpClient struct {
	cred Credentials
	done bool
}

func newOTPClient(c Credentials) Client { return &otpClient{cred: c} }

// Start implements [Client].
func (c *otpClient) Start() ([]byte, error) {
	return []byte(c.cred.Authzid + "\x00" + c.cred.Username), nil
}

// Next implements [Client].
func (c *otpClient) Next(challenge []byte) ([]byte, error) {
	if c.done {
		return nil, ErrChallenge
	}
	text, ok := strings.CutPrefix(string(challenge), "otp-")
	text, ok2 := strings.CutSuffix(text, " ext")
	if !ok || !ok2 {
		return nil, ErrChallenge
	}
	asked, err := otp.Parse(text + " 0000000000000000")
	if err != nil {
		return nil, ErrChallenge
	}
	c.done = true
	return fmt.Appendf(nil, "hex:%x", asked.Compute(c.cred.Password)), nil
}

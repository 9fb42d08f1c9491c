package sasl

import "errors"

// externalServer is RFC 4422 appendix A: the identity is the one that TLS has
// proven with a client certificate.
type externalServer struct{ certUsername string }

func newExternalServer(s Session) Server { return externalServer{s.CertUsername} }

var errNoCertUsername = errors.New("username not known")

func (s externalServer) Next(response []byte) (Step, error) {
	if response == nil {
		return Step{Action: Challenge}, nil
	}
	if s.certUsername == "" {
		return Step{}, errNoCertUsername
	}
	step := Step{Action: Accept, Authcid: s.certUsername}
	if string(response) != s.certUsername {
		step.Authzid = string(response)
	}
	return step, nil
}

type externalClient struct{ authzid string }

func newExternalClient(c Credentials) Client { return externalClient{c.Authzid} }

func (c externalClient) Start() ([]byte, error) { return []byte(c.authzid), nil }

func (c externalClient) Next(challenge []byte) ([]byte, error) {
	if len(challenge) != 0 {
		return nil, ErrChallenge
	}
	return c.Start()
}

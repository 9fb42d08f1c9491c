package sasl

import "bytes"

// plainServer is RFC 4616.
type plainServer struct{}

func newPlainServer(Session) Server { return plainServer{} }

func (plainServer) Next(response []byte) (Step, error) {
	if response == nil {
		return Step{Action: Challenge}, nil
	}
	authzid, rest, ok := bytes.Cut(response, nul)
	if !ok {
		return Step{}, ErrInvalidInput
	}
	authcid, password, ok := bytes.Cut(rest, nul)
	if !ok || bytes.IndexByte(password, 0) >= 0 {
		return Step{}, ErrInvalidInput
	}
	s := Step{Action: Verify, Authcid: string(authcid), Password: string(password)}
	// Many clients repeat their name; that is no request to act for another.
	if !bytes.Equal(authzid, authcid) {
		s.Authzid = string(authzid)
	}
	return s, nil
}

var nul = []byte{0}

type plainClient struct{ cred Credentials }

func newPlainClient(c Credentials) Client { return plainClient{c} }

func (c plainClient) Start() ([]byte, error) {
	return []byte(c.cred.Authzid + "\x00" + c.cred.Username + "\x00" + c.cred.Password), nil
}

// Next answers the empty challenge of a server that was sent no initial response.
func (c plainClient) Next(challenge []byte) ([]byte, error) {
	if len(challenge) != 0 {
		return nil, ErrChallenge
	}
	return c.Start()
}

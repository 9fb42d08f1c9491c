package sasl

// anonymousServer is RFC 4505. The client's message, a trace such as a mail
// address, is the Trace of the [Accept] step.
type anonymousServer struct{ username string }

func newAnonymousServer(s Session) Server { return anonymousServer{s.Username} }

func (s anonymousServer) Next(response []byte) (Step, error) {
	if response == nil {
		return Step{Action: Challenge}, nil
	}
	return Step{Action: Accept, Authcid: s.username, Trace: string(response)}, nil
}

type anonymousClient struct{ trace string }

func newAnonymousClient(c Credentials) Client { return anonymousClient{c.Username} }

func (c anonymousClient) Start() ([]byte, error) { return []byte(c.trace), nil }

func (c anonymousClient) Next(challenge []byte) ([]byte, error) {
	if len(challenge) != 0 {
		return nil, ErrChallenge
	}
	return c.Start()
}

package sasl

// loginServer is the LOGIN mechanism (draft-murchison-sasl-login): two prompts.
// It has no RFC; old Outlook knew nothing else.
type loginServer struct {
	user    string
	started bool
	hasUser bool
}

func newLoginServer(Session) Server { return new(loginServer) }

// Next takes an initial response for the user name, as some clients send it.
func (s *loginServer) Next(response []byte) (Step, error) {
	first := !s.started
	s.started = true
	switch {
	case first && len(response) == 0:
		return Step{Action: Challenge, Data: []byte("Username:")}, nil
	case s.hasUser:
		return Step{Action: Verify, Authcid: s.user, Password: string(response)}, nil
	case len(response) == 0:
		return Step{Action: Verify}, nil // no name, so there is nothing to ask for
	}
	s.user, s.hasUser = string(response), true
	return Step{Action: Challenge, Data: []byte("Password:"), Authcid: s.user}, nil
}

type loginClient struct {
	cred Credentials
	sent int
}

func newLoginClient(c Credentials) Client { return &loginClient{cred: c} }

// Start returns nil: not every server takes the name as initial response.
func (c *loginClient) Start() ([]byte, error) { return nil, nil }

// Next answers the prompts by their order; their text differs among servers.
func (c *loginClient) Next([]byte) ([]byte, error) {
	c.sent++
	switch c.sent {
	case 1:
		return []byte(c.cred.Username), nil
	case 2:
		return []byte(c.cred.Password), nil
	}
	return nil, ErrChallenge
}

package sasl

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// xoauth2Server is XOAUTH2, Google's form of a login with a bearer token
// (RFC 6750) from before there was an RFC for it: "user=NAME^Aauth=Bearer TOKEN^A^A".
// The token is the Password of the [Verify] step.
type xoauth2Server struct{}

func newXOAUTH2Server(Session) Server { return xoauth2Server{} }

// Next implements [Server].
func (xoauth2Server) Next(message []byte) (Step, error) {
	if message == nil {
		return Step{Action: Challenge}, nil
	}
	step := Step{Action: Verify}
	given := false
	for field := range strings.SplitSeq(string(message), "\x01") {
		if name, ok := strings.CutPrefix(field, "user="); ok {
			step.Authcid, given = name, true
		}
		if err := bearer(field, &step); err != nil {
			return Step{}, err
		}
	}
	return complete(step, given, "Username or token missing")
}

// Refused implements [RefusalServer].
func (xoauth2Server) Refused(configuration string) []byte {
	return refusal(configuration, "status", "401", "schemes", "bearer", "scope", "mail")
}

// oauthBearerServer is RFC 7628: a GS2 header (RFC 5801) with the user's name, then
// fields, of which only the token counts: "n,a=NAME,^Aauth=Bearer TOKEN^A^A".
type oauthBearerServer struct{}

func newOAuthBearerServer(Session) Server { return oauthBearerServer{} }

var errBearer = errors.New("Invalid continued data")

// Next implements [Server].
func (oauthBearerServer) Next(message []byte) (Step, error) {
	if message == nil {
		return Step{Action: Challenge}, nil
	}
	header, _, _ := strings.Cut(string(message), "\x01")
	if header == "" {
		return Step{}, errBearer
	}
	step := Step{Action: Verify}
	given := false
	for item := range strings.SplitSeq(header, ",") {
		if item == "" {
			continue
		}
		switch item[0] {
		case 'n', 'y': // no channel binding
		case 'f':
			return Step{}, errors.New("Client requested non-standard mechanism")
		case 'p':
			return Step{}, errors.New("Client requested and used channel-binding")
		case 'a':
			name, ok := strings.CutPrefix(item, "a=")
			if ok {
				step.Authcid, ok = unescapeName(name)
			}
			if !ok {
				return Step{}, errors.New("Invalid username escaping")
			}
			given = true
		default:
			return Step{}, errors.New("Invalid gs2-header in request")
		}
	}
	for field := range strings.SplitSeq(string(message), "\x01") {
		if err := bearer(field, &step); err != nil {
			return Step{}, err
		}
	}
	return complete(step, given, "Missing username or token")
}

// Refused implements [RefusalServer], with the JSON of RFC 7628 3.2.2.
func (oauthBearerServer) Refused(configuration string) []byte {
	return refusal(configuration, "status", "invalid_token")
}

// bearer takes the token from a field that has it.
func bearer(field string, step *Step) error {
	value, ok := strings.CutPrefix(field, "auth=")
	if !ok {
		return nil
	}
	const scheme = "bearer "
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) || strings.ContainsAny(value, "\r\n") {
		return errBearer
	}
	step.Password = value[len(scheme):]
	return nil
}

// complete checks that there is a name and a token.
func complete(step Step, given bool, missing string) (Step, error) {
	switch {
	case given && step.Authcid == "": // an empty name is the caller's to refuse
		return step, nil
	case !given || step.Password == "":
		return Step{Authcid: step.Authcid}, errors.New(missing)
	}
	return step, nil
}

// refusal is a JSON object of names and values that says why.
func refusal(configuration string, pairs ...string) []byte {
	if configuration != "" {
		pairs = append(pairs, "openid-configuration", configuration)
	}
	b := []byte{'{'}
	for i := 0; i < len(pairs); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendJSONString(b, pairs[i])
		b = appendJSONString(append(b, ':'), pairs[i+1])
	}
	return append(b, '}')
}

// appendJSONString writes a JSON string with no more escapes than it needs: URLs in
// it stay readable.
func appendJSONString(b []byte, text string) []byte {
	b = append(b, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ':
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}

// bearerClient is the client's side of both. The Password is the token.
type bearerClient struct {
	cred    Credentials
	message func(c *Credentials) string
	receipt []byte // answer to a refusal
	refused bool
}

func newXOAUTH2Client(c Credentials) Client {
	return &bearerClient{cred: c, receipt: []byte{}, message: func(c *Credentials) string {
		return "user=" + c.Username + "\x01auth=Bearer " + c.Password + "\x01\x01"
	}}
}

func newOAuthBearerClient(c Credentials) Client {
	return &bearerClient{cred: c, receipt: []byte{1}, message: func(c *Credentials) string {
		return "n,a=" + escapeName(c.Username) + ",\x01auth=Bearer " + c.Password + "\x01\x01"
	}}
}

// Start implements [Client].
func (c *bearerClient) Start() ([]byte, error) { return []byte(c.message(&c.cred)), nil }

// Next implements [Client]: the empty challenge of a server that was sent no initial
// response, or the reason of a refusal, which the failure follows.
func (c *bearerClient) Next(challenge []byte) ([]byte, error) {
	switch {
	case c.refused:
		return nil, ErrChallenge
	case len(challenge) == 0:
		return c.Start()
	}
	c.refused = true
	return c.receipt, nil
}

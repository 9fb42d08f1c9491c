package login

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// A failure is why a login command failed, in the words of both protocols.
type failure struct {
	kind failureKind
	text string
}

// failureKind decides the response code.
type failureKind uint8

const (
	failAuth        failureKind = iota // wrong password, unknown user
	failReason                         // the same, with a text of the passdb's
	failTemp                           // may work later
	failAuthz                          // master user without the right
	failExpired                        // password expired
	failNologin                        // right password, no access
	failPrivacy                        // TLS is needed first
	failMechanism                      // mechanism not offered
	failBase64                         // response is not base64
	failAborted                        // the client sent "*"
	failReferral                       // the user is on another server
	failUnavailable                    // the mail process cannot serve the client
	failLimit                          // the user has too many connections
)

// Codes that this process sets itself, besides those of the auth server.
const (
	codeLoginDisabled = "login_disabled"
	codeMechanism     = "mech_invalid"
	codeMechTLS       = "mech_ssl_required"
)

// Errors of the exchange with the client, which end it.
var (
	errBadBase64 = errors.New("SASL response is not base64")
	errTooLarge  = errors.New("SASL response too large")
	errClient    = errors.New("client is gone")
)

// plaintextAllowed reports whether a password may be sent as it is.
func (c *session) plaintextAllowed() bool { return c.secured || !c.plaintextOff }

// offered reports whether mechanism m is announced to the client.
func (c *session) offered(m *client.Mechanism) bool {
	switch {
	case c.sslRequired && !c.secured:
		return false
	case m.Flags&sasl.ChannelBinding != 0:
		return c.canBind()
	}
	return m.Flags&sasl.Private == 0 && (m.Flags&sasl.Plaintext == 0 || c.plaintextAllowed())
}

// passwordRefused handles LOGIN and USER where plaintext passwords are not
// allowed. It returns false if they are.
func (c *session) passwordRefused(user string) bool {
	if c.plaintextAllowed() {
		return false
	}
	if c.set.AuthVerbose {
		c.logf(causePlainLogged)
	}
	c.user = user
	c.attempted()
	c.protocol.refuse(c, &failure{failPrivacy, textPlainOff})
	return true
}

func (c *session) attempted() {
	if c.attempts == 0 {
		c.firstAuth = time.Now()
	}
	c.attempts++
}

// plain logs in with user and password, by way of SASL PLAIN (RFC 4616).
func (c *session) plain(ctx context.Context, user, password []byte) bool {
	msg := make([]byte, 0, 2+len(user)+len(password))
	msg = append(append(msg, 0), user...)
	msg = append(append(msg, 0), password...)
	c.mech = "PLAIN"
	return c.exchange(ctx, msg, true)
}

// authenticate serves AUTHENTICATE and AUTH. initial is the initial response in
// base64; "=" is an empty one (RFC 4959 3, RFC 5034 4).
func (c *session) authenticate(ctx context.Context, mech string, initial []byte, hasInitial bool) bool {
	c.mech = strings.ToUpper(mech)
	if f := c.mechanismRefused(); f != nil {
		c.protocol.refuse(c, f)
		return true
	}
	if !hasInitial {
		return c.exchange(ctx, nil, false)
	}
	if string(initial) == "=" {
		return c.exchange(ctx, nil, true)
	}
	msg, err := decodeBase64(initial)
	if err != nil {
		c.attempted()
		c.failCode = client.CodeInvalidBase64
		c.protocol.refuse(c, &failure{failBase64, textBadInitial})
		return true
	}
	return c.exchange(ctx, msg, true)
}

// tlsMissing checks whether the client may log in without TLS, if it has none.
func (c *session) tlsMissing() *failure {
	if !c.sslRequired || c.secured {
		return nil
	}
	if c.set.AuthVerbose {
		c.logf("Login failed: SSL required for authentication")
	}
	c.attempted()
	return &failure{failPrivacy, textTLSRequired}
}

// mechanismRefused checks whether the client may use c.mech now.
func (c *session) mechanismRefused() *failure {
	if f := c.tlsMissing(); f != nil {
		return f
	}
	for _, m := range c.srv.Auth.Mechanisms() {
		if m.Name != c.mech {
			continue
		}
		if c.offered(&m) {
			return nil
		}
		if m.Flags&sasl.Private != 0 {
			break
		}
		c.attempted()
		c.failCode = codeMechTLS
		return &failure{failPrivacy, textPlainMechOff}
	}
	c.attempted()
	c.failCode = codeMechanism
	return &failure{failMechanism, textMechanism}
}

func decodeBase64(text []byte) ([]byte, error) {
	b := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(b, text)
	return b[:n], err
}

// exchange relays c.mech's exchange to the auth server and acts on its outcome.
// It returns false when the session is over.
func (c *session) exchange(ctx context.Context, initial []byte, hasInitial bool) bool {
	c.attempted()
	if f := c.certRefused(); f != nil {
		c.protocol.refuse(c, f)
		return true
	}
	if !c.flush() { // replies to earlier commands do not wait for the password check
		return false
	}
	c.state = stateAuthenticating
	c.busy.Store(authenticating)
	defer c.busy.Store(idle)
	req := client.Request{
		Mechanism: c.mech, Service: c.srv.service,
		Local: c.local, Remote: c.remote, RealLocal: c.realLocal, RealRemote: c.realRemote,
		Secured: c.secured, TLS: c.hasTLS(), Session: c.id, LocalName: c.localName,
		ValidClientCert: c.certificate().valid, CertUsername: c.certificate().name,
		ClientID: strings.Join(c.clientID, " "), ForwardFields: string(c.forwardFields),
		Bindings: c.bindings(),
		Initial:  initial, HasInitial: hasInitial,
	}
	res, err := c.srv.Auth.Authenticate(ctx, &req, c.answer)
	clear(initial)
	if err != nil {
		return c.exchangeFailed(err)
	}
	c.user, c.passdb = res.User, res.Fields
	c.successes++
	if res.Fields.Has("proxy") {
		return c.startProxy(ctx, res.Fields)
	}
	if f := c.elsewhere(res.Fields); f != nil {
		c.state = stateIdle
		c.protocol.refuse(c, f)
		return true
	}
	return c.pass(ctx, &res)
}

// answer asks the client for the response to a challenge.
func (c *session) answer(challenge []byte) ([]byte, error) {
	c.state = stateChallenged
	c.busy.Store(idle)
	c.protocol.challenge(c, challenge)
	if !c.flush() {
		return nil, errClient
	}
	line, err := c.in.line(maxSASL)
	switch {
	case errors.Is(err, errTooLong):
		return nil, errTooLarge
	case err != nil:
		c.readFailed(err)
		return nil, errClient
	case string(line) == "*":
		return nil, client.ErrAborted
	}
	c.state = stateAuthenticating
	c.busy.Store(authenticating)
	msg, err := decodeBase64(line)
	if err != nil {
		return nil, errBadBase64
	}
	return msg, nil
}

// exchangeFailed answers a login that did not succeed. It returns false when
// the session is over.
func (c *session) exchangeFailed(err error) bool {
	var f *failure
	state := stateIdle
	var refused *client.Failure
	switch interruption := c.interrupted.Load(); {
	case errors.Is(err, errClient): // ended and logged already
		return false
	case interruption != nil:
		c.end(interruption.text, interruption.cause)
		return false
	case errors.Is(err, errTooLarge):
		c.end("", causeSASLFull)
		return false
	case errors.Is(err, client.ErrAborted):
		f, state = &failure{failAborted, textAborted}, stateAborted
	case errors.Is(err, errBadBase64):
		f = &failure{failReason, textBadBase64}
	case errors.As(err, &refused):
		f = c.refused(refused)
	default:
		// Dovecot calls this a wrong password, which makes clients ask for another.
		c.srv.log.Errorf("auth: %v", err)
		f, state = &failure{failTemp, c.srv.tempFailText()}, stateAuthLost
	}
	c.state = state
	c.protocol.refuse(c, f)
	return true
}

// refused turns the auth server's FAIL into an answer.
func (c *session) refused(r *client.Failure) *failure {
	c.failCode = r.Code
	if r.User != "" {
		c.user = r.User
	}
	c.passdb = r.Fields
	if f := c.elsewhere(r.Fields); f != nil {
		c.failCode = codeLoginDisabled
		return f
	}
	text := r.Reason
	switch r.Code {
	case client.CodeTempFail:
		return &failure{failTemp, c.srv.tempFailText()}
	case client.CodeAuthzFail:
		return &failure{failAuthz, or(text, textAuthz)}
	case client.CodePassExpired:
		return &failure{failExpired, or(text, textAuthFailed)}
	case client.CodeInvalidBase64:
		return &failure{failBase64, or(text, textAuthFailed)}
	}
	if text != "" {
		return &failure{failReason, text}
	}
	return &failure{failAuth, textAuthFailed}
}

// elsewhere handles the field nologin: the user is locked out, or has a mailbox
// on another server that the client is told of.
func (c *session) elsewhere(fields client.Fields) *failure {
	reason, _ := fields.Get("reason")
	if !fields.Has("nologin") {
		return nil
	}
	if host, ok := fields.Get("host"); ok {
		user := c.user
		if dest, ok := fields.Get("destuser"); ok {
			user = dest
		}
		port, _ := fields.Get("port")
		return &failure{failReferral, c.protocol.referral(c.mech, user, host, port) + or(reason, textReferral)}
	}
	return &failure{failNologin, or(reason, textNologin)}
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

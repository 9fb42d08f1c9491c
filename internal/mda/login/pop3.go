package login

import (
	"bytes"
	"context"
	"encoding/base64"
	"strings"
)

// pop3 is the POP3 protocol before login: the AUTHORIZATION state of RFC 1939,
// with RFC 2449 (CAPA), 2595 (STLS) and 5034 (AUTH).
type pop3 struct{}

// pop3Commands are the commands of the AUTHORIZATION state. A handler
// returns false when the session is over.
var pop3Commands = map[string]func(pop3, context.Context, *session, []byte) bool{
	"CAPA":    pop3.cmdCapa,
	"USER":    pop3.cmdUser,
	"PASS":    pop3.cmdPass,
	"AUTH":    pop3.cmdAuth,
	"APOP":    pop3.cmdAPOP,
	"STLS":    pop3.cmdStartTLS,
	"QUIT":    pop3.cmdQuit,
	"XCLIENT": pop3.cmdXClient,
}

func (pop3) greet(c *session) {
	text := c.greetingText()
	if c.apop = c.srv.newAPOP(); c.apop.text != "" {
		text += " " + c.apop.text
	}
	if c.fromTrusted {
		c.reply("+OK [XCLIENT] ", text)
		return
	}
	c.reply("+OK ", text)
}

func (pop3) bye(c *session, text string) { c.reply("-ERR ", text) }

func (pop3) challenge(c *session, data []byte) {
	c.out = append(c.out, "+ "...)
	c.out = base64.StdEncoding.AppendEncode(c.out, data)
	c.reply()
}

func (pop3) referral(string, string, string, string) string { return "" }

// pop3Codes are what a failure's text follows, by failureKind (RFC 3206).
var pop3Codes = [...]string{
	failAuth:        "-ERR [AUTH] ",
	failReason:      "-ERR [AUTH] ",
	failTemp:        "-ERR [SYS/TEMP] ",
	failAuthz:       "-ERR [AUTH] ",
	failExpired:     "-ERR [AUTH] ",
	failNologin:     "-ERR [AUTH] ",
	failPrivacy:     "-ERR [AUTH] ",
	failMechanism:   "-ERR [AUTH] ",
	failBase64:      "-ERR [AUTH] ",
	failAborted:     "-ERR ",
	failReferral:    "-ERR ",
	failUnavailable: "-ERR [SYS/TEMP] ",
	failLimit:       "-ERR [IN-USE] ",
}

func (pop3) refuse(c *session, f *failure) { c.reply(pop3Codes[f.kind], f.text) }

func (p pop3) command(ctx context.Context, c *session, line []byte) bool {
	verb, args, _ := bytes.Cut(line, []byte{' '})
	var name [8]byte
	handler := pop3Commands[string(appendUpper(name[:0], verb))]
	if handler == nil {
		return p.bad(c)
	}
	c.badCount = 0
	return handler(p, ctx, c, args)
}

// bad answers an unknown command. The third in a row ends the session.
func (pop3) bad(c *session) bool {
	c.reply("-ERR Unknown command.")
	if c.badCount++; c.badCount < maxBad {
		return true
	}
	c.end(textTooManyBadPOP3, causeBadPOP3)
	return false
}

func (pop3) cmdCapa(_ context.Context, c *session, _ []byte) bool {
	c.reply("+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE")
	if c.rules.tls != nil && c.tlsConn == nil {
		c.reply("STLS")
	}
	if c.plaintextAllowed() {
		c.reply("USER")
	}
	c.out = append(c.out, "SASL"...)
	for _, m := range c.srv.Auth.Mechanisms() {
		if c.offered(&m) {
			c.out = append(append(c.out, ' '), m.Name...)
		}
	}
	c.reply("\r\n.")
	return true
}

func (pop3) cmdUser(_ context.Context, c *session, args []byte) bool {
	if c.passwordRefused(string(args)) {
		return true
	}
	c.pop3User, c.hasPOP3User = string(args), true
	c.reply("+OK")
	return true
}

func (pop3) cmdPass(ctx context.Context, c *session, args []byte) bool {
	if !c.plaintextAllowed() && c.passwordRefused(c.user) {
		return true
	}
	if !c.hasPOP3User {
		c.reply("-ERR No username given.")
		return true
	}
	user := c.pop3User
	c.pop3User, c.hasPOP3User = "", false // PASS needs another USER, even after a failure
	return c.plain(ctx, []byte(user), args)
}

// cmdAuth serves AUTH; without an argument it lists the mechanisms, as clients
// from before RFC 5034 expect.
func (pop3) cmdAuth(ctx context.Context, c *session, args []byte) bool {
	mech, initial, hasInitial := bytes.Cut(args, []byte{' '})
	if len(mech) > 0 {
		return c.authenticate(ctx, string(mech), initial, hasInitial)
	}
	c.reply("+OK")
	for _, m := range c.srv.Auth.Mechanisms() {
		if c.offered(&m) {
			c.reply(m.Name)
		}
	}
	c.reply(".")
	return true
}

func (pop3) cmdStartTLS(ctx context.Context, c *session, _ []byte) bool {
	switch {
	case c.tlsConn != nil:
		c.reply("-ERR ", textTLSActive)
		return true
	case c.rules.tls == nil:
		c.reply("-ERR ", textTLSOff)
		return true
	}
	c.reply("+OK ", textTLSBegin)
	return c.startTLS(ctx)
}

func (pop3) cmdQuit(_ context.Context, c *session, _ []byte) bool {
	c.reply("+OK Logging out")
	if c.flush() {
		c.finish(causeLogout)
	}
	return false
}

// cmdXClient takes what a trusted proxy says of its client.
func (pop3) cmdXClient(_ context.Context, c *session, args []byte) bool {
	if !c.fromTrusted {
		c.reply("+OK You are not from trusted IP - ignoring")
		return true
	}
	ok := true
	for word := range strings.FieldsSeq(string(args)) {
		name, value, _ := strings.Cut(word, "=")
		switch strings.ToUpper(name) {
		case "ADDR":
			ok = c.forwardAddr(&c.remote, value) && ok
		case "PORT":
			ok = c.forwardPort(&c.remote, value) && ok
		case "SESSION":
			c.forwardSession(value)
		case "TTL":
			ok = c.forwardTTL(value) && ok
		case "FORWARD":
			ok = c.forwardAll(value) && ok
		}
	}
	if !ok {
		c.reply("-ERR Invalid parameters")
		return true
	}
	c.reply("+OK Updated")
	return true
}

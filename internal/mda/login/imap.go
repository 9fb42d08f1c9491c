package login

import (
	"bytes"
	"context"
	"encoding/base64"
	"strings"
)

// imap is the IMAP protocol before login (RFC 3501 6.1 and 6.2).
type imap struct {
	set        IMAPSettings
	capability string // without STARTTLS, LOGINDISABLED and AUTH=
	id         string // answer to ID
	logID      map[string]bool
	logAllIDs  bool
}

// imapCommands are the commands of the not authenticated state. A handler
// returns false when the session is over.
var imapCommands = map[string]func(*imap, context.Context, *session) bool{
	"CAPABILITY": (*imap).cmdCapability,
	"NOOP":       (*imap).cmdNoop,
	"LOGOUT":     (*imap).cmdLogout,
	"ID":         (*imap).cmdID,
	"ENABLE":     (*imap).cmdEnable,
	"STARTTLS":   (*imap).cmdStartTLS,
	"LOGIN":      (*imap).cmdLogin,
}

// imapBanner is the built-in list of capabilities. Dovecot announces ENABLE and
// IDLE already here, for clients that never ask again; IMAP4rev2 stands beside them for those
// that choose what they enable before they log in (RFC 9051 7.2.2).
const imapBanner = "IMAP4rev1 IMAP4rev2 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE"

func newIMAP(set IMAPSettings) *imap {
	p := &imap{set: set, capability: set.capability(), id: imapID(set.IDSend)}
	p.logID, p.logAllIDs = loggedIDs(set.IDLog)
	return p
}

// capability applies imap_capability. A replaced list is taken as it is.
func (set *IMAPSettings) capability() string {
	literal := " LITERAL+"
	if set.LiteralMinus {
		literal = " LITERAL-"
	}
	switch added, ok := strings.CutPrefix(set.Capability, "+"); {
	case set.Capability == "":
		return imapBanner + literal
	case ok:
		return imapBanner + " " + strings.TrimSpace(added) + literal
	}
	return set.Capability
}

func (p *imap) appendCapability(c *session) {
	c.out = append(c.out, "CAPABILITY "...)
	c.out = append(c.out, p.capability...)
	if c.rules.tls != nil && c.tlsConn == nil {
		c.out = append(c.out, " STARTTLS"...)
	}
	if !c.plaintextAllowed() {
		c.out = append(c.out, " LOGINDISABLED"...)
	}
	for _, m := range c.srv.Auth.Mechanisms() {
		if c.offered(&m) {
			c.out = append(append(c.out, " AUTH="...), m.Name...)
		}
	}
}

func (p *imap) greet(c *session) {
	c.out = append(c.out, "* OK ["...)
	p.appendCapability(c)
	c.reply("] ", c.greetingText())
}

func (p *imap) bye(c *session, text string) { c.reply("* BYE ", text) }

func (p *imap) challenge(c *session, data []byte) {
	c.out = append(c.out, "+ "...)
	c.out = base64.StdEncoding.AppendEncode(c.out, data)
	c.reply()
}

// referral begins with the URL (RFC 5092) of the server to go to (RFC 2221).
func (p *imap) referral(mech, user, host, port string) string {
	if port != "" && port != "143" {
		host += ":" + port
	}
	return "[REFERRAL imap://" + escapeURL(user) + ";AUTH=" + escapeURL(mech) + "@" + host + "/] "
}

// escapeURL escapes what a user name in a URL cannot hold (RFC 5092: achar).
func escapeURL(name string) string {
	const hex = "0123456789abcdef"
	var b []byte
	for i := range len(name) {
		ch := name[i]
		if 'a' <= ch && ch <= 'z' || 'A' <= ch && ch <= 'Z' || '0' <= ch && ch <= '9' || strings.IndexByte("-._~!$'()*+,&=", ch) >= 0 {
			b = append(b, ch)
			continue
		}
		b = append(b, '%', hex[ch>>4], hex[ch&15])
	}
	return string(b)
}

// imapConditions are what a failure's text follows, by failureKind.
var imapConditions = [...]string{
	failAuth:        " NO [AUTHENTICATIONFAILED] ",
	failReason:      " NO [ALERT] ",
	failTemp:        " NO [UNAVAILABLE] ",
	failAuthz:       " NO [AUTHORIZATIONFAILED] ",
	failExpired:     " NO [EXPIRED] ",
	failNologin:     " NO [CONTACTADMIN] ",
	failPrivacy:     " NO [PRIVACYREQUIRED] ",
	failMechanism:   " NO [ALERT] ",
	failBase64:      " BAD ",
	failAborted:     " BAD ",
	failReferral:    " NO ",
	failUnavailable: " NO [UNAVAILABLE] ",
	failLimit:       " NO [LIMIT] ",
}

func (p *imap) refuse(c *session, f *failure) {
	c.reply(c.tag, imapConditions[f.kind], f.text)
}

// bad answers a command that is none. The third one ends the session.
func (p *imap) bad(c *session) bool {
	if c.badCount++; c.badCount >= maxBad {
		c.end(textTooManyBadIMAP, causeBad)
		return false
	}
	tag := c.tag
	if tag == "" {
		tag = "*"
	}
	c.reply(tag, " BAD ", textBadIMAP)
	return true
}

// command serves a line that begins a command.
func (p *imap) command(ctx context.Context, c *session, line []byte) bool {
	tag, rest, _ := bytes.Cut(line, []byte{' '})
	c.tag = ""
	if !isTag(tag) {
		return p.bad(c)
	}
	c.tag = string(tag)
	verb, args, _ := bytes.Cut(rest, []byte{' '})
	var name [12]byte
	cmd := string(appendUpper(name[:0], verb))
	if cmd == "AUTHENTICATE" {
		return p.cmdAuthenticate(ctx, c, args)
	}
	handler := imapCommands[cmd]
	if handler == nil {
		return p.bad(c)
	}
	if more, ok := p.readArgs(c, args); !ok {
		return more
	}
	return handler(p, ctx, c)
}

// readArgs parses the arguments in c.args, with their literals. When ok is false
// the command is answered, and more says whether the session goes on.
func (p *imap) readArgs(c *session, line []byte) (more, ok bool) {
	c.args.reset()
	for {
		if err := c.args.feed(line); err != nil {
			return p.badArgs(c, err), false
		}
		if c.args.want < 0 {
			return true, true
		}
		if c.args.sync {
			c.reply("+ OK")
			if !c.flush() {
				return false, false
			}
		}
		text, err := c.in.literal(c.args.want)
		if err == nil {
			c.args.literal(text)
			line, err = c.in.line(maxLine)
		}
		if err != nil {
			c.readFailed(err)
			return false, false
		}
	}
}

func (p *imap) badArgs(c *session, err error) bool {
	if err == errLiteralTooBig { //nolint:errorlint // never wrapped
		c.end(errLiteralTooBig.Error(), causeLiteral)
		return false
	}
	c.reply(c.tag, " BAD ", err.Error())
	return true
}

// isTag checks RFC 3501's tag: ASTRING-CHARs but "+".
func isTag(tag []byte) bool {
	for _, ch := range tag {
		if ch <= ' ' || ch >= 0x7f || bytes.IndexByte([]byte(`(){%*"\+`), ch) >= 0 {
			return false
		}
	}
	return len(tag) > 0
}

// appendUpper appends name in upper case, at most 12 bytes of it.
func appendUpper(b, name []byte) []byte {
	if len(name) > cap(b) {
		return b
	}
	for _, ch := range name {
		if 'a' <= ch && ch <= 'z' {
			ch -= 'a' - 'A'
		}
		b = append(b, ch)
	}
	return b
}

func (p *imap) cmdCapability(_ context.Context, c *session) bool {
	c.askedForCaps = true
	c.out = append(c.out, "* "...)
	p.appendCapability(c)
	c.reply()
	c.reply(c.tag, " OK Pre-login capabilities listed, post-login capabilities have more.")
	return true
}

func (p *imap) cmdNoop(_ context.Context, c *session) bool {
	c.reply(c.tag, " OK NOOP completed.")
	return true
}

func (p *imap) cmdEnable(_ context.Context, c *session) bool {
	c.reply("* ENABLED")
	c.reply(c.tag, " OK ENABLE ignored in non-authenticated state.")
	return true
}

func (p *imap) cmdLogout(_ context.Context, c *session) bool {
	c.reply("* BYE Logging out")
	c.reply(c.tag, " OK Logout completed.")
	if c.flush() {
		c.finish(causeLogout)
	}
	return false
}

func (p *imap) cmdStartTLS(ctx context.Context, c *session) bool {
	switch {
	case c.tlsConn != nil:
		c.reply(c.tag, " BAD ", textTLSActive)
		return true
	case c.rules.tls == nil:
		c.reply(c.tag, " BAD ", textTLSOff)
		return true
	}
	c.reply(c.tag, " OK ", textTLSBegin)
	return c.startTLS(ctx)
}

func (p *imap) cmdLogin(ctx context.Context, c *session) bool {
	user, ok1 := c.args.str(0)
	password, ok2 := c.args.str(1)
	if !ok1 || !ok2 || len(c.args.args) != 2 {
		return p.bad(c)
	}
	if !c.plaintextAllowed() {
		c.reply("* BAD [ALERT] ", textPlainWarning)
	}
	if c.passwordRefused(string(user)) {
		return true
	}
	more := c.plain(ctx, user, password)
	c.args.reset() // wipes the password
	return more
}

// cmdAuthenticate parses its line itself: what follows the mechanism is base64
// whatever it looks like (RFC 4959 3).
func (p *imap) cmdAuthenticate(ctx context.Context, c *session, args []byte) bool {
	mech, initial, hasInitial := bytes.Cut(args, []byte{' '})
	if len(mech) == 0 {
		return p.bad(c)
	}
	return c.authenticate(ctx, string(mech), initial, hasInitial)
}

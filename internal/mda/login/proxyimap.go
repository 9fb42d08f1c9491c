package login

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// imapProxy is the dialogue with an IMAP server.
type imapProxy struct {
	sent       uint8 // what waits for an answer: bits of imapSent
	received   string
	banner     bool
	saslIR     bool
	loginOff   bool // LOGINDISABLED
	asked      bool // CAPABILITY was sent
	known      bool // capability is
	capability string
}

// What the server was sent, in the order of log lines.
const (
	sentID uint8 = 1 << iota
	sentStartTLS
	sentCapability
	sentAuthenticate
	sentContinue
	sentLogin
)

var imapSent = [...]string{"id", "starttls", "capability", "authenticate", "auth-continue", "login"}

func (*imap) proxyDialogue() proxyDialogue { return &imapProxy{received: "none"} }

func (*imap) port(tls bool) uint16 {
	if tls {
		return 993
	}
	return 143
}

func (d *imapProxy) reset() {
	*d = imapProxy{received: "none", known: d.known, capability: d.capability}
}

func (d *imapProxy) state() string {
	var names []string
	for i, name := range imapSent {
		if d.sent&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "+") + "/" + d.received
}

// line handles a line of the server.
func (d *imapProxy) line(p *proxy, line string) (done bool, err *proxyError) {
	tag, rest, _ := strings.Cut(line, " ")
	switch {
	case !d.banner:
		return false, d.greeted(p, line)
	case strings.HasPrefix(line, "+"):
		return false, d.challenged(p, line)
	case tag == "S":
		return false, d.tlsAnswered(p, rest)
	case tag == "L":
		return d.loginAnswered(p, rest)
	case tag == "C":
		return false, d.capabilityAnswered(p, rest)
	case tag == "I":
		return false, d.idAnswered(p)
	case tag == "*":
		d.untagged(p, line, rest)
		return false, nil
	}
	p.log(maillog.Error, "Unexpected input, ignoring: "+sanitized(line))
	return false, nil
}

// greeted handles the greeting.
func (d *imapProxy) greeted(p *proxy, line string) *proxyError {
	d.received, d.banner = "banner", true
	text, ok := strings.CutPrefix(line, "* OK ")
	if !ok {
		return &proxyError{proxyProtocol, "Invalid banner: " + sanitized(line)}
	}
	if list, ok := strings.CutPrefix(text, "[CAPABILITY "); ok {
		list, _, _ = strings.Cut(list, "]")
		d.capability, d.known = list, true
		d.saslIR, d.loginOff = hasWordFold(list, "SASL-IR"), hasWordFold(list, "LOGINDISABLED")
		if hasWordFold(list, "ID") && !p.dest.notTrusted {
			d.sent |= sentID
			p.send(d.id(p))
			if p.dest.nopipelining {
				return nil
			}
		}
	}
	return d.proceed(p)
}

// proceed is STARTTLS, if it is wanted, or the login.
func (d *imapProxy) proceed(p *proxy) *proxyError {
	if !p.dest.startTLS {
		return d.login(p)
	}
	if d.known && !hasWordFold(d.capability, "STARTTLS") {
		return &proxyError{proxyConfig, "STARTTLS not supported"}
	}
	d.sent |= sentStartTLS
	p.send("S STARTTLS\r\n")
	return nil
}

// id tells the server who the client is.
func (d *imapProxy) id(p *proxy) string {
	b := []byte("I ID (")
	for i := 0; i+1 < len(p.clientID); i += 2 {
		b = appendIMAPQuoted(append(b, ' '), p.clientID[i])
		b = appendIMAPQuoted(append(b, ' '), p.clientID[i+1])
	}
	b = fmt.Appendf(b, ` "x-session-id" "%s" "x-originating-ip" "%s" "x-originating-port" "%d" "x-connected-ip" "%s" "x-connected-port" "%d" "x-proxy-ttl" "%d"`,
		p.id, p.remote.Addr(), p.remote.Port(), p.local.Addr(), p.local.Port(), p.ttl-1)
	for _, field := range p.dest.forward {
		name, value, _ := strings.Cut(field, "=")
		b = appendIMAPString(append(b, ' '), "x-forward-"+name)
		b = appendIMAPString(append(b, ' '), value)
	}
	return strings.Replace(string(b), "( ", "(", 1) + ")\r\n"
}

// login sends the login command, and before it CAPABILITY if that is not known. To a
// client that did not look at the list in the greeting it is sent again, so the
// server is asked for it.
func (d *imapProxy) login(p *proxy) *proxyError {
	if !d.asked && (!d.known || p.askedForCaps) {
		d.asked = true
		d.sent |= sentCapability
		p.send("C CAPABILITY\r\n")
		if p.dest.nopipelining {
			return nil // the login follows the answer
		}
	}
	if p.dest.mech != nil {
		return d.authenticate(p)
	}
	if d.loginOff && !p.dest.tls {
		return &proxyError{proxyConfig, "LOGINDISABLED advertised, but SSL/TLS not enabled"}
	}
	b := appendIMAPString([]byte("L LOGIN "), p.dest.user)
	b = appendIMAPString(append(b, ' '), p.dest.password)
	d.sent |= sentLogin
	p.send(string(b) + "\r\n")
	clear(b)
	return nil
}

func (d *imapProxy) authenticate(p *proxy) *proxyError {
	p.sasl = p.dest.mech.NewClient(p.dest.credentials("imap"))
	line := "L AUTHENTICATE " + p.dest.mech.Name
	if d.saslIR {
		initial, err := p.sasl.Start()
		switch {
		case err != nil:
			return &proxyError{proxyInternal, "SASL mechanism " + p.dest.mech.Name + " init failed: " + err.Error()}
		case initial != nil && len(initial) == 0:
			line += " ="
		case initial != nil:
			line += " " + base64.StdEncoding.EncodeToString(initial)
		}
		p.saslStarted = initial != nil
	}
	d.sent |= sentAuthenticate
	p.send(line + "\r\n")
	return nil
}

// challenged answers a challenge. Others are for literals, which need none.
func (d *imapProxy) challenged(p *proxy, line string) *proxyError {
	if p.sasl == nil {
		return nil
	}
	d.sent &^= sentAuthenticate
	d.received = "auth-continue"
	text, ok := strings.CutPrefix(line, "+ ")
	answer, err := p.answerChallenge(text, ok || line == "+")
	if err != nil {
		return &proxyError{proxyProtocol, err.Error()}
	}
	d.sent |= sentContinue
	p.send(answer + "\r\n")
	return nil
}

func (d *imapProxy) tlsAnswered(p *proxy, rest string) *proxyError {
	d.sent &^= sentStartTLS
	d.received = "starttls"
	if !strings.HasPrefix(rest, "OK ") {
		_, text, _ := strings.Cut(rest, " ")
		return &proxyError{proxyRemote, "STARTTLS failed: " + sanitized(text)}
	}
	if err := p.startServerTLS(p.ctx); err != nil {
		return err
	}
	return d.login(p)
}

func (d *imapProxy) capabilityAnswered(p *proxy, rest string) *proxyError {
	d.sent &^= sentCapability
	d.received = "capability"
	if strings.HasPrefix(rest, "OK ") && d.sent&(sentAuthenticate|sentLogin) == 0 {
		return d.login(p)
	}
	return nil
}

func (d *imapProxy) idAnswered(p *proxy) *proxyError {
	d.sent &^= sentID
	d.received = "id"
	if !p.dest.nopipelining {
		return nil
	}
	return d.proceed(p)
}

// untagged handles what the server says of its own accord. What is not about the
// login is for the client.
func (d *imapProxy) untagged(p *proxy, line, rest string) {
	verb, args, _ := strings.Cut(rest, " ")
	switch {
	case strings.EqualFold(verb, "CAPABILITY"):
		d.capability, d.known = args, true
	case strings.EqualFold(verb, "ID"):
	case verb == "BYE": // the client stays
	default:
		p.reply(line)
	}
}

// loginAnswered handles the answer to the login. The client gets it, but neither what
// would tell which users exist nor what will be tried again.
func (d *imapProxy) loginAnswered(p *proxy, rest string) (done bool, err *proxyError) {
	d.sent &^= sentLogin
	d.received = "login"
	if text, ok := strings.CutPrefix(rest, "OK "); ok {
		d.welcome(p, text)
		if !p.flush() {
			return false, &proxyError{kind: proxyAuth} // the client is gone, and that is logged
		}
		return true, nil
	}
	text := rest
	if len(text) >= 3 && strings.EqualFold(text[:3], "NO ") {
		text = text[3:]
	}
	code, coded := strings.CutPrefix(rest, "NO [")
	code, _, _ = strings.Cut(code, "]")
	switch {
	case !coded, strings.HasPrefix(code, "AUTHENTICATIONFAILED"):
		p.reply(p.tag, " NO [AUTHENTICATIONFAILED] ", textAuthFailed)
	case strings.EqualFold(code, "UNAVAILABLE"):
		return false, &proxyError{proxyAuthTemp, text}
	default:
		p.reply(p.tag, " ", rest)
	}
	return false, &proxyError{proxyAuth, text}
}

// welcome tells the client that it is logged in, and what the server is capable of.
func (d *imapProxy) welcome(p *proxy, text string) {
	const code = "[CAPABILITY "
	capability, known := d.capability, d.known
	tagged := len(text) >= len(code) && strings.EqualFold(text[:len(code)], code)
	if tagged {
		capability, _, _ = strings.Cut(text[len(code):], "]")
		known = true
	}
	if p.askedForCaps && known {
		p.reply("* CAPABILITY ", capability)
	}
	if p.askedForCaps || tagged || !known {
		p.reply(p.tag, " OK ", text)
		return
	}
	if strings.HasPrefix(text, "[") { // only one code can be sent
		_, text, _ = strings.Cut(text, "]")
		text = strings.TrimPrefix(text, " ")
	}
	p.reply(p.tag, " OK ", code, capability, "] ", text)
}

func (d *imapProxy) failed(p *proxy, err *proxyError) {
	switch err.kind {
	case proxyAuth:
	case proxyAuthTemp:
		p.reply(p.tag, " NO ", err.text)
	case proxyConfig:
		p.reply(p.tag, " NO [SERVERBUG] ", textProxyFailed)
	default:
		p.reply(p.tag, " NO [UNAVAILABLE] ", textProxyFailed)
	}
}

// hasWordFold reports whether a list of words has one, in any letter case.
func hasWordFold(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

func appendIMAPQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// appendIMAPString appends a quoted string or, where that cannot hold the text, a
// literal that the server does not have to ask for (RFC 7888).
func appendIMAPString(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == '\r' || s[i] == '\n' || s[i] == 0 || s[i] >= 0x80 {
			b = fmt.Appendf(b, "{%d+}\r\n", len(s))
			return append(b, s...)
		}
	}
	return appendIMAPQuoted(b, s)
}

// sanitized is a line of another server as log lines show it.
func sanitized(line string) string {
	const longest = 160
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, line)
	if len(clean) > longest {
		return clean[:longest-3] + "..."
	}
	return clean
}

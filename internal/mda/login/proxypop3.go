package login

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// pop3Proxy is the dialogue with a POP3 server. It is named after what is waited for.
type pop3Proxy struct{ step pop3Step }

type pop3Step uint8

const (
	pop3Banner pop3Step = iota
	pop3STLS
	pop3XClient
	pop3User
	pop3Pass // or the end of AUTH
)

var pop3Steps = [...]string{"banner", "starttls", "xclient", "login1", "login2"}

func (pop3) proxyDialogue() proxyDialogue { return new(pop3Proxy) }

func (pop3) port(tls bool) uint16 {
	if tls {
		return 995
	}
	return 110
}

func (d *pop3Proxy) reset()        { *d = pop3Proxy{} }
func (d *pop3Proxy) state() string { return pop3Steps[d.step] }

// line handles a line of the server.
func (d *pop3Proxy) line(p *proxy, line string) (done bool, err *proxyError) {
	ok := strings.HasPrefix(line, "+OK")
	switch d.step {
	case pop3Banner:
		return false, d.greeted(p, line, ok)
	case pop3STLS:
		if !ok {
			return false, &proxyError{proxyRemote, "STLS failed: " + sanitized(line)}
		}
		if err := p.startServerTLS(p.ctx); err != nil {
			return false, err
		}
		return false, d.login(p)
	case pop3XClient:
		if !ok {
			return false, &proxyError{proxyRemote, "XCLIENT failed: " + sanitized(line)}
		}
		if d.step = pop3User; p.sasl != nil {
			d.step = pop3Pass
		}
		return false, nil
	case pop3User:
		if ok {
			d.step = pop3Pass
			p.send("PASS " + p.dest.password + "\r\n")
			return false, nil
		}
	case pop3Pass:
		if challenge, is := strings.CutPrefix(line, "+ "); is && p.sasl != nil {
			return false, d.challenged(p, challenge)
		}
		if ok {
			p.reply(line)
			if !p.flush() {
				return false, &proxyError{kind: proxyAuth} // the client is gone, and that is logged
			}
			return true, nil
		}
	}
	return false, d.refused(p, line)
}

func (d *pop3Proxy) greeted(p *proxy, line string, ok bool) *proxyError {
	if !ok {
		return &proxyError{proxyProtocol, "Invalid banner: " + sanitized(line)}
	}
	p.xclient = strings.HasPrefix(line, "+OK [XCLIENT]")
	if p.dest.startTLS {
		d.step = pop3STLS
		p.send("STLS\r\n")
		return nil
	}
	return d.login(p)
}

// login sends the first login command, and before it who the client is.
func (d *pop3Proxy) login(p *proxy) *proxyError {
	if strings.ContainsAny(p.dest.user+p.dest.password, "\r\n") {
		return &proxyError{proxyInternal, "user name or password with a line end"}
	}
	d.step = pop3User
	if p.xclient && !p.dest.notTrusted {
		d.step = pop3XClient
		p.send(d.client(p))
	}
	if p.dest.mech == nil {
		p.send("USER " + p.dest.user + "\r\n")
		return nil
	}
	p.sasl = p.dest.mech.NewClient(p.dest.credentials("pop3"))
	initial, err := p.sasl.Start()
	if err != nil {
		return &proxyError{proxyInternal, "SASL mechanism " + p.dest.mech.Name + " init failed: " + err.Error()}
	}
	line := "AUTH " + p.dest.mech.Name
	switch {
	case len(initial) > 0:
		line += " " + base64.StdEncoding.EncodeToString(initial)
	case initial != nil:
		line += " ="
	}
	p.saslStarted = initial != nil
	p.send(line + "\r\n")
	if d.step == pop3User {
		d.step = pop3Pass
	}
	return nil
}

// client is XCLIENT.
func (d *pop3Proxy) client(p *proxy) string {
	line := fmt.Sprintf("XCLIENT ADDR=%s PORT=%d SESSION=%s TTL=%d", p.remote.Addr(), p.remote.Port(), p.id, p.ttl-1)
	var fields []byte
	for i, field := range p.dest.forward {
		if i > 0 {
			fields = append(fields, '\t')
		}
		fields = wire.AppendEscaped(fields, field)
	}
	if len(fields) > 0 {
		line += " FORWARD=" + base64.StdEncoding.EncodeToString(fields)
	}
	return line + "\r\n"
}

func (d *pop3Proxy) challenged(p *proxy, challenge string) *proxyError {
	answer, err := p.answerChallenge(challenge, true)
	if err != nil {
		return &proxyError{proxyProtocol, err.Error()}
	}
	p.send(answer + "\r\n")
	return nil
}

// refused tells the client what the server says, unless that is for now only.
func (d *pop3Proxy) refused(p *proxy, line string) *proxyError {
	text, ok := strings.CutPrefix(line, "-ERR ")
	switch {
	case !ok:
		p.reply("-ERR ", textAuthFailed)
	case strings.HasPrefix(text, "[SYS/TEMP]"):
		return &proxyError{proxyAuthTemp, text}
	default:
		p.reply(line)
	}
	return &proxyError{proxyAuth, text}
}

func (d *pop3Proxy) failed(p *proxy, err *proxyError) {
	switch err.kind {
	case proxyAuth:
	case proxyAuthTemp:
		p.reply("-ERR ", err.text)
	case proxyConfig:
		p.reply("-ERR ", textProxyFailed)
	default:
		p.reply("-ERR [SYS/TEMP] ", textProxyFailed)
	}
}

package lmtp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// proxyTTL is how many proxies a message may pass through.
const proxyTTL = 5

// A proxied recipient is one whose mailbox is on another server.
type proxied struct {
	client  *proxyClient
	address string // there
}

// proxies are the connections of a message to other servers.
type proxies struct {
	clients []*proxyClient
	began   time.Time
	longest time.Duration // timeout, of all of them
}

// parseForward reads the XRCPTFORWARD parameter of RCPT, with which a proxy passes on the
// forward_ fields of its passdb.
func (c *session) parseForward(value []byte) (string, *smtp.Reply) {
	text, ok := smtp.ParseXtext(value)
	switch {
	case !ok:
		return "", &replyForward
	case strings.Contains(text, "\x00"):
		return "", &replyForwardNUL
	case !c.trusted:
		return "", &replyForwardNotTrusted
	}
	return text, nil
}

// proxy has another server take the recipient, if the passdb names one. It reports whether
// the recipient was answered.
func (c *session) proxy(ctx context.Context, r *recipient, username, detail string) bool {
	if c.srv.passdb == nil {
		return false
	}
	to, reply := c.route(ctx, r, username)
	if reply != nil {
		c.reply(*reply)
		return true
	}
	if to == nil {
		return false
	}
	address, reply := c.proxyAddress(to, r, username, detail)
	if reply != nil {
		c.reply(*reply)
		return true
	}
	p := c.proxyClient(ctx, to)
	if p.failed != nil {
		c.reply(c.proxyFailed(r, p.failed))
		return true
	}
	orcpt := r.orcpt
	if orcpt == "" && address != r.path {
		orcpt = r.path
	}
	answer, err := p.rcpt(address, orcpt, to.forward)
	if err != nil {
		p.failed = err
		c.srv.log.Errorf("%s<%s>: proxy to %s: %v", c.about(r), r.session, p.dest.address(), err)
		c.reply(c.proxyFailed(r, err))
		return true
	}
	if answer.Code/100 != 2 {
		c.reply(forwarded(answer, r, true))
		return true
	}
	r.proxied = &proxied{p, address}
	p.recipients = append(p.recipients, len(c.mail.rcpts))
	c.mail.rcpts = append(c.mail.rcpts, *r)
	c.state = stateRcpt
	if answer.Enhanced.IsZero() {
		answer.Enhanced = smtp.Enhanced{2, 1, 0}
	}
	c.reply(forwarded(answer, r, false))
	return true
}

// route asks the passdb. It returns nil for a user whose mailbox is here.
func (c *session) route(ctx context.Context, r *recipient, username string) (*route, *smtp.Reply) {
	fields, err := c.srv.passdb.Fields(ctx, username, c.from(r))
	refusal := smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0}, Text: "Temporary user lookup failure"}
	switch {
	case errors.Is(err, ErrUnknownUser):
		return nil, nil
	case errors.As(err, &refusal):
	case err != nil:
		c.srv.log.Errorf("user %s: passdb lookup failed: %v", username, err)
	default:
		to, err := newRoute(fields, cmp.Or(c.local.Port(), 24))
		if err == nil {
			return to, nil
		}
		// The original saves the message here then, although it belongs elsewhere.
		c.srv.log.Errorf("user %s: %v", username, err)
	}
	refusal.Text = "<" + r.address + "> " + refusal.Text
	return nil, &refusal
}

// proxyAddress is the recipient's address at the other server. Mail that would come back
// here is refused.
func (c *session) proxyAddress(to *route, r *recipient, username, detail string) (string, *smtp.Reply) {
	refuse := func(code int, e smtp.Enhanced, text, log string) (string, *smtp.Reply) {
		c.srv.log.Errorf("%s%s", c.about(r), log)
		return "", &smtp.Reply{Code: code, Enhanced: e, Text: "<" + r.address + "> " + text}
	}
	user, address := username, r.path
	if to.user != "" && to.user != username {
		user = to.user
		if strings.ContainsFunc(user, func(c rune) bool { return c < ' ' || c == 0x7f }) || user[0] == '@' {
			return refuse(550, smtp.Enhanced{5, 3, 5}, "Internal user lookup failure",
				username+": Username `"+user+"' returned by passdb lookup is not a valid SMTP address")
		}
		if address = user; detail != "" {
			local, domain, at := strings.Cut(user, "@")
			address = local + c.srv.set.RecipientDelimiter[:1] + detail
			if at {
				address += "@" + domain
			}
		}
	} else if to.is(c.local) {
		return refuse(554, smtp.Enhanced{5, 4, 6}, "Proxying loops to itself", "Proxying to <"+user+"> loops to itself")
	}
	if c.hasTTL && c.ttl == 0 {
		return refuse(554, smtp.Enhanced{5, 4, 6}, "Proxying appears to be looping (TTL=0)", "Proxying to <"+user+"> appears to be looping (TTL=0)")
	}
	return address, nil
}

// proxyClient returns the connection to a server: that of an earlier recipient, or a new one.
func (c *session) proxyClient(ctx context.Context, to *route) *proxyClient {
	m := c.mail
	for _, p := range m.proxies.clients {
		if p.dest == to.destination {
			return p
		}
	}
	if len(m.proxies.clients) == 0 {
		m.proxies.began = time.Now()
	}
	p := &proxyClient{dest: to.destination, timeout: to.timeout, record: c.recorded}
	m.proxies.clients = append(m.proxies.clients, p)
	m.proxies.longest = max(m.proxies.longest, to.timeout)
	ttl := proxyTTL
	if c.hasTTL {
		ttl = c.ttl - 1
	}
	origin := &proxyOrigin{host: c.srv.host, sender: m.sender, body: m.params, fields: []xclientField{
		{"HELO", c.helo}, {"PROTO", "LMTP"}, {"SESSION", m.id + ":P" + strconv.Itoa(len(m.proxies.clients))}, {"TTL", strconv.Itoa(ttl)},
		{"PORT", strconv.Itoa(int(c.remote.Port()))}, {"ADDR", addrText(c.remote)},
	}}
	if !c.remote.IsValid() {
		origin.fields = origin.fields[:len(origin.fields)-2]
	}
	if p.failed = p.start(ctx, c.srv, origin); p.failed != nil {
		c.srv.log.Errorf("<%s>: proxy to %s: %v", m.id, p.dest.address(), p.failed)
	}
	return p
}

// proxyFailed is the answer to a recipient whose server could not be used. A refusal of the
// sender is the server's own.
func (c *session) proxyFailed(r *recipient, err *proxyError) smtp.Reply {
	var reply smtp.Reply
	if errors.As(err.err, &reply) {
		return forwarded(reply, r, true)
	}
	return smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 4, 0}, Text: "Proxy failed (" + err.detail + "session=" + r.session + ")"}
}

// forwarded is an answer of another server as this one gives it: about the address that
// the client knows.
func forwarded(reply smtp.Reply, r *recipient, named bool) smtp.Reply {
	if reply.Enhanced.IsZero() {
		reply.Enhanced = smtp.Enhanced{uint16(reply.Code / 100), 0, 0}
	}
	if strings.HasPrefix(reply.Text, "<") {
		if _, text, ok := strings.Cut(reply.Text, "> "); ok {
			reply.Text, named = text, true
		}
	}
	if named {
		reply.Text = "<" + r.address + "> " + reply.Text
	}
	return reply
}

// sendProxied sends the message to all other servers at once, and fills in the answers
// for their recipients.
func (c *session) sendProxied(replies []smtp.Reply) {
	m := c.mail
	var sending sync.WaitGroup
	for _, p := range m.proxies.clients {
		if p.failed != nil || len(p.recipients) == 0 {
			continue
		}
		sending.Go(func() {
			answers := p.data(m.body, m.receivedAt, m.proxies.longest)
			for i, n := range p.recipients {
				replies[n] = c.proxyAnswered(n, &answers[i])
				if answers[i].err != nil {
					p.failed = answers[i].err
				}
			}
		})
	}
	sending.Wait()
}

// proxyAnswered logs what became of the message for one recipient, and returns the answer.
func (c *session) proxyAnswered(n int, a *proxyAnswer) smtp.Reply {
	r := &c.mail.rcpts[n]
	result, level := "Failed to send message to", maillog.Info
	what := string(a.reply.AppendText(nil))
	switch {
	case a.err != nil:
		level, what = maillog.Error, a.err.Error()
	case a.reply.Code/100 == 2:
		result = "Sent message to"
	}
	c.srv.log.Print(level, fmt.Sprintf("%s<%s>: %s <%s> at %s:%d: %s (%d/%d at %d ms)", c.about(r), r.session, result,
		smtp.AppendAddress(nil, r.proxied.address), r.proxied.client.dest.host, r.proxied.client.dest.port, what,
		n+1, len(c.mail.rcpts), time.Since(c.mail.proxies.began).Milliseconds()))
	switch {
	case a.err != nil:
		return c.proxyFailed(r, a.err)
	case a.reply.Code/100 == 2:
		e := a.reply.Enhanced
		if e.IsZero() {
			e = smtp.Enhanced{2, 0, 0}
		}
		return smtp.Reply{Code: 250, Enhanced: e, Text: "<" + r.address + "> " + r.session + " Saved"}
	}
	return forwarded(a.reply, r, true)
}

// about begins log lines about a recipient.
func (c *session) about(r *recipient) string {
	peer := c.peer
	if c.remote.IsValid() {
		peer = c.remote.String()
	}
	return fmt.Sprintf("lmtp-server: conn %s [%d]: rcpt %s: ", peer, c.number, r.address)
}

// close leaves all servers.
func (p *proxies) close() {
	for _, client := range p.clients {
		client.close()
	}
}

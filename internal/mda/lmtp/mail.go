package lmtp

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A transaction is a message on its way: from MAIL to the replies after the
// content, or RSET.
type transaction struct {
	sender string
	id     string // session identifier: of the first message the session's
	params string // of MAIL, for servers that the message is passed on to
	asked  int    // recipients that were given
	rcpts  []recipient
	body   *content // with BDAT: what came so far

	headerLen  int64 // of what this server wrote in front of the message
	receivedAt int64 // where that begins which other servers get as well
	proxies    proxies
	failed     *smtp.Reply // the content cannot be kept
}

// A recipient is one that was accepted.
type recipient struct {
	address string // as given, external form
	path    string // as given, without quotes
	orcpt   string // ORCPT
	user    store.UserInfo
	detail  string // mailbox; empty is INBOX
	session string
	forward string   // fields that a proxy passed on
	proxied *proxied // nil: the mailbox is here
	same    int      // number of an earlier recipient with the same address, or -1
}

// reset forgets the message under way.
func (c *session) reset() {
	if c.mail == nil {
		return
	}
	for i := range c.mail.rcpts {
		if r := &c.mail.rcpts[i]; r.same < 0 && r.proxied == nil {
			c.srv.leave(r.user.Username)
		}
	}
	if c.mail.body != nil {
		c.mail.body.close()
	}
	c.mail.proxies.close()
	c.mail = nil
	c.state = stateReady
}

func (c *session) cmdMail(_ context.Context, args []byte) {
	if c.mail != nil {
		c.fail(replySecondMail)
		return
	}
	path, params, reply := c.parsePath(args, "FROM:")
	if reply != nil {
		c.fail(*reply)
		return
	}
	body := ""
	for param := range bytes.FieldsSeq(params) {
		name, value, _ := bytes.Cut(param, []byte{'='})
		if !bytes.EqualFold(name, []byte("BODY")) {
			c.fail(replyUnsupported)
			return
		}
		if !bytes.EqualFold(value, []byte("7BIT")) && !bytes.EqualFold(value, []byte("8BITMIME")) {
			c.fail(replyBody)
			return
		}
		body = " BODY=" + strings.ToUpper(string(value))
	}
	c.trans++
	c.mail = &transaction{sender: path.Address, id: c.id, params: body}
	if c.trans > 1 {
		c.mail.id += ":T" + strconv.Itoa(c.trans)
	}
	c.state = stateMail
	c.reply(replySender)
}

func (c *session) cmdRcpt(ctx context.Context, args []byte) {
	if c.mail == nil {
		c.fail(replyNeedMail)
		return
	}
	path, params, reply := c.parsePath(args, "TO:")
	if reply != nil {
		c.fail(*reply)
		return
	}
	if path.Address == "" {
		c.fail(pathReply("TO:", "Null path not allowed"))
		return
	}
	r := recipient{address: smtp.QuoteAddress(path.Address), path: path.Address, same: -1}
	for param := range bytes.FieldsSeq(params) {
		name, value, _ := bytes.Cut(param, []byte{'='})
		switch {
		case bytes.IndexByte(value, '=') >= 0: // RFC 5321 4.1.2, esmtp-value
			c.fail(replyParamValue)
			return
		case bytes.EqualFold(name, []byte("ORCPT")):
			_, addr, _ := bytes.Cut(value, []byte{';'})
			r.orcpt, _ = smtp.ParseXtext(addr) // what is malformed is not used
		case bytes.EqualFold(name, []byte("XRCPTFORWARD")):
			if r.forward, reply = c.parseForward(value); reply != nil {
				c.fail(*reply)
				return
			}
		default:
			c.fail(replyUnsupported)
			return
		}
	}
	c.recipient(ctx, &r, path.Address)
}

// recipient looks the user up and accepts or refuses the recipient.
func (c *session) recipient(ctx context.Context, r *recipient, address string) {
	if len(c.mail.rcpts) >= maxRcpts {
		c.reply(replyManyRcpts)
		return
	}
	username, detail := splitDetail(address, c.srv.set.RecipientDelimiter)
	for i := range c.mail.rcpts {
		if c.mail.rcpts[i].address == r.address {
			r.same = i
			break
		}
	}
	r.session = c.mail.id
	if c.mail.asked++; c.mail.asked > 1 { // refused ones count
		r.session += ":R" + strconv.Itoa(c.mail.asked)
	}
	if r.same < 0 {
		if c.proxy(ctx, r, username, detail) {
			return
		}
		if reply := c.lookup(ctx, r, username); reply != nil {
			c.reply(*reply)
			return
		}
	}
	if c.srv.set.SaveToDetailMailbox {
		r.detail = detail
	}
	c.mail.rcpts = append(c.mail.rcpts, *r)
	c.state = stateRcpt
	c.reply(replyRecipient)
}

// from says on whose behalf a recipient is looked up.
func (c *session) from(r *recipient) Peer {
	return Peer{
		Local: net.TCPAddrFromAddrPort(c.local), Remote: net.TCPAddrFromAddrPort(c.remote), Session: r.session, Secured: c.tls != nil, Forward: r.forward,
	}
}

func (c *session) lookup(ctx context.Context, r *recipient, username string) *smtp.Reply {
	user, err := c.srv.users.Lookup(ctx, username, c.from(r))
	switch {
	case errors.Is(err, ErrUnknownUser):
		return &smtp.Reply{Code: 550, Enhanced: smtp.Enhanced{5, 1, 1},
			Text: "<" + r.address + "> User doesn't exist: " + username}
	case err != nil:
		c.srv.log.Errorf("user %s: userdb lookup failed: %v", username, err)
		return &smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0},
			Text: "<" + r.address + "> Temporary user lookup failure"}
	}
	if !c.srv.enter(user.Username) {
		return &smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0},
			Text: "<" + r.address + "> Too many concurrent deliveries for user"}
	}
	user.Service, user.SessionID = "lmtp", r.session
	user.Local, user.Remote = c.local.Addr(), c.remote.Addr()
	r.user = user
	reply := c.checkQuota(ctx, r)
	if reply != nil {
		c.srv.leave(user.Username)
	}
	return reply
}

// splitDetail splits user+detail@domain into user@domain and detail.
func splitDetail(address, delimiters string) (username, detail string) {
	local, domain := smtp.SplitAddress(address)
	i := strings.IndexAny(local, delimiters)
	if delimiters == "" || i < 0 {
		return address, ""
	}
	if domain == "" {
		return local[:i], local[i+1:]
	}
	return local[:i] + "@" + domain, local[i+1:]
}

package lmtp

import (
	"bytes"
	"context"
	"net/netip"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// maxSession is the longest session identifier taken from a proxy.
const maxSession = 64

// cmdXClient takes from a trusted proxy what it knows of its client. As the
// client's address changes, the session begins anew with a greeting.
func (c *session) cmdXClient(_ context.Context, args []byte) {
	if !c.trusted {
		c.fail(replyNotTrusted)
		return
	}
	if c.mail != nil {
		c.fail(replySecondMail)
		return
	}
	for word := range bytes.FieldsSeq(args) {
		name, value, _ := bytes.Cut(word, []byte{'='})
		text, ok := smtp.ParseXtext(value)
		if !ok {
			c.fail(replyParams)
			return
		}
		c.forwarded(string(bytes.ToUpper(name)), text)
	}
	c.state = stateGreeting
	c.greet()
}

func (c *session) forwarded(name, value string) {
	switch name {
	case "ADDR":
		if addr, err := netip.ParseAddr(value); err == nil {
			c.remote = netip.AddrPortFrom(addr.Unmap(), c.remote.Port())
			c.peer = c.remote.Addr().String()
		}
	case "PORT":
		if port, err := strconv.ParseUint(value, 10, 16); err == nil {
			c.remote = netip.AddrPortFrom(c.remote.Addr(), uint16(port))
		}
	case "SESSION":
		if len(value) <= maxSession && printable(value) != "" {
			c.id = value
		}
	}
	// PROTO, HELO and LOGIN do not matter here, TTL and TIMEOUT to proxies only.
}

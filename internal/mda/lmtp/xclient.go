package lmtp

import (
	"bytes"
	"context"
	"net/netip"
	"strconv"
	"strings"

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
		if !c.forwarded(string(bytes.ToUpper(name)), text) {
			c.fail(smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid " + string(bytes.ToUpper(name)) + " parameter"})
			return
		}
	}
	c.state = stateGreeting
	c.greet()
}

// forwarded takes one attribute. It returns false for a value that makes no sense.
func (c *session) forwarded(name, value string) bool {
	if strings.EqualFold(value, "[UNAVAILABLE]") {
		return true
	}
	switch name {
	case "ADDR":
		text := value
		if len(text) > 5 && strings.EqualFold(text[:5], "IPV6:") {
			text = text[5:]
		}
		addr, err := netip.ParseAddr(text)
		if err != nil || len(text) != len(value) && !addr.Is6() {
			return false
		}
		c.remote = netip.AddrPortFrom(addr.Unmap(), c.remote.Port())
		c.peer = c.remote.Addr().String()
	case "PORT":
		port, err := strconv.ParseUint(value, 10, 16)
		if err != nil || port == 0 {
			return false
		}
		c.remote = netip.AddrPortFrom(c.remote.Addr(), uint16(port))
	case "TTL":
		ttl, err := strconv.ParseUint(value, 10, 31)
		if err != nil {
			return false
		}
		c.ttl, c.hasTTL = min(int(ttl), proxyTTL), true
	case "SESSION":
		if len(value) <= maxSession && printable(value) != "" {
			c.id = value
		}
	}
	return true // HELO, PROTO, LOGIN and TIMEOUT do not matter here
}

package login

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/netip"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// productName and productVersion answer the ID command (RFC 2971) where
// imap_id_send says "*". Clients and monitoring know the server by them.
const (
	productName    = "Dovecot"
	productVersion = "2.3.21.1"
	productURL     = "https://www.dovecot.org/"
)

// imapID makes the answer to ID of imap_id_send: pairs of name and value, of
// which "*" is the built-in one.
func imapID(setting string) string {
	words := strings.Fields(setting)
	if len(words) == 0 {
		return "NIL"
	}
	var b []byte
	for i := 0; i < len(words); i += 2 {
		value := []byte("NIL")
		if i+1 < len(words) {
			value = imapIDValue(words[i], words[i+1])
		}
		b = append(b, " \""...)
		b = append(b, words[i]...)
		b = append(b, "\" "...)
		b = append(b, value...)
	}
	return "(" + string(b[1:]) + ")"
}

func imapIDValue(name, value string) []byte {
	if value == "*" {
		switch strings.ToLower(name) {
		case "name":
			value = productName
		case "version":
			value = productVersion
		case "support-url":
			value = productURL
		default:
			return []byte("NIL")
		}
	}
	return strconv.AppendQuoteToASCII(nil, value)
}

// loggedIDs parses imap_id_log.
func loggedIDs(setting string) (names map[string]bool, all bool) {
	names = make(map[string]bool)
	for word := range strings.FieldsSeq(setting) {
		if word == "*" {
			all = true
		}
		names[strings.ToLower(word)] = true
	}
	return names, all
}

// maxClientID is how much of what a client says of itself is kept: it goes to the
// auth server in one line.
const maxClientID = 2048

// cmdID serves ID: what the client says of itself may be logged and is kept for
// the mail process; a trusted proxy tells the address of its client there.
func (p *imap) cmdID(_ context.Context, c *session) bool {
	pairs, ok := idPairs(&c.args)
	if !ok {
		c.reply(c.tag, " BAD Invalid ID parameters")
		return true
	}
	var logged []byte
	c.clientID = nil // only the last ID counts
	kept := 0
	for i := 0; i+1 < len(pairs); i += 2 {
		if c.forwarded(string(pairs[i]), string(pairs[i+1])) {
			continue
		}
		if p.logAllIDs || p.logID[string(bytes.ToLower(pairs[i]))] {
			logged = appendPair(logged, pairs[i], pairs[i+1])
		}
		if kept += len(pairs[i]) + len(pairs[i+1]); p.set.IDRetain && kept <= maxClientID {
			c.clientID = append(c.clientID, string(pairs[i]), string(pairs[i+1]))
		}
	}
	if len(logged) > 0 && !c.idSeen {
		c.srv.log.Append(maillog.Info, func(b []byte) []byte {
			return c.format.appendLine(b, "ID sent: "+string(logged), c)
		})
	}
	c.idSeen = true
	c.reply("* ID ", p.id)
	c.reply(c.tag, " OK ID completed.")
	return true
}

// idPairs returns the names and values of an ID command; NIL values are "NIL".
func idPairs(a *imapArgs) (pairs [][]byte, ok bool) {
	if len(a.args) == 0 || a.args[0].kind == argNIL {
		return nil, true
	}
	if a.args[0].kind != argOpen {
		return nil, false
	}
	for _, x := range a.args[1:] {
		switch x.kind {
		case argClose:
			return pairs, true
		case argOpen:
			return nil, false
		case argAtom:
			return nil, false
		}
		pairs = append(pairs, a.text[x.from:x.to])
	}
	return nil, false
}

// forwarded takes what a trusted proxy says of its client. It reports whether
// name is such a field; others than trusted ones are ignored, and all but the first ID.
func (c *session) forwarded(name, value string) bool {
	if c.idSeen || !c.fromTrusted {
		_, known := forwardedFields[strings.ToLower(name)]
		return known || isForward(name)
	}
	switch strings.ToLower(name) {
	case "x-originating-ip":
		c.forwardAddr(&c.remote, value)
	case "x-originating-port":
		c.forwardPort(&c.remote, value)
	case "x-connected-ip":
		c.forwardAddr(&c.local, value)
	case "x-connected-port":
		c.forwardPort(&c.local, value)
	case "x-session-id", "x-session-ext-id":
		c.forwardSession(value)
	case "x-proxy-ttl":
		c.forwardTTL(value)
	default:
		if !isForward(name) {
			return false
		}
		c.forwardField(name[len(forwardPrefix):], value)
	}
	return true
}

// forwardedFields are those that are never a client's own.
var forwardedFields = map[string]struct{}{
	"x-originating-ip": {}, "x-originating-port": {}, "x-connected-ip": {}, "x-connected-port": {},
	"x-session-id": {}, "x-session-ext-id": {}, "x-proxy-ttl": {},
}

const forwardPrefix = "x-forward-"

// isForward reports whether a field is one for auth.
func isForward(name string) bool {
	return len(name) > len(forwardPrefix) && strings.EqualFold(name[:len(forwardPrefix)], forwardPrefix)
}

func (c *session) forwardAddr(ap *netip.AddrPort, value string) bool {
	addr, err := netip.ParseAddr(value)
	if err != nil {
		return false
	}
	*ap = netip.AddrPortFrom(addr.Unmap(), ap.Port())
	return true
}

func (c *session) forwardPort(ap *netip.AddrPort, value string) bool {
	port, err := strconv.ParseUint(value, 10, 16)
	if err != nil {
		return false
	}
	*ap = netip.AddrPortFrom(ap.Addr(), uint16(port))
	return true
}

// maxForward is how much a proxy may tell auth about its client.
const maxForward = 4096

// forwardField keeps a field for auth.
func (c *session) forwardField(name, value string) {
	if len(c.forwardFields)+len(name)+len(value) > maxForward {
		return
	}
	if len(c.forwardFields) > 0 {
		c.forwardFields = append(c.forwardFields, '\t')
	}
	c.forwardFields = append(wire.AppendEscaped(c.forwardFields, name), '=')
	c.forwardFields = wire.AppendEscaped(c.forwardFields, value)
}

// forwardAll keeps all fields for auth at once, in base64.
func (c *session) forwardAll(value string) bool {
	fields, err := base64.StdEncoding.DecodeString(value)
	if err != nil || len(fields) > maxForward {
		return false
	}
	c.forwardFields = fields
	return true
}

// forwardTTL keeps how many proxies the session may still pass through.
func (c *session) forwardTTL(value string) bool {
	n, err := strconv.ParseUint(value, 10, 32)
	if err == nil {
		c.ttl = uint32(n)
	}
	return err == nil
}

// maxSessionID is the longest session identifier taken from a proxy.
const maxSessionID = 64

func (c *session) forwardSession(value string) {
	if len(value) > maxSessionID {
		return
	}
	for i := range len(value) { // it goes on to the next server as it is
		if ch := value[i]; ch <= ' ' || ch >= 0x7f || ch == '"' || ch == '\\' {
			return
		}
	}
	c.id = value
}

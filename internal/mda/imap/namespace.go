package imap

import (
	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// namespace is NAMESPACE (RFC 2342).
func (c *command) namespace() error {
	b := append(c.buf(), "* NAMESPACE"...)
	for _, typ := range []store.Type{store.Private, store.Shared, store.Public} {
		b = append(b, ' ')
		start := len(b)
		for _, ns := range c.user.Namespaces() {
			if ns.Type != typ || ns.Hidden {
				continue
			}
			if len(b) == start {
				b = append(b, '(')
			}
			b = append(b, '(')
			if c.hasUTF8() && !isASCII(ns.Prefix) {
				b = c.appendName(b, ns.Prefix)
			} else {
				b = imapwire.AppendString(b, store.EncodeMUTF7(ns.Prefix))
			}
			b = append(b, ' ')
			b = imapwire.AppendString(b, string(ns.Sep))
			b = append(b, ')')
		}
		if len(b) == start {
			b = append(b, "NIL"...)
		} else {
			b = append(b, ')')
		}
	}
	return c.put(append(b, "\r\n"...))
}

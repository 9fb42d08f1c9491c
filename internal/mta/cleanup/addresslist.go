package cleanup

import (
	"bytes"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// addressHeader writes a header of addresses, completed and mapped where the message is
// local, or remote_header_rewrite_domain says with what.
func (m *Message) addressHeader() {
	h := &m.header
	cl := headerSender
	if isRecipientHeader(h.text[:h.name]) {
		cl = headerRecipient
	}
	value := h.text[h.name+1:]
	if !m.completes() || isComplete(value) && (m.c.mappings.classes&cl == 0 || m.origin.Unmapped) {
		m.outHeader(h.text)
		return
	}
	rewritten, changed := m.rewriteList(cl, string(value))
	if !changed {
		m.outHeader(h.text)
		return
	}
	b := append([]byte(nil), h.text[:h.name+1]...)
	m.outHeader(rfc822.AppendFolded(append(b, ' '), rewritten))
}

func (m *Message) completes() bool {
	return m.origin.Local || m.c.res.RewritesRemote()
}

// rewriteList rewrites each address of a list. The new list has an address to a line.
func (m *Message) rewriteList(cl class, list string) (rewritten string, changed bool) {
	context := "remote"
	if m.origin.Local {
		context = "local"
	}
	tokens := rfc822.ParseList(list, m.c.set.AddressTokenLimit)
	for i := range tokens {
		if tokens[i].Kind != rfc822.Address {
			continue
		}
		was := rfc822.External(tokens[i].List)
		now := m.c.res.RewriteExternal(context, was)
		if m.c.mappings.classes&cl != 0 && !m.origin.Unmapped {
			addr := rfc822.Unquote(now)
			if to := m.mapped(cl, addr); to != addr {
				now = rfc822.Quote(to)
			}
		}
		if now != was {
			changed = true
			tokens[i].List = rfc822.Scan(now, 0)
		}
	}
	if !changed {
		return "", false
	}
	return rfc822.Header(tokens, func(text string) {
		m.c.log.Warningf("stripping too many comments from address: %s...", printable(text))
	}), true
}

// printable replaces what a log line cannot have.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, text)
}

// isRecipientHeader recognizes the headers with addresses of recipients; all others have
// those of senders.
func isRecipientHeader(name []byte) bool {
	for _, one := range recipientHeaders {
		if equalFold(name, one) {
			return true
		}
	}
	return false
}

var recipientHeaders = []string{"to", "cc", "bcc", "apparently-to", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to"}

// isComplete recognizes the usual header, whose one address has a complete
// domain already: nothing is to be done about it.
func isComplete(value []byte) bool {
	at := -1
	for i, c := range value {
		switch c {
		case '@':
			if at >= 0 {
				return false
			}
			at = i
		case '(', ')', ':', ';', ',', '"', '%', '!', '[', '\\':
			return false
		}
	}
	if at <= 0 {
		return false
	}
	domain := value[at+1:]
	if i := bytes.IndexAny(domain, "> \n"); i >= 0 {
		domain = domain[:i]
	}
	return bytes.IndexByte(domain, '.') > 0 && domain[len(domain)-1] != '.'
}

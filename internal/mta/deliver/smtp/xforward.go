package smtp

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// xforwardAttrs are the attributes of XFORWARD that a server wants, as bits in
// the order of the table.
type xforwardAttrs uint8

// xforwardTable are the attributes of XFORWARD (XFORWARD_README).
var xforwardTable = [...]struct {
	name  string
	value func(m *queue.Message) string
}{
	{"NAME", func(m *queue.Message) string { return known(m.Client.Name) }},
	{"ADDR", func(m *queue.Message) string { return known(m.Client.Addr) }},
	{"PORT", func(m *queue.Message) string { return known(m.Client.Port) }},
	{"PROTO", func(m *queue.Message) string { return m.Client.Proto }},
	{"HELO", func(m *queue.Message) string { return m.Client.Helo }},
	{"IDENT", func(m *queue.Message) string {
		if m.Client.Addr == "" {
			return "" // Postfix notes it of what smtpd takes only
		}
		return m.ID
	}},
	{"SOURCE", func(m *queue.Message) string {
		if m.RewriteContext == "remote" {
			return "REMOTE"
		}
		return "LOCAL"
	}},
}

// The attributes go in two commands, which are also how Postfix splits them.
const (
	xforwardClient  xforwardAttrs = 1<<0 | 1<<1 | 1<<2
	xforwardSession xforwardAttrs = 1<<3 | 1<<4 | 1<<5 | 1<<6
)

func known(value string) string {
	if value == "unknown" {
		return ""
	}
	return value
}

func parseXforward(args string) (attrs xforwardAttrs) {
	for _, word := range strings.Fields(args) {
		for i := range xforwardTable {
			if strings.EqualFold(word, xforwardTable[i].name) {
				attrs |= 1 << i
			}
		}
	}
	return attrs
}

// appendXforward appends an XFORWARD command with those of the attributes that the server
// wants and the message has; nothing if there are none.
func (s *session) appendXforward(b []byte, m *queue.Message, attrs xforwardAttrs) []byte {
	start := len(b)
	for i := range xforwardTable {
		if s.xforward&attrs&(1<<i) == 0 {
			continue
		}
		value := xforwardTable[i].value(m)
		if value == "" {
			continue
		}
		if len(b) == start {
			b = append(b, "XFORWARD"...)
		}
		b = append(append(append(b, ' '), xforwardTable[i].name...), '=')
		b = wire.AppendXtext(b, value)
	}
	if len(b) > start {
		b = append(b, '\r', '\n')
	}
	return b
}

package login

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A logFormat is login_log_format with login_log_format_elements, prepared so
// that a line costs no parsing.
type logFormat struct {
	format   string
	elements []element
}

// An element is one word of login_log_format_elements. It is left out of a line
// when all of its variables are empty, unless it has %u or %n.
type element struct {
	text   string
	before string // with one variable and no modifiers: what stands before it,
	name   string // its name,
	after  string // and what follows. Empty name: expanded by conf/dovecot.
	keep   bool
	empty  string
}

// shortNames maps the one-letter variables to their long names.
var shortNames = map[byte]string{
	'u': "user", 'n': "username", 'd': "domain", 's': "service", 'l': "lip", 'r': "rip",
	'p': "pid", 'm': "mech", 'a': "lport", 'b': "rport", 'c': "secured", 'k': "ssl_security",
	'e': "mail_pid", 'h': "home",
}

// longNames are the names that are the same by another word.
var longNames = map[string]string{
	"mechanism": "mech", "local_ip": "lip", "remote_ip": "rip", "local_port": "lport", "remote_port": "rport",
	"real_local_ip": "real_lip", "real_remote_ip": "real_rip", "real_local_port": "real_lport", "real_remote_port": "real_rport",
	"orig_user": "user", "orig_username": "username", "orig_domain": "domain",
}

// noClient has every variable empty.
var noClient session

func newLogFormat(format, elements string) *logFormat {
	f := &logFormat{format: format}
	for word := range strings.FieldsSeq(elements) {
		e := element{text: word, keep: strings.Contains(word, "%u") || strings.Contains(word, "%n")}
		e.split()
		e.empty = string(e.append(nil, &noClient))
		f.elements = append(f.elements, e)
	}
	return f
}

// split recognizes elements with one plain variable, which all usual ones are.
func (e *element) split() {
	if strings.Count(e.text, "%") != 1 {
		return
	}
	before, rest, _ := strings.Cut(e.text, "%")
	if rest == "" {
		return
	}
	if rest[0] == '{' {
		name, after, ok := strings.Cut(rest[1:], "}")
		if ok && isName(name) {
			e.before, e.name, e.after = before, name, after
		}
		return
	}
	if name, ok := shortNames[rest[0]]; ok {
		e.before, e.name, e.after = before, name, rest[1:]
	}
}

func isName(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return name != ""
}

// appendLine appends a log line: the message and the client's elements in the
// layout of login_log_format.
func (f *logFormat) appendLine(b []byte, message string, c *session) []byte {
	for rest := f.format; rest != ""; {
		i := strings.IndexByte(rest, '%')
		if i < 0 || i+1 == len(rest) {
			return append(b, rest...)
		}
		b = append(b, rest[:i]...)
		switch rest[i+1] {
		case '$':
			b = append(b, message...)
		case 's':
			b = f.appendElements(b, c)
		case '%':
			b = append(b, '%')
		default:
			b = append(b, rest[i:i+2]...)
		}
		rest = rest[i+2:]
	}
	return b
}

func (f *logFormat) appendElements(b []byte, c *session) []byte {
	first := true
	for i := range f.elements {
		e := &f.elements[i]
		start := len(b)
		if !first {
			b = append(b, ", "...)
		}
		text := len(b)
		b = e.append(b, c)
		if !e.keep && string(b[text:]) == e.empty {
			b = b[:start]
			continue
		}
		first = false
	}
	return b
}

func (e *element) append(b []byte, c *session) []byte {
	if e.name == "" {
		text, _ := dovecot.ExpandVars(e.text, c.vars()) // an unknown variable shows as such
		return append(b, text...)
	}
	b = append(b, e.before...)
	b, _ = c.appendVar(b, e.name)
	return append(b, e.after...)
}

// vars gives the variables to the expansion of unusual elements and of the
// greeting.
func (c *session) vars() *dovecot.Vars {
	v := &dovecot.Vars{Func: func(name, arg string) (string, bool, error) {
		if name == "passdb" {
			value, _ := c.passdb.Get(arg)
			return value, true, nil
		}
		b, ok := c.appendVar(nil, name)
		return string(b), ok, nil
	}}
	for key, name := range shortNames {
		b, _ := c.appendVar(nil, name)
		v.Table = append(v.Table, dovecot.Var{Key: key, Name: name, Value: string(b)})
	}
	return v
}

// appendVar appends the value of a variable by its long name.
func (c *session) appendVar(b []byte, name string) ([]byte, bool) {
	if c.srv == nil { // noClient
		return b, true
	}
	if other, ok := longNames[name]; ok {
		name = other
	}
	switch name {
	case "user", "auth_user":
		return appendLogged(b, c.user), true
	case "username", "auth_username":
		user, _, _ := strings.Cut(c.user, "@")
		return appendLogged(b, user), true
	case "domain", "auth_domain":
		_, domain, _ := strings.Cut(c.user, "@")
		return appendLogged(b, domain), true
	case "service", "protocol":
		return append(b, c.srv.service...), true
	case "mech":
		return appendLogged(b, c.mech), true
	case "pid":
		return strconv.AppendInt(b, int64(c.srv.pid), 10), true
	case "mail_pid":
		if c.mailPID == 0 {
			return b, true
		}
		return strconv.AppendInt(b, int64(c.mailPID), 10), true
	case "session":
		return append(b, c.id...), true
	case "listener":
		return append(b, c.listener...), true
	case "local_name":
		return appendLogged(b, c.localName), true
	case "home":
		return b, true
	}
	return c.appendConnVar(b, name)
}

// appendConnVar is appendVar for what is known of the connection.
func (c *session) appendConnVar(b []byte, name string) ([]byte, bool) {
	switch name {
	case "lip":
		return c.local.Addr().AppendTo(b), true
	case "rip":
		return c.remote.Addr().AppendTo(b), true
	case "lport":
		return strconv.AppendUint(b, uint64(c.local.Port()), 10), true
	case "rport":
		return strconv.AppendUint(b, uint64(c.remote.Port()), 10), true
	case "real_lip":
		return c.realLocal.Addr().AppendTo(b), true
	case "real_rip":
		return c.realRemote.Addr().AppendTo(b), true
	case "real_lport":
		return strconv.AppendUint(b, uint64(c.realLocal.Port()), 10), true
	case "real_rport":
		return strconv.AppendUint(b, uint64(c.realRemote.Port()), 10), true
	case "secured":
		return append(b, c.securedText()...), true
	case "ssl_security":
		return append(b, c.tlsText...), true
	}
	return append(append(b, "UNSUPPORTED_VARIABLE_"...), name...), false
}

// maxLogged is the longest user or mechanism name written to the log.
const maxLogged = 80

// appendLogged appends text from the client, cut to a reasonable length.
func appendLogged(b []byte, s string) []byte {
	if len(s) > maxLogged {
		return append(append(b, s[:maxLogged-3]...), "..."...)
	}
	return append(b, s...)
}

// appendPair appends "name=value" of IMAP ID for the log.
func appendPair(b []byte, name, value []byte) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = append(append(b, bytes.ToLower(name)...), '=')
	return append(b, value...)
}

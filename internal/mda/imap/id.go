package imap

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
)

// id is ID (RFC 2971). What clients send is logged as imap_id_log says;
// mistakes in it are ignored, as Dovecot does.
func (c *command) id() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	if text := idLog(args, c.set.IDLog); text != "" {
		c.log.Info("ID sent: " + text)
	}
	b := append(c.buf(), "* ID "...)
	b = AppendID(b, c.set.IDSend)
	return c.put(append(b, "\r\n"...))
}

// builtinID are the values that "*" stands for in imap_id_send. Clients and
// scripts know the server as what it stands in for.
var builtinID = map[string]string{"name": "Dovecot", "os": "Linux"}

// AppendID appends the server's ID fields, given as imap_id_send has them: name and
// value in turn.
func AppendID(b []byte, send string) []byte {
	fields := strings.Fields(send)
	if len(fields) == 0 {
		return append(b, "NIL"...)
	}
	for i, f := range fields {
		sep := byte(' ')
		if i == 0 {
			sep = '('
		}
		b = append(b, sep)
		if i%2 == 1 && f == "*" {
			value, ok := builtinID[fields[i-1]]
			if !ok {
				b = append(b, "NIL"...)
				continue
			}
			f = value
		}
		b = imapwire.AppendString(b, f)
	}
	if len(fields)%2 == 1 {
		b = append(b, " NIL"...)
	}
	return append(b, ')')
}

// idLog returns the fields of args that are to be logged, name=value.
func idLog(args imapwire.Args, want string) string {
	if want == "" || len(args) == 0 || args[0].Kind != imapwire.List {
		return ""
	}
	var b strings.Builder
	for f := args.List(); f.Count() >= 2; f = f.Rest().Rest() {
		name, value := string(f[0].Data), f.Rest()[0]
		if !f[0].IsString() || value.Kind == imapwire.List || !idWanted(name, want) {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name + "=" + string(value.Data))
	}
	return b.String()
}

func idWanted(name, want string) bool {
	for _, w := range strings.Fields(want) {
		if w == "*" || strings.EqualFold(w, name) {
			return true
		}
	}
	return false
}

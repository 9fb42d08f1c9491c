package db

import (
	"fmt"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/dovetail-mail/dovetail/internal/ldapdb"
)

// What databases log with auth_debug=yes, in Dovecot's words.

// hidden stands for a password in the log.
const hidden = "<hidden>"

// logQuery shows a query as Dovecot sends it, with the values in its text.
func (r *Request) logQuery(label string, q *sqlQuery) {
	if !r.Debug {
		return
	}
	double := func(value string) string { return strings.ReplaceAll(value, "'", "''") }
	text, err := r.expandWith(q.text, expansion{escape: double})
	if err != nil {
		return // the query itself says so
	}
	r.Debugf("%s%s", label, text)
}

// A search is what a directory is searched for, by its name in the log.
type search string

const (
	passSearch search = "pass"
	bindSearch search = "bind" // for the DN, to bind with the password
	userSearch search = "user"
)

// logSearch shows a search.
func (l *ldapDB) logSearch(r *Request, what search, q *ldapdb.Query) {
	if !r.Debug {
		return
	}
	if what == bindSearch {
		r.Debugf("bind search: base=%s filter=%s", q.Base, q.Filter)
		return
	}
	fields := strings.Join(q.Attrs, ",")
	if q.Attrs == nil {
		fields = "(all)"
	}
	r.Debugf("%s search: base=%s scope=%s filter=%s fields=%s", what, q.Base, l.set.Scope, q.Filter, fields)
}

// logEntries shows what was found, without the attributes that are passwords.
func (l *ldapDB) logEntries(r *Request, entries []*ldap.Entry, attrs *ldapAttrs) {
	switch {
	case !r.Debug:
		return
	case len(entries) == 0 || len(entries[0].Attributes) == 0:
		r.Debugf("no fields returned by the server")
		return
	}
	var b strings.Builder
	for _, a := range entries[0].Attributes {
		value := strings.Join(a.Values, ",")
		switch {
		case len(a.Values) == 0:
			value = "<no values>"
		case attrs.isPassword(a.Name) && !r.DebugPasswords:
			value = hidden
		}
		fmt.Fprintf(&b, " %s=%s", a.Name, value)
	}
	r.Debugf("result:%s", b.String())
}

// isPassword reports whether an attribute becomes the password.
func (a *ldapAttrs) isPassword(name string) bool {
	for i := range a.items {
		if item := &a.items[i]; strings.EqualFold(item.attr, name) && (Field{Name: item.field}).IsPassword() {
			return true
		}
	}
	return false
}

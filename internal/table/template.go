package table

import (
	"context"
	"fmt"
	"strings"
)

// A querier is what tables with a query have in common: which keys they are asked for, and what
// the query and the results look like.
type querier struct {
	typ, name string
	o         *Options
	domains   *List // keys of other domains are not looked up
	// What templates need to be filled. A key or value without it is skipped.
	keyUser, keyDomain     bool
	valueUser, valueDomain bool
	labels                 int // of the key's domain
	resultFormat           string
}

// parse checks a template and notes what it needs. dynamic tells that it depends on the key.
func (q *querier) parse(template string, isQuery bool) (dynamic bool, err error) {
	for i := 0; i < len(template); i++ {
		if template[i] != '%' {
			continue
		}
		if i++; i == len(template) {
			return false, q.badTemplate(template, isQuery)
		}
		c := template[i]
		dynamic = dynamic || c != '%'
		switch {
		case c == '%' || c == 's' || c == 'S':
		case c == 'u' && !isQuery:
			q.valueUser = true
		case c == 'd' && !isQuery:
			q.valueDomain = true
		case c == 'u' || c == 'U':
			q.keyUser = true
		case c == 'd' || c == 'D':
			q.keyDomain = true
		case '1' <= c && c <= '9':
			q.keyDomain = true
			q.labels = max(q.labels, int(c-'0'))
		default:
			return false, q.badTemplate(template, isQuery)
		}
	}
	return dynamic, nil
}

func (q *querier) badTemplate(template string, isQuery bool) error {
	kind := "result"
	if isQuery {
		kind = "query"
	}
	return fmt.Errorf("db_common_parse: %s: Invalid %s template: %s", q.name, kind, template)
}

// parseDomains opens the list of domains.
func (q *querier) parseDomains(value string) (err error) {
	if value != "" {
		q.domains, err = OpenList(q.name, value, Strings, *q.o)
	}
	return err
}

// An address is a key or value in its parts.
type address struct {
	whole, user, domain string
	hasDomain           bool // there is an "@", and something behind it
	noUser              bool // it begins with the only "@"
}

func splitAddress(s string) address {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return address{whole: s, user: s}
	}
	return address{whole: s, user: s[:at], domain: s[at+1:], hasDomain: at+1 < len(s), noUser: at == 0}
}

// wanted reports whether a key is looked up at all.
func (q *querier) wanted(ctx context.Context, key string) (bool, error) {
	if key == "" {
		q.o.warnf("table \"%s:%s\": empty query string -- ignored", q.typ, q.name)
		return false, nil
	}
	a := splitAddress(key)
	if q.domains != nil {
		if !a.hasDomain || a.noUser {
			return false, nil
		}
		if ok, err := q.domains.Match(ctx, a.domain); err != nil || !ok {
			return false, err
		}
	}
	return q.fills(a), nil
}

// fills reports whether templates can be filled with the parts of a key.
func (q *querier) fills(a address) bool {
	if q.keyDomain && !a.hasDomain || q.keyUser && a.noUser {
		return false
	}
	if q.labels == 0 {
		return true
	}
	labels := splitLabels(a.domain)
	if len(labels) < q.labels {
		return false
	}
	for _, l := range labels[len(labels)-q.labels:] {
		if l == "" {
			return false
		}
	}
	return true
}

func splitLabels(domain string) []string {
	return strings.FieldsFunc(domain, func(c rune) bool { return c == '.' })
}

// expand fills a query template. quote makes the text of a macro safe where it stands.
func expand(template, key string, quote func(string) string) string {
	a := splitAddress(key)
	return fill(template, a, a, quote)
}

// result adds a value to those found before, in result_format. It reports whether it counts.
func (q *querier) result(found []string, value, key string) ([]string, bool) {
	if value == "" {
		q.o.warnf("table \"%s:%s\": empty lookup result for: \"%s\" -- ignored", q.typ, q.name, key)
		return found, false
	}
	v, k := splitAddress(value), splitAddress(key)
	if q.valueDomain && !v.hasDomain || q.valueUser && v.noUser {
		return found, false
	}
	return append(found, fill(q.resultFormat, v, k, func(s string) string { return s })), true
}

// fill fills a template: small letters stand for the value, or for the key in a query, capital
// ones for the key.
func fill(template string, value, key address, quote func(string) string) string {
	var b strings.Builder
	for i := 0; i < len(template); i++ {
		if template[i] != '%' || i+1 == len(template) {
			b.WriteByte(template[i])
			continue
		}
		i++
		switch c := template[i]; c {
		case '%':
			b.WriteByte('%')
		case 's':
			b.WriteString(quote(value.whole))
		case 'u':
			b.WriteString(quote(value.user))
		case 'd':
			b.WriteString(quote(value.domain))
		case 'S':
			b.WriteString(quote(key.whole))
		case 'U':
			b.WriteString(quote(key.user))
		case 'D':
			b.WriteString(quote(key.domain))
		default:
			labels := splitLabels(key.domain)
			if n := int(c - '0'); n > 0 && n <= len(labels) {
				b.WriteString(quote(labels[len(labels)-n]))
			}
		}
	}
	return b.String()
}

// limited reports whether there are more values than expansion_limit allows.
func limited(found []string, limit int) bool { return limit > 0 && len(found) > limit }

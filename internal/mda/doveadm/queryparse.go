package doveadm

import (
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// maxQueryDepth is how deep NOT and parentheses may nest.
const maxQueryDepth = 100

// A queryParser reads a query from arguments. Their order and words are those of
// Dovecot's own parser: "a OR b OR c" and "a b", not both without parentheses.
type queryParser struct {
	args  []string
	depth int // of parentheses and NOT
	open  int // parentheses
	name  string
	q     *query
	now   time.Time
}

// errQuery is a mistake in a query.
func errQuery(text string) error { return &fatal{exTempFail, text} }

// parseQuery reads a query.
func parseQuery(args []string) (*query, error) {
	p := &queryParser{args: args, q: new(query), now: time.Now()}
	list, err := p.list()
	if err != nil {
		return nil, err
	}
	p.q.root = list
	p.q.collect(list)
	return p.q, nil
}

// A keyList is a list of keys while it is read: whether all must match or one.
type keyList struct {
	keys []*search.Key
	op   search.Op
	or   bool // the key that is read belongs to an OR
}

// list reads keys up to a parenthesis that closes, or the end.
func (p *queryParser) list() (*search.Key, error) {
	l := &keyList{op: search.And}
	for {
		l.or = false
		k, err := p.key(l)
		if err != nil {
			return nil, err
		}
		if k == nil {
			break
		}
		switch {
		case l.or == (l.op == search.Or):
		case l.op == search.And:
			l.op = search.Or
		default:
			return nil, errQuery("Use parenthesis when mixing ANDs and ORs")
		}
		l.keys = append(l.keys, k)
	}
	if len(l.keys) == 1 {
		return l.keys[0], nil
	}
	return &search.Key{Op: l.op, Keys: l.keys}, nil
}

// key reads one key into the list; nil at its end.
func (p *queryParser) key(l *keyList) (*search.Key, error) {
	if p.depth++; p.depth > maxQueryDepth {
		return nil, errQuery("Search query is nested too deeply")
	}
	defer func() { p.depth-- }()
	if len(p.args) == 0 {
		if p.open > 0 {
			return nil, errQuery("Missing ')'")
		}
		return nil, nil
	}
	word := p.args[0]
	p.args = p.args[1:]
	switch word {
	case "(":
		return p.parenthesis()
	case ")":
		if p.open == 0 {
			return nil, errQuery("Unexpected ')'")
		}
		p.open--
		return nil, nil
	}
	p.name = strings.ToUpper(word)
	if k, ok := search.Plain(p.name); ok {
		return k, nil
	}
	if k, ok := plainKeys[p.name]; ok {
		return &k, nil
	}
	if parse, ok := queryKeys[p.name]; ok {
		return parse(p, l)
	}
	if word != "" && (word[0] == '*' || word[0] >= '0' && word[0] <= '9') {
		return messageSet(search.Seq, p.name, "Invalid messageset")
	}
	return nil, errQuery("Unknown argument " + upperASCII(word))
}

func (p *queryParser) parenthesis() (*search.Key, error) {
	p.open++
	k, err := p.list()
	if err != nil {
		return nil, err
	}
	if k.Op == search.And && len(k.Keys) == 0 {
		return nil, errQuery("No search parameters inside list")
	}
	return k, nil
}

// operand reads the key that another one needs.
func (p *queryParser) operand(l *keyList) (*search.Key, error) {
	k, err := p.key(l)
	if err == nil && k == nil {
		err = errQuery("Missing argument")
	}
	return k, err
}

// value reads the parameter of a key.
func (p *queryParser) value() (string, error) {
	if len(p.args) == 0 {
		return "", errQuery("Missing parameter for search key (for search key: " + p.name + ")")
	}
	v := p.args[0]
	p.args = p.args[1:]
	return v, nil
}

// upperASCII is s in upper case, other bytes than letters left alone.
func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// messageSet makes a key of numbers.
func messageSet(op search.Op, value, mistake string) (*search.Key, error) {
	set, ok := imapwire.ParseSet(nil, []byte(value))
	if !ok {
		return nil, errQuery(mistake)
	}
	k := &search.Key{Op: op}
	for _, r := range set {
		k.Ranges = append(k.Ranges, search.Range(r))
	}
	return k, nil
}

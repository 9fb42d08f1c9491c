package imap

import (
	"encoding/base64"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// maxSearchDepth is how deep NOT, OR and parentheses may nest.
const maxSearchDepth = 100

// searchParser makes a query of SEARCH's arguments.
type searchParser struct {
	box     *selected
	charset string
	depth   int
	modseq  bool // a key is about modseqs
	rev2    bool // IMAP4rev2: there is no \Recent (RFC 9051 E)
	utf8    bool // texts are in UTF-8
	many    bool // of several mailboxes: there is no box
	uidOnly bool // there are no message numbers (RFC 9586)
	name    string
	args    imapwire.Args

	lookUp  func(name string) (string, error) // of a filter; nil where there are none
	filters int                               // used
}

// parse reads [CHARSET name], unless the charset is known already, and the keys.
func (p *searchParser) parse(args imapwire.Args, charset string) (*search.Key, error) {
	if charset == "" && len(args) > 0 && args[0].Is("CHARSET") {
		if p.utf8 && !p.rev2 { // RFC 6855 3
			return nil, bad("Cannot set search charset when using UTF8=ACCEPT")
		}
		if args = args.Rest(); len(args) == 0 || args[0].Kind == imapwire.List {
			return nil, bad("Invalid charset argument.")
		}
		charset = string(args[0].Data)
		args = args.Rest()
	}
	if len(args) == 0 {
		return nil, bad("Missing search parameters")
	}
	p.args, p.charset = args, charset
	key, err := p.all()
	if err == nil && charset != "" && !message.KnownCharset(charset) {
		return nil, &reply{cond: condNo, code: "[BADCHARSET] ", text: "Unknown charset"}
	}
	return key, err
}

// all reads keys to the end; all of them must match.
func (p *searchParser) all() (*search.Key, error) {
	var keys []*search.Key
	for len(p.args) > 0 {
		k, err := p.key()
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 1 {
		return keys[0], nil
	}
	return &search.Key{Op: search.And, Keys: keys}, nil
}

// next takes the next argument.
func (p *searchParser) next() (imapwire.Arg, bool) {
	if len(p.args) == 0 {
		return imapwire.Arg{}, false
	}
	arg := p.args[0]
	p.args = p.args.Rest()
	return arg, true
}

// key reads one key.
func (p *searchParser) key() (*search.Key, error) {
	if p.depth++; p.depth > maxSearchDepth {
		return nil, bad("Search query is nested too deeply")
	}
	defer func() { p.depth-- }()
	if len(p.args) > 0 && p.args[0].Kind == imapwire.List {
		return p.list()
	}
	arg, ok := p.next()
	if !ok {
		return nil, bad("Missing argument")
	}
	if arg.Kind != imapwire.Atom {
		return nil, bad("Unexpected string as search key: " + string(arg.Data))
	}
	p.name = strings.ToUpper(string(arg.Data))
	if p.name == "$" {
		return p.saved()
	}
	if c := p.name[0]; '0' <= c && c <= '9' || c == '*' {
		if p.uidOnly {
			return nil, errUIDRequired
		}
		return p.set(arg.Data, false, "Invalid messageset")
	}
	if k, ok := search.Plain(p.name); ok && !(p.rev2 && aboutRecent(p.name)) {
		return k, nil
	}
	parse, ok := searchKeys[p.name]
	if !ok || p.name == "FILTER" && p.lookUp == nil {
		return nil, bad("Unknown argument " + p.name)
	}
	return parse(p)
}

func aboutRecent(key string) bool { return key == "RECENT" || key == "NEW" || key == "OLD" }

// list reads a list of keys in parentheses.
func (p *searchParser) list() (*search.Key, error) {
	inner, outer := p.args.List(), p.args.Rest()
	if len(inner) == 0 {
		return nil, bad("No search parameters inside list")
	}
	p.args = inner
	k, err := p.all()
	p.args = outer
	return k, err
}

// searchKeys are the keys with parameters.
var searchKeys map[string]func(*searchParser) (*search.Key, error)

func init() {
	type parser = func(*searchParser) (*search.Key, error)
	date := func(op search.Op) parser { return func(p *searchParser) (*search.Key, error) { return p.date(op) } }
	header := func(p *searchParser) (*search.Key, error) { return p.text(search.Header, p.name) }
	text := func(op search.Op) parser {
		return func(p *searchParser) (*search.Key, error) { return p.text(op, "") }
	}
	size := func(op search.Op) parser { return func(p *searchParser) (*search.Key, error) { return p.size(op) } }
	age := func(op search.Op) parser { return func(p *searchParser) (*search.Key, error) { return p.age(op) } }
	searchKeys = map[string]parser{
		"BEFORE": date(search.Before), "ON": date(search.On), "SINCE": date(search.Since),
		"SENTBEFORE": date(search.SentBefore), "SENTON": date(search.SentOn), "SENTSINCE": date(search.SentSince),
		// RFC 8514
		"SAVEDBEFORE": date(search.SavedBefore), "SAVEDON": date(search.SavedOn), "SAVEDSINCE": date(search.SavedSince),
		"BCC": header, "CC": header, "FROM": header, "SUBJECT": header, "TO": header,
		"HEADER": (*searchParser).header,
		"BODY":   text(search.Body), "TEXT": text(search.TextOp),
		"LARGER": size(search.Larger), "SMALLER": size(search.Smaller),
		// RFC 5032
		"OLDER": age(search.Older), "YOUNGER": age(search.Younger),
		"KEYWORD":   func(p *searchParser) (*search.Key, error) { return p.keyword(false) },
		"UNKEYWORD": func(p *searchParser) (*search.Key, error) { return p.keyword(true) },
		"UID":       (*searchParser).uid,
		"NOT":       (*searchParser).not,
		"FUZZY":     (*searchParser).fuzzy,
		"FILTER":    (*searchParser).filter,
		"OR":        (*searchParser).or,
		"MODSEQ":    (*searchParser).modSeq,
		// RFC 8474
		"EMAILID":  func(p *searchParser) (*search.Key, error) { return p.objectID(search.HasEmailID) },
		"THREADID": func(p *searchParser) (*search.Key, error) { return p.objectID(search.HasThreadID) },
		// RFC 8514: dates of saving are always there.
		"SAVEDATESUPPORTED": func(*searchParser) (*search.Key, error) { return &search.Key{Op: search.All}, nil },
	}
}

// param takes the parameter of a key.
func (p *searchParser) param() ([]byte, error) {
	name := p.name
	arg, ok := p.next()
	if !ok {
		return nil, bad("Missing parameter for search key (for search key: " + name + ")")
	}
	if arg.Kind == imapwire.List {
		return nil, bad("Invalid parameter for search key (for search key: " + name + ")")
	}
	return arg.Data, nil
}

func (p *searchParser) not() (*search.Key, error) {
	k, err := p.key()
	if err != nil {
		return nil, err
	}
	return &search.Key{Op: search.And, Keys: []*search.Key{k}, Not: true}, nil
}

func (p *searchParser) or() (*search.Key, error) {
	a, err := p.key()
	if err != nil {
		return nil, err
	}
	b, err := p.key()
	if err != nil {
		return nil, err
	}
	return &search.Key{Op: search.Or, Keys: []*search.Key{a, b}}, nil
}

func (p *searchParser) uid() (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	if string(value) == "$" {
		return p.saved()
	}
	return p.set(value, true, "Invalid UID messageset")
}

// saved makes a key of the result that was saved before (RFC 5182).
func (p *searchParser) saved() (*search.Key, error) {
	if p.many {
		return nil, errNotInMany
	}
	return &search.Key{Op: search.UID, Ranges: p.box.uidRanges(p.box.savedSpans())}, nil
}

// set makes a key of a message set. Numbers are resolved here, where the
// client's numbering is known; numbers without message match nothing.
func (p *searchParser) set(value []byte, uid bool, text string) (*search.Key, error) {
	set, ok := imapwire.ParseSet(nil, value)
	if !ok {
		return nil, bad(text)
	}
	if p.many {
		return uidKey(set, uid)
	}
	n := uint32(p.box.view.Len())
	if !uid {
		kept := set[:0]
		for _, r := range set {
			if r.Min == imapwire.Star {
				r.Min = n
			}
			r.Max = min(r.Max, n)
			if r.Min <= r.Max && n > 0 {
				kept = append(kept, r)
			}
		}
		set = kept
	}
	spans, err := p.box.resolve(set, uid)
	if err != nil {
		return nil, bad(text)
	}
	return &search.Key{Op: search.UID, Ranges: p.box.uidRanges(spans)}, nil
}

// uidKey makes a key of uids of any mailbox.
func uidKey(set []imapwire.Range, uid bool) (*search.Key, error) {
	if !uid {
		return nil, errNotInMany
	}
	ranges := make([]search.Range, len(set))
	for i, r := range set {
		ranges[i] = search.Range{Min: r.Min, Max: r.Max}
	}
	return &search.Key{Op: search.UID, Ranges: ranges}, nil
}

func (p *searchParser) date(op search.Op) (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	day, ok := imapwire.ParseDate(value)
	if !ok {
		return nil, bad("Invalid search date parameter")
	}
	return &search.Key{Op: op, Date: day}, nil
}

func (p *searchParser) size(op search.Op) (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	n, ok := imapwire.ParseUint(value)
	if !ok {
		return nil, bad("Invalid search size parameter")
	}
	return &search.Key{Op: op, Size: int64(n)}, nil
}

func (p *searchParser) age(op search.Op) (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	n, ok := imapwire.ParseUint(value)
	if !ok || n == 0 || n >= 1<<32 {
		return nil, bad("Invalid search interval parameter")
	}
	return &search.Key{Op: op, Seconds: uint32(n)}, nil
}

func (p *searchParser) keyword(not bool) (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	return &search.Key{Op: search.Keyword, Text: string(value), Not: not}, nil
}

func (p *searchParser) header() (*search.Key, error) {
	field, err := p.param()
	if err != nil {
		return nil, err
	}
	return p.text(search.Header, strings.ToUpper(string(field)))
}

// text makes a key that looks for text in a field or elsewhere.
func (p *searchParser) text(op search.Op, field string) (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	return &search.Key{Op: op, Field: field, Text: p.toUTF8(value)}, nil
}

// utf8 converts text from the charset of the command, as if it were an encoded
// word (RFC 2047) of it.
func (p *searchParser) toUTF8(text []byte) string {
	if p.charset == "" || strings.EqualFold(p.charset, "UTF-8") || strings.EqualFold(p.charset, "US-ASCII") {
		return string(text)
	}
	word := "=?" + p.charset + "?B?" + base64.StdEncoding.EncodeToString(text) + "?="
	return string(message.DecodeHeader(nil, []byte(word)))
}

// modSeq reads MODSEQ [entry-name entry-type] number (RFC 7162 3.1.5). The
// modseq is the message's whatever the entry.
func (p *searchParser) modSeq() (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	if len(value) > 0 && value[0] == '/' {
		if _, err = p.param(); err != nil {
			return nil, bad("Invalid MODSEQ type")
		}
		if value, err = p.param(); err != nil {
			return nil, bad("Invalid MODSEQ value")
		}
	}
	n, ok := imapwire.ParseUint(value)
	if !ok {
		return nil, bad("Invalid MODSEQ value")
	}
	p.modseq = true
	return &search.Key{Op: search.ModSeq, ModSeq: n}, nil
}

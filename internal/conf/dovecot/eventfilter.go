package dovecot

import (
	"errors"
	"fmt"
	"strings"
)

// Event filters, the values of log_debug, log_core_filter, process_shutdown_filter and metric
// filter, are expressions
//
//	expr  = key op value | NOT expr | expr AND expr | expr OR expr | "(" expr ")"
//	op    = "=" | "<" | ">" | "<=" | ">="
//
// of words and quoted strings. AND and OR bind alike.

// checkEventFilter checks the syntax. Its errors are those of Dovecot's generated
// parser, which says what it expected unless that is more than four kinds.
func checkEventFilter(s string) error {
	p := &filterParser{rest: s}
	p.next()
	if p.tok == tokEnd {
		return nil
	}
	if !p.startsExpr() {
		return p.unexpected(tokEnd)
	}
	if err := p.expr(0); err != nil {
		return err
	}
	if p.tok != tokEnd {
		return p.unexpected(tokEnd)
	}
	return nil
}

// The kinds of tokens have the names that messages give them.
const (
	tokEnd    = "$end"
	tokWord   = "TOKEN"
	tokString = "STRING"
	tokAnd    = "AND"
	tokOr     = "OR"
	tokNot    = "NOT"
	tokOther  = "$undefined"
)

type filterParser struct {
	rest string
	tok  string
	text string
}

// maxFilterDepth bounds the nesting of parentheses and NOT.
const maxFilterDepth = 1000

func (p *filterParser) startsExpr() bool {
	return p.tok == tokWord || p.tok == tokString || p.tok == tokNot || p.tok == "'('"
}

// expr reads terms joined by AND and OR.
func (p *filterParser) expr(depth int) error {
	for {
		if err := p.term(depth); err != nil {
			return err
		}
		if p.tok != tokAnd && p.tok != tokOr {
			return nil
		}
		p.next()
	}
}

func (p *filterParser) term(depth int) error {
	if depth > maxFilterDepth {
		return errors.New("event filter: memory exhausted")
	}
	if !p.startsExpr() {
		return p.unexpected(tokWord, tokString, tokNot, "'('")
	}
	switch p.tok {
	case tokNot:
		p.next()
		return p.term(depth + 1)
	case "'('":
		p.next()
		if err := p.expr(depth + 1); err != nil {
			return err
		}
		if p.tok != "')'" {
			return p.unexpected(tokAnd, tokOr, "')'")
		}
		p.next()
		return nil
	}
	return p.comparison()
}

func (p *filterParser) comparison() error {
	key := p.text
	p.next()
	op := p.tok
	switch op {
	case "'='":
		p.next()
	case "'<'", "'>'":
		if p.next(); p.tok == "'='" {
			p.next()
		}
	default:
		return p.unexpected("'='", "'>'", "'<'")
	}
	switch p.tok {
	case tokWord, tokString, tokAnd, tokOr, tokNot:
		p.next()
	default:
		return p.unexpected()
	}
	if op != "'='" && (key == "event" || key == "category" || key == "source_location") {
		return errors.New("event filter: Only fields support inequality comparisons")
	}
	return nil
}

func (p *filterParser) unexpected(expected ...string) error {
	text := "event filter: syntax error, unexpected " + p.tok
	if len(expected) > 0 {
		text += ", expecting " + strings.Join(expected, " or ")
	}
	return fmt.Errorf("%s", text)
}

const filterWordBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:.*?_-"

// next reads one token into tok and text.
func (p *filterParser) next() {
	s := strings.TrimLeft(p.rest, " \t\r\n")
	if s == "" {
		p.tok, p.rest = tokEnd, ""
		return
	}
	n := len(s) - len(strings.TrimLeft(s, filterWordBytes))
	switch {
	case s[0] == '"':
		end := closingQuote([]byte(s), 0)
		if end == len(s) {
			p.tok, p.rest = tokEnd, "" // the string is never finished
			return
		}
		p.tok, p.text, n = tokString, s[1:end], end+1
	case n == 0 && strings.IndexByte("<>=()", s[0]) >= 0:
		p.tok, n = "'"+s[:1]+"'", 1
	case n == 0:
		p.tok, n = tokOther, 1
	default:
		p.text = s[:n]
		switch word := strings.ToUpper(p.text); word {
		case tokAnd, tokOr, tokNot:
			p.tok = word
		default:
			p.tok = tokWord
		}
	}
	p.rest = s[n:]
}

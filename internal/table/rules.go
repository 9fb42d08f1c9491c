package table

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// A rule is one line of a rule file (regexp_table(5), pcre_table(5),
// cidr_table(5)). Rules between if and endif are the body of the if.
type rule[M any] struct {
	match  M
	negate bool
	result template
	body   []rule[M] // of if
	block  bool
}

// A ruleParser compiles the rules of one table type.
type ruleParser[M any] struct {
	typ  string // "regexp"
	name string // of the file, for warnings
	o    *Options
	// compile parses the pattern at the beginning of text, after a "!", and
	// returns what follows it.
	compile func(text string) (m M, rest string, err error)
	// result checks and compiles the result of a rule.
	result func(line int, m M, negate bool, text string) (template, error)
}

// ruleLine is a logical line with its number.
type ruleLine struct {
	text string
	n    int
}

// skipRule is why a rule is left out.
type skipRule string

func (s skipRule) Error() string { return string(s) }

// skip tells why a rule is left out.
func (p *ruleParser[M]) skip(n int, err error) {
	var bad *badReplacement
	if !errors.As(err, &bad) {
		p.warn(n, err.Error())
		return
	}
	if bad.everywhere {
		p.o.warnf("%s", bad.why)
	} else {
		p.warn(n, bad.why)
	}
	p.warn(n, "bad replacement syntax: skipping this rule")
}

// A badReplacement is a result that cannot be understood.
type badReplacement struct {
	why        string
	everywhere bool // why is said of macros in all files, without the rule's place
}

func (b *badReplacement) Error() string { return b.why }

func (p *ruleParser[M]) warn(n int, text string) {
	p.o.warnf("%s map %s, line %d: %s", p.typ, p.name, n, text)
}

// parse reads the rules of the file, or those in braces after the type.
func (p *ruleParser[M]) parse() ([]rule[M], error) {
	lines, err := p.lines()
	if err != nil {
		return nil, err
	}
	rules, rest := p.block(lines, nil)
	for _, l := range rest {
		p.warn(l.n, "ignoring ENDIF without matching IF")
	}
	return rules, nil
}

func (p *ruleParser[M]) lines() ([]ruleLine, error) {
	if items, ok := braced(p.name); ok {
		lines := make([]ruleLine, len(items))
		for i, item := range items {
			lines[i] = ruleLine{strings.TrimSpace(unbrace(item)), i + 1}
		}
		return lines, nil
	}
	f, err := p.o.open(p.name)
	if err != nil {
		return nil, openError("", p.name, err)
	}
	defer f.Close()
	var lines []ruleLine
	in := logline.NewReader(f, p.name, func(text string) { p.o.warnf("%s", text) })
	for {
		text, n, err := in.Next()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return nil, openError("", p.name, err)
		}
		lines = append(lines, ruleLine{strings.TrimRight(text, logline.Spaces), n})
	}
}

// maxNesting bounds if within if.
const maxNesting = 100

// block compiles lines up to the endif of the innermost of the ifs around it, and returns what
// follows. An if that is wrong is left out, and does not lead to its endif.
func (p *ruleParser[M]) block(lines []ruleLine, ifs []int) (rules []rule[M], rest []ruleLine) {
	depth := len(ifs)
	for len(lines) > 0 {
		l := lines[0]
		lines = lines[1:]
		word, args := firstWord(l.text)
		switch {
		case strings.EqualFold(word, "endif"):
			if p.endif(l.n, depth, args) {
				return rules, lines
			}
		case strings.EqualFold(word, "if") && depth < maxNesting:
			var r rule[M]
			if p.condition(l, args, &r) {
				r.body, lines = p.block(lines, append(ifs[:depth:depth], l.n))
				rules = append(rules, r)
			}
		default:
			if r, ok := p.rule(l); ok {
				rules = append(rules, r)
			}
		}
	}
	if depth > 0 {
		p.warn(ifs[depth-1], "IF has no matching ENDIF")
	}
	return rules, nil
}

// endif reports whether an ENDIF counts.
func (p *ruleParser[M]) endif(line, depth int, extra string) bool {
	strict := p.typ == "cidr"
	switch {
	case extra != "" && strict:
		p.warn(line, "garbage after ENDIF: skipping this rule")
		return false
	case depth == 0 && strict:
		p.warn(line, "ENDIF without IF: skipping this rule")
	case depth == 0:
		p.warn(line, "ignoring ENDIF without matching IF")
	case extra != "":
		p.warn(line, "ignoring extra text after ENDIF")
	}
	return depth > 0
}

// firstWord splits "if /pattern/" and "if!/pattern/" after the keyword.
func firstWord(s string) (word, rest string) {
	i := 0
	for i < len(s) && (s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z') {
		i++
	}
	return s[:i], strings.TrimSpace(s[i:])
}

func (p *ruleParser[M]) condition(l ruleLine, text string, r *rule[M]) bool {
	r.block = true
	r.negate, text = negation(text)
	m, rest, err := p.compile(text)
	if err != nil {
		p.skip(l.n, err)
		return false
	}
	if rest = strings.TrimSpace(rest); rest != "" && p.typ == "cidr" {
		p.warn(l.n, fmt.Sprintf("bad mask value in \"%s\": skipping this rule", text))
		return false
	}
	if rest != "" {
		p.warn(l.n, fmt.Sprintf("ignoring extra text after IF statement: %q", rest))
	}
	r.match = m
	return true
}

func negation(text string) (bool, string) {
	negate := false
	for strings.HasPrefix(text, "!") {
		negate = !negate
		text = strings.TrimSpace(text[1:])
	}
	return negate, text
}

func (p *ruleParser[M]) rule(l ruleLine) (r rule[M], ok bool) {
	var text string
	r.negate, text = negation(l.text)
	m, rest, err := p.compile(text)
	if err != nil {
		p.skip(l.n, err)
		return r, false
	}
	r.match = m
	if r.result, err = p.result(l.n, m, r.negate, strings.TrimSpace(rest)); err != nil {
		p.skip(l.n, err)
		return r, false
	}
	return r, true
}

// A template is the result of a rule: text with places for what the groups of
// the pattern matched.
type template []templatePart

type templatePart struct {
	text  string
	group int // > 0: the group's text instead
}

// parseTemplate parses $1, ${1}, $(1) and $$.
func parseTemplate(s string) (t template, highest int, err error) {
	whole := s
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return append(t, templatePart{text: s}), highest, nil
		}
		if i+1 == len(s) {
			return nil, 0, &badReplacement{fmt.Sprintf("empty macro name: \"%s\"", whole), true}
		}
		if i > 0 {
			t = append(t, templatePart{text: s[:i]})
		}
		s = s[i+1:]
		if s[0] == '$' {
			t = append(t, templatePart{text: "$"})
			s = s[1:]
			continue
		}
		n, rest, err := groupNumber(s)
		if err != nil {
			return nil, 0, err
		}
		t = append(t, templatePart{group: n})
		highest = max(highest, n)
		s = rest
	}
	return t, highest, nil
}

// groupNumber parses what follows a dollar sign.
func groupNumber(s string) (n int, rest string, err error) {
	var name string
	switch s[0] {
	case '{', '(':
		end := strings.IndexAny(s, "})")
		if end < 0 {
			return 0, "", &badReplacement{fmt.Sprintf("truncated macro reference: \"$%s\"", s), true}
		}
		name, rest = s[1:end], s[end+1:]
	default:
		end := 0
		for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end]|0x20 >= 'a' && s[end]|0x20 <= 'z' || s[end] == '_') {
			end++
		}
		name, rest = s[:end], s[end:]
	}
	for _, c := range []byte(name) {
		if c < '0' || c > '9' || n > 99 {
			return 0, "", &badReplacement{why: fmt.Sprintf("non-numeric replacement index \"%s\"", name)}
		}
		n = n*10 + int(c-'0')
	}
	if name == "" {
		return 0, "", &badReplacement{fmt.Sprintf("empty macro name: \"$%s\"", s), true}
	}
	if n == 0 {
		return 0, "", &badReplacement{why: fmt.Sprintf("out of range replacement index \"%s\"", name)}
	}
	return n, rest, nil
}

func (t template) expand(group func(n int) string) string {
	if len(t) == 1 && t[0].group == 0 {
		return t[0].text
	}
	var b strings.Builder
	for _, p := range t {
		if p.group > 0 {
			b.WriteString(group(p.group))
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

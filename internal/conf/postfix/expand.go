package postfix

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// maxExpansion bounds the text an expression may expand to: a few lines that
// each use the one before twice would fill any memory.
const maxExpansion = 4 << 20

// maxNesting is Postfix's bound on $name in the value of $name in the value...
const maxNesting = 100

// maxSteps bounds the expressions in one text, those in the values included: a
// hundred lines that each use the one before twice would take forever even if
// they expand to nothing.
const maxSteps = 1 << 16

// Error is an error that Postfix reports in two lines: a warning that says what
// is wrong, then the fatal error.
type Error struct {
	Warning string
	Fatal   string
}

func (e *Error) Error() string { return e.Fatal }

// macroErrorf is the error of an expression that cannot be expanded.
func macroErrorf(format string, args ...any) error {
	return &Error{Warning: fmt.Sprintf(format, args...), Fatal: "dictionary mail_dict: macro processing error"}
}

// An expander replaces $name in texts.
type expander struct {
	lookup func(name string) (string, bool)
	out    []byte
	depth  int
	steps  int
}

// expandText returns s with all $name expanded, recursively.
func expandText(s string, lookup func(string) (string, bool)) (string, error) {
	if strings.IndexByte(s, '$') < 0 {
		return s, nil
	}
	e := &expander{lookup: lookup}
	if err := e.text(s); err != nil {
		return "", err
	}
	return string(e.out), nil
}

// text appends the expansion of s.
func (e *expander) text(s string) error {
	whole := s
	for {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return e.literal(s)
		}
		if err := e.literal(s[:i]); err != nil {
			return err
		}
		s = s[i+1:]
		if strings.HasPrefix(s, "$") {
			e.out = append(e.out, '$')
			s = s[1:]
			continue
		}
		expr, rest, err := splitMacro(s, whole)
		if err != nil {
			return err
		}
		if err := e.macro(expr); err != nil {
			return err
		}
		s = rest
	}
}

func (e *expander) literal(s string) error {
	if len(e.out)+len(s) > maxExpansion {
		return macroErrorf("expansion is too long")
	}
	e.out = append(e.out, s...)
	return nil
}

// splitMacro takes what follows a "$" apart: a plain name, or what the
// braces or parentheses hold. Whole is for messages.
func splitMacro(s, whole string) (expr, rest string, err error) {
	n := 0
	if strings.HasPrefix(s, "{") || strings.HasPrefix(s, "(") {
		if n = balanced(s); n == 0 {
			return "", "", macroErrorf("truncated macro reference: \"%s\"", whole)
		}
		expr = s[1 : n-1]
	} else {
		n = nameLen(s)
		expr = s[:n]
	}
	if expr == "" {
		return "", "", macroErrorf("empty macro name: \"%s\"", whole)
	}
	return expr, s[n:], nil
}

// balanced is the length of the {...} or (...) that s begins with, 0 if it does not close.
func balanced(s string) int {
	open, closing := s[0], byte('}')
	if open == '(' {
		closing = ')'
	}
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case open:
			depth++
		case closing:
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return 0
}

func nameLen(s string) int {
	i := 0
	for i < len(s) && (s[i] == '_' || '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'z' || 'A' <= s[i] && s[i] <= 'Z') {
		i++
	}
	return i
}

// macro appends the value of one expression.
func (e *expander) macro(expr string) error {
	e.steps++
	if e.depth++; e.depth > maxNesting || e.steps > maxSteps {
		return macroErrorf("unreasonable macro call nesting: \"%s\"", expr)
	}
	defer func() { e.depth-- }()
	s := strings.TrimLeft(expr, spaces)
	if strings.HasPrefix(s, "{") {
		return e.comparison(s)
	}
	n := nameLen(s)
	name, rest := s[:n], strings.TrimLeft(s[n:], spaces)
	val, _ := e.lookup(name)
	if rest == "" {
		return e.text(val)
	}
	if rest[0] != '?' && rest[0] != ':' {
		return macroErrorf("attribute name syntax error at: \"...%s>>>%.20s\"", name, s[n:])
	}
	return e.branch(rest, val != "")
}

// comparison appends the value of {left} OP {right} and what follows.
func (e *expander) comparison(s string) error {
	left, rest, err := payload(s)
	if err != nil {
		return err
	}
	op, after := operator(rest)
	if op.name == "" {
		// The text is Postfix's own, odd quotes included.
		return macroErrorf(`"==" or "!="" or "<"" or "<="" or ">="" or ">" expected at: "...%s}>>>%.20s"`, left, rest)
	}
	head := strings.TrimRight(s[:len(s)-len(after)], spaces)
	if after = strings.TrimLeft(after, spaces); !strings.HasPrefix(after, "{") {
		return macroErrorf(`"{expression}" expected at: "...%s>>>%.20s"`, head, s[len(head):])
	}
	right, rest, err := payload(after)
	if err != nil {
		return err
	}
	result, err := e.compare(left, op, right)
	if err != nil {
		return err
	}
	if rest != "" && rest[0] != '?' && rest[0] != ':' {
		return macroErrorf(`"?" or ":" expected at: "...}>>>%.20s"`, rest)
	}
	if rest == "" {
		if result {
			return e.literal("true")
		}
		return nil
	}
	return e.branch(rest, result)
}

// payload splits the {text} at the beginning of s; blanks after it are
// skipped.
func payload(s string) (text, rest string, err error) {
	n := balanced(s)
	if n == 0 {
		return "", "", macroErrorf("unbalanced {} in attribute expression: \"%s\"", s)
	}
	return s[1 : n-1], strings.TrimLeft(s[n:], spaces), nil
}

// branch appends one branch of "?yes", ":no" or "?{yes}:{no}".
func (e *expander) branch(s string, yes bool) error {
	then, otherwise := "", ""
	if s[0] == '?' {
		text, rest, braced, err := branchText(s[1:])
		if err != nil {
			return err
		}
		then, s = text, rest
		if s != "" && s[0] != ':' {
			return macroErrorf(`":" expected at: "...%s%s>>>%.20s"`, then, closing(braced), s)
		}
	}
	if s != "" {
		text, rest, braced, err := branchText(s[1:])
		if err != nil {
			return err
		}
		if rest != "" {
			return macroErrorf(`unexpected input at: "...%s%s>>>%.20s"`, text, closing(braced), rest)
		}
		otherwise = text
	}
	if yes {
		return e.text(then)
	}
	return e.text(otherwise)
}

func closing(braced bool) string {
	if braced {
		return "}"
	}
	return ""
}

// branchText reads {text}, or all of s as it is if it does not begin with a brace.
func branchText(s string) (text, rest string, braced bool, err error) {
	if t := strings.TrimLeft(s, spaces); strings.HasPrefix(t, "{") {
		text, rest, err = payload(t)
		return text, rest, true, err
	}
	return s, "", false, nil
}

// A relation is a comparison operator: which signs of left-right satisfy it.
type relation struct {
	name  string
	less  bool
	equal bool
	more  bool
	level bool // operands are compatibility levels
}

var relations = []relation{
	{name: "==", equal: true},
	{name: "!=", less: true, more: true},
	{name: "<=", less: true, equal: true},
	{name: ">=", equal: true, more: true},
	{name: "<", less: true},
	{name: ">", more: true},
}

// operator reads the operator at the beginning of s: all of the characters
// that operators are made of must be one.
func operator(s string) (relation, string) {
	n := len(s) - len(strings.TrimLeft(s, "<>!="))
	rest, level := strings.CutPrefix(s[n:], "level")
	for _, r := range relations {
		if r.name == s[:n] {
			r.level = level
			return r, rest
		}
	}
	return relation{}, s
}

// compare expands both operands and compares them: as levels, as numbers if
// both are all digits, else as bytes.
func (e *expander) compare(left string, op relation, right string) (bool, error) {
	l, err := e.operand(left)
	if err != nil {
		return false, err
	}
	r, err := e.operand(right)
	if err != nil {
		return false, err
	}
	sign := 0
	switch {
	case op.level:
		sign, err = compareLevels(l, r)
	case allDigits(l) && allDigits(r):
		sign, err = compareNumbers(l, r)
	default:
		sign = strings.Compare(l, r)
	}
	return sign < 0 && op.less || sign == 0 && op.equal || sign > 0 && op.more, err
}

// operand expands a text that does not go to the output.
func (e *expander) operand(s string) (string, error) {
	start := len(e.out)
	err := e.text(s)
	text := string(e.out[start:])
	e.out = e.out[:start]
	return text, err
}

func allDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func compareNumbers(a, b string) (int, error) {
	for _, s := range []string{a, b} {
		if _, err := strconv.ParseInt(s, 10, 64); err != nil {
			return 0, fmt.Errorf("mac_exp_eval: bad conversion: %s", s)
		}
	}
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if len(a) != len(b) {
		return len(a) - len(b), nil
	}
	return strings.Compare(a, b), nil
}

func compareLevels(a, b string) (int, error) {
	la, err := parseLevel(a)
	if err != nil {
		return 0, macroErrorf("%s", err)
	}
	lb, err := parseLevel(b)
	if err != nil {
		return 0, macroErrorf("%s", err)
	}
	return int(la - lb), nil
}

// A level is a compatibility level, major.minor.patch, as one number.
type level int64

var errLevel = errors.New("malformed compatibility level syntax")

func parseLevel(s string) (level, error) {
	var l level
	parts := strings.Split(s, ".")
	for i := range 3 {
		n := uint64(0)
		if i < len(parts) {
			var err error
			n, err = strconv.ParseUint(parts[i], 10, 31)
			if err != nil || len(parts) > 3 || i > 0 && n > 1023 {
				return 0, fmt.Errorf("%w: \"%s\"", errLevel, s)
			}
		}
		l = l<<10 | level(n)
	}
	return l, nil
}

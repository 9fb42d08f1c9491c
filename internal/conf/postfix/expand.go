package postfix

import (
	"errors"
	"fmt"
	"math"
	"slices"
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

// WithFatal returns err with another second line, if it is an [*Error].
func WithFatal(err error, fatal string) error {
	if two, ok := err.(*Error); ok {
		return &Error{Warning: two.Warning, Fatal: fatal}
	}
	return err
}

// macroErrorf is the error of an expression that cannot be expanded.
func macroErrorf(format string, args ...any) error {
	return &Error{Warning: fmt.Sprintf(format, args...), Fatal: "dictionary mail_dict: macro processing error"}
}

// An expander replaces $name in texts, or only tells which names they use.
type expander struct {
	lookup func(name string) (string, bool)
	scan   bool // look all names up, those of both branches too, and expand nothing
	strict bool // a $name without value is an error
	out    []byte
	depth  int // of values in values and branches in branches, as Postfix counts it
	inside int // comparisons whose operands are being expanded
	steps  int
}

// ExpandText returns s with all $name expanded, recursively, as lookup has them. An
// error is an [*Error] unless Postfix gives it in one line.
func ExpandText(s string, lookup func(name string) (string, bool)) (string, error) {
	if strings.IndexByte(s, '$') < 0 {
		return s, nil
	}
	e := &expander{lookup: lookup}
	if err := e.text(s); err != nil {
		return "", err
	}
	return string(e.out), nil
}

// ErrUndefined is a $name that stands for nothing.
var ErrUndefined = errors.New("undefined parameter")

// ExpandDefined is ExpandText for a text in which each $name that is not merely asked for
// with "?" or ":" must have a value, or the error is [ErrUndefined].
func ExpandDefined(s string, lookup func(name string) (string, bool)) (string, error) {
	e := &expander{lookup: lookup, strict: true}
	if err := e.text(s); err != nil {
		return "", err
	}
	return string(e.out), nil
}

// ScanText calls name for each $name in s, whichever branch of a condition it stands
// in. Values are not scanned in turn.
func ScanText(s string, name func(name string)) error {
	if strings.IndexByte(s, '$') < 0 {
		return nil
	}
	e := &expander{scan: true, lookup: func(n string) (string, bool) {
		name(n)
		return "", false
	}}
	return e.text(s)
}

// text appends the expansion of s.
func (e *expander) text(s string) error {
	whole := s
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			return e.literal(s)
		}
		if err := e.literal(s[:i]); err != nil {
			return err
		}
		s = s[i+1:]
		if strings.HasPrefix(s, "$") {
			if err := e.literal("$"); err != nil {
				return err
			}
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
	return nil
}

func (e *expander) literal(s string) error {
	if s == "" || e.scan {
		return nil
	}
	if e.depth > maxNesting {
		return errNesting(s)
	}
	if len(e.out)+len(s) > maxExpansion {
		return macroErrorf("expansion is too long")
	}
	e.out = append(e.out, s...)
	return nil
}

func errNesting(s string) error { return macroErrorf("unreasonable macro call nesting: \"%s\"", s) }

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
	for i < len(s) && (s[i] == '_' || isAlnum(s[i])) {
		i++
	}
	return i
}

func isAlnum(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// macro appends the value of one expression.
func (e *expander) macro(expr string) error {
	if e.steps++; e.depth > maxNesting || e.steps > maxSteps {
		return errNesting(expr)
	}
	e.depth++
	defer func() { e.depth-- }()
	s := strings.TrimLeft(expr, blanks)
	if strings.HasPrefix(s, "{") {
		return e.comparison(s)
	}
	n := nameLen(s)
	rest := strings.TrimLeft(s[n:], blanks)
	if rest != "" && rest[0] != '?' && rest[0] != ':' {
		before := expr[:len(expr)-len(s)+n]
		return macroErrorf("attribute name syntax error at: \"...%s>>>%.20s\"", before, s[n:])
	}
	val, ok := e.lookup(s[:n])
	if rest == "" {
		if !ok && e.strict {
			return fmt.Errorf("%w: %s", ErrUndefined, s[:n])
		}
		return e.text(val)
	}
	return e.branch(rest, val != "")
}

// comparison appends the value of {left} OP {right} and what follows.
func (e *expander) comparison(s string) error {
	left, rest, err := payload(s)
	if err != nil {
		return err
	}
	op, after, err := operator(left, rest)
	if err != nil {
		return err
	}
	brace := strings.TrimLeft(after, blanks)
	if !strings.HasPrefix(brace, "{") {
		return macroErrorf(`"{expression}" expected at: "...{%s} %s>>>%.20s"`, left, op.name, after)
	}
	right, rest, err := payload(brace)
	if err != nil {
		return err
	}
	result, err := e.compare(left, op, right)
	if err != nil {
		return err
	}
	if rest == "" {
		if result {
			return e.literal("true")
		}
		return nil
	}
	if rest[0] != '?' && rest[0] != ':' {
		return macroErrorf(`"?" or ":" expected at: "...}>>>%.20s"`, rest)
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
	return s[1 : n-1], strings.TrimLeft(s[n:], blanks), nil
}

// branch appends one branch of "?yes", ":no" or "?{yes}:{no}".
func (e *expander) branch(s string, yes bool) error {
	if s[0] == '?' {
		then, rest, err := branchText(s[1:])
		if err == nil && (yes || e.scan) {
			err = e.text(then)
		}
		if err != nil || rest == "" {
			return err
		}
		if rest[0] != ':' {
			return macroErrorf(`":" expected at: "...%s}>>>%.20s"`, then, rest)
		}
		s = rest
	}
	otherwise, rest, err := branchText(s[1:])
	if err == nil && (!yes || e.scan) {
		err = e.text(otherwise)
	}
	if err == nil && rest != "" {
		err = macroErrorf(`unexpected input at: "...%s}>>>%.20s"`, otherwise, rest)
	}
	return err
}

// branchText reads {text}, or all of s as it is if it does not begin with a brace.
func branchText(s string) (text, rest string, err error) {
	if t := strings.TrimLeft(s, blanks); strings.HasPrefix(t, "{") {
		return payload(t)
	}
	return s, "", nil
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
// that operators are made of must be one. Left is for messages.
func operator(left, s string) (relation, string, error) {
	n := len(s) - len(strings.TrimLeft(s, "<>!=?+-*/~&|%"))
	i := slices.IndexFunc(relations, func(r relation) bool { return r.name == s[:n] })
	if i < 0 {
		// The text is Postfix's own, odd quotes included.
		return relation{}, "", macroErrorf(`"==" or "!="" or "<"" or "<="" or ">="" or ">" expected at: "...%s}>>>%.20s"`, left, s)
	}
	r, rest := relations[i], s[n:]
	suffix := 0
	for suffix < len(rest) && isAlnum(rest[suffix]) {
		suffix++
	}
	switch rest[:suffix] {
	case "":
	case "level":
		r.level = true
	default:
		return relation{}, "", macroErrorf(`bad operator suffix at: "...%s>>>%s"`, r.name, rest[:suffix])
	}
	return r, rest[suffix:], nil
}

// compare expands both operands and compares them: as levels, as numbers if
// both are all digits, else as bytes.
func (e *expander) compare(left string, op relation, right string) (bool, error) {
	l, err := e.operand(left)
	if err != nil {
		return false, err
	}
	r, err := e.operand(right)
	if err != nil || e.scan {
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

// operand expands a text that does not go to the output. Its depth counts anew, in
// Postfix without any bound.
func (e *expander) operand(s string) (string, error) {
	if e.inside++; e.inside > maxNesting {
		return "", errNesting(s)
	}
	start, depth := len(e.out), e.depth
	e.depth = 0
	err := e.text(s)
	text := string(e.out[start:])
	e.out, e.depth, e.inside = e.out[:start], depth, e.inside-1
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
	rest := s
	for i := range 3 {
		n := int64(0)
		if i == 0 || rest != "" {
			rest = strings.TrimPrefix(rest, ".")
			var ok bool
			if n, rest, ok = levelNumber(rest, i); !ok {
				return 0, fmt.Errorf("%w: \"%s\"", errLevel, s)
			}
		}
		l = l<<10 | level(n)
	}
	if rest != "" {
		return 0, fmt.Errorf("%w: \"%s\"", errLevel, s)
	}
	return l, nil
}

// levelNumber reads one number of a level as strtol(3) does, with white space and a
// sign in front.
func levelNumber(s string, i int) (n int64, rest string, ok bool) {
	s = strings.TrimLeft(s, spaces)
	end := len(s) - len(strings.TrimLeft(strings.TrimLeft(s, "+-"), "0123456789"))
	n, err := strconv.ParseInt(s[:end], 10, 64)
	limit := int64(1023)
	if i == 0 {
		limit = math.MaxInt64 >> 20
	}
	rest = s[end:]
	return n, rest, err == nil && n >= 0 && n <= limit && (rest == "" || rest[0] == '.' && i < 2)
}

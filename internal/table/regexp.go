package table

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// matchTimeout ends a backtracking search that runs away; the rule then does
// not match, as when PCRE reaches its limits.
const matchTimeout = time.Second

// An expression is a compiled pattern. Most patterns run on Go's engine, whose
// time is linear in the text; those with back references or look-around on a
// backtracking one, with a limit.
type expression struct {
	re    *regexp.Regexp
	back  *regexp2.Regexp
	count int // groups
}

// match returns the texts of the groups, or nil. Element 0 is the whole match.
func (e *expression) match(s string) []string {
	wide := bytesAsRunes(s)
	groups := e.groups(wide)
	if len(wide) == len(s) {
		return groups
	}
	for i := range groups {
		groups[i] = runesAsBytes(groups[i])
	}
	return groups
}

// firstByte is the private character that stands for byte 0.
const firstByte = 0xe000

// bytesAsRunes makes each byte that is no ASCII character a character of its own, that has no
// case: the C library and PCRE see bytes, as Postfix uses them.
func bytesAsRunes(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			var b strings.Builder
			for i := range len(s) {
				if c := s[i]; c < utf8.RuneSelf {
					b.WriteByte(c)
				} else {
					b.WriteRune(firstByte + rune(c))
				}
			}
			return b.String()
		}
	}
	return s
}

// runesAsBytes undoes bytesAsRunes.
func runesAsBytes(s string) string {
	b := make([]byte, 0, len(s))
	for _, c := range s {
		if c >= firstByte {
			c -= firstByte
		}
		b = append(b, byte(c))
	}
	return string(b)
}

func (e *expression) groups(s string) []string {
	if e.re != nil {
		return e.re.FindStringSubmatch(s)
	}
	m, err := e.back.FindStringMatch(s)
	if err != nil || m == nil {
		return nil
	}
	groups := m.Groups()
	texts := make([]string, len(groups))
	for i := range groups {
		texts[i] = groups[i].String()
	}
	return texts
}

// expressionTable is a regexp or pcre table.
type expressionTable struct{ rules []rule[*expression] }

func (*expressionTable) pattern() {}

// Lookup implements [Table].
func (t *expressionTable) Lookup(_ context.Context, key string) (string, bool, error) {
	value, found := findExpression(t.rules, key)
	return value, found, nil
}

func findExpression(rules []rule[*expression], key string) (string, bool) {
	for i := range rules {
		r := &rules[i]
		groups := r.match.match(key)
		if (groups != nil) == r.negate {
			continue
		}
		if r.block {
			if value, found := findExpression(r.body, key); found {
				return value, true
			}
			continue
		}
		return r.result.expand(func(n int) string {
			if n < len(groups) {
				return groups[n]
			}
			return ""
		}), true
	}
	return "", false
}

func openRegexp(_, name string, o *Options) (Table, error) {
	return openExpressions("regexp", name, o, compilePOSIX)
}

func openPCRE(_, name string, o *Options) (Table, error) {
	return openExpressions("pcre", name, o, compilePCRE)
}

func openExpressions(typ, name string, o *Options, compile func(pattern, flags string) (*expression, error)) (Table, error) {
	p := ruleParser[*expression]{typ: typ, name: name, o: o}
	p.compile = func(text string) (*expression, string, error) {
		pattern, flags, rest, err := delimited(text)
		if err != nil && typ == "pcre" && strings.HasPrefix(err.Error(), "no closing") {
			err = skipRule(strings.Replace(err.Error(), "skipping", "ignoring", 1))
		}
		if err != nil {
			return nil, "", err
		}
		e, err := compile(bytesAsRunes(pattern), flags)
		return e, rest, err
	}
	p.result = func(l int, e *expression, negate bool, text string) (template, error) {
		if text == "" {
			p.warn(l, "no replacement text: using empty string")
		}
		t, err := expressionResult(e, negate, text, o)
		var bad *badReplacement
		if typ == "regexp" && errors.As(err, &bad) {
			bad.why = strings.Replace(bad.why, "out of range", "out-of-range", 1)
		}
		return t, err
	}
	rules, err := p.parse()
	if err != nil {
		return nil, err
	}
	return &expressionTable{rules}, nil
}

func expressionResult(e *expression, negate bool, text string, o *Options) (template, error) {
	t, highest, err := parseTemplate(text)
	switch {
	case err != nil:
		return nil, err
	case highest > 0 && negate:
		return nil, skipRule("$number found in negative match replacement text: skipping this rule")
	case highest > 0 && o.NoSubstitution:
		return nil, skipRule("regular expression substitution is not allowed: skipping this rule")
	case highest > e.count:
		return nil, skipRule(fmt.Sprintf("out of range replacement index \"%d\": skipping this rule", highest))
	}
	return t, nil
}

// delimited splits "/pattern/flags rest". A backslash protects the delimiter.
func delimited(text string) (pattern, flags, rest string, err error) {
	if text == "" {
		return "", "", "", skipRule("no regexp: skipping this rule")
	}
	delim := text[0]
	if delim|0x20 >= 'a' && delim|0x20 <= 'z' || delim >= '0' && delim <= '9' {
		return "", "", "", skipRule("ignoring unrecognized request")
	}
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case delim:
			pattern = text[1:i]
			flags, rest, _ = strings.Cut(text[i+1:], " ")
			if tab := strings.IndexByte(flags, '\t'); tab >= 0 {
				rest = flags[tab:] + " " + rest
				flags = flags[:tab]
			}
			return pattern, flags, rest, nil
		}
	}
	return "", "", "", skipRule(fmt.Sprintf("no closing regexp delimiter \"%c\": skipping this rule", delim))
}

// toggle reads flags that each turn an option over, from the table of options
// that are on at first.
func toggle(flags string, options map[byte]bool) error {
	for i := range len(flags) {
		on, known := options[flags[i]]
		if !known {
			return skipRule(fmt.Sprintf("unknown regexp option \"%c\": skipping this rule", flags[i]))
		}
		options[flags[i]] = !on
	}
	return nil
}

// compilePOSIX compiles a POSIX regular expression (regex(7)): leftmost-longest.
func compilePOSIX(pattern, flags string) (*expression, error) {
	options := map[byte]bool{'i': true, 'm': false, 'x': true}
	if err := toggle(flags, options); err != nil {
		return nil, err
	}
	if !options['x'] {
		pattern = basicToExtended(pattern)
	}
	if hasBackReference(pattern) {
		return compileBacktracking(pattern, options)
	}
	pattern, err := translatePOSIX(pattern)
	if err != nil {
		return nil, skipRule(err.Error())
	}
	mode := syntax.ClassNL | syntax.DotNL | syntax.OneLine | syntax.PerlX // PerlX for what translatePOSIX writes
	if options['m'] {
		mode = syntax.PerlX
	}
	if options['i'] {
		mode |= syntax.FoldCase
	}
	tree, err := syntax.Parse(pattern, mode)
	if err != nil {
		return nil, skipRule(posixReason(err).Error())
	}
	re, err := regexp.Compile(tree.String())
	if err != nil {
		return nil, skipRule(posixReason(err).Error())
	}
	re.Longest()
	return &expression{re: re, count: re.NumSubexp()}, nil
}

// basicToExtended swaps the meaning of \( \) \{ \} \| \+ \? and their bare forms.
func basicToExtended(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		special := func(c byte) bool { return strings.IndexByte("(){}|+?", c) >= 0 }
		switch {
		case s[i] == '\\' && i+1 < len(s) && special(s[i+1]):
			i++
			b.WriteByte(s[i])
		case s[i] == '\\' && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		case special(s[i]):
			b.WriteByte('\\')
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func hasBackReference(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '\\' {
			if s[i+1] >= '1' && s[i+1] <= '9' {
				return true
			}
			i++
		}
	}
	return false
}

// compilePCRE compiles a Perl-compatible regular expression.
func compilePCRE(pattern, flags string) (*expression, error) {
	options := map[byte]bool{'i': true, 'm': false, 's': true, 'x': false, 'A': false, 'E': false, 'U': false, 'X': false}
	if err := toggle(flags, options); err != nil {
		return nil, err
	}
	if options['A'] {
		pattern = `\A(?:` + pattern + `)`
	}
	prefix := ""
	for _, f := range []byte("imsU") {
		if options[f] {
			prefix += string(f)
		}
	}
	if !options['x'] {
		if prefix != "" {
			prefix = "(?" + prefix + ")"
		}
		if re, err := regexp.Compile(prefix + pattern); err == nil {
			return &expression{re: re, count: re.NumSubexp()}, nil
		}
	}
	if options['U'] {
		return nil, skipRule("regexp option \"U\" is not available with this pattern: skipping this rule")
	}
	return compileBacktracking(pattern, options)
}

func compileBacktracking(pattern string, options map[byte]bool) (*expression, error) {
	flags := regexp2.None
	for f, option := range map[byte]regexp2.RegexOptions{
		'i': regexp2.IgnoreCase, 'm': regexp2.Multiline, 's': regexp2.Singleline,
	} {
		if options[f] {
			flags |= option
		}
	}
	if _, perl := options['A']; perl && options['x'] {
		flags |= regexp2.IgnorePatternWhitespace
	}
	re, err := regexp2.Compile(classes.Replace(possessive(pattern)), flags)
	if err != nil {
		return nil, skipRule("error in regex: " + err.Error() + ": skipping this rule")
	}
	re.MatchTimeout = matchTimeout
	return &expression{back: re, count: len(re.GetGroupNumbers()) - 1}, nil
}

// classes are POSIX's classes of characters, which only brackets of the backtracking engine do not know.
var classes = strings.NewReplacer("[:alpha:]", "a-zA-Z", "[:digit:]", "0-9", "[:alnum:]", "a-zA-Z0-9", "[:upper:]", "A-Z",
	"[:lower:]", "a-z", "[:space:]", `\s`, "[:blank:]", ` \t`, "[:xdigit:]", "0-9a-fA-F", "[:word:]", `\w`,
	"[:punct:]", "!-/:-@\\[-`{-~", "[:cntrl:]", `\x00-\x1f\x7f`, "[:print:]", ` -~`, "[:graph:]", `!-~`)

// possessive writes a++, a*+, a?+ and a{n}+ as (?>a+): the backtracking engine has only the latter.
func possessive(pattern string) string {
	var out []byte
	atom := -1
	var groups []int
	for i := 0; i < len(pattern); {
		n := 1
		switch c := pattern[i]; {
		case c == '\\' && i+1 < len(pattern):
			atom, n = len(out), 2
		case c == '[':
			atom, n = len(out), classLength(pattern[i:])
		case c == '(':
			groups = append(groups, len(out))
		case c == ')' && len(groups) > 0:
			atom, groups = groups[len(groups)-1], groups[:len(groups)-1]
		case strings.IndexByte("*+?{", c) >= 0 && atom >= 0:
			if end := strings.IndexByte(pattern[i:], '}'); c == '{' && end > 0 {
				n = end + 1
			}
			if i+n < len(pattern) && pattern[i+n] == '+' {
				body := string(out[atom:]) + pattern[i:i+n]
				out = append(out[:atom], "(?>"+body+")"...)
				i += n + 1
				continue
			}
		default:
			atom = len(out)
		}
		out = append(out, pattern[i:i+n]...)
		i += n
	}
	return string(out)
}

// classLength is how long the bracket expression at the beginning of s is.
func classLength(s string) int {
	i := 1
	for i < len(s) && (s[i] == '^' || s[i] == ']' && (i == 1 || s[i-1] == '^')) {
		i++
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], "[:"):
			if end := strings.Index(s[i:], ":]"); end > 0 {
				i += end + 1
			}
		case s[i] == ']':
			return i + 1
		}
	}
	return len(s)
}

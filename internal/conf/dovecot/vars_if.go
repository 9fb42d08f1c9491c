package dovecot

import (
	"regexp"
	"strconv"
	"strings"
)

// condition returns the value of %{if;LHS;OP;RHS;THEN;ELSE}.
func (e *varExpander) condition(expr string) string {
	args := splitCondition(expr)[1:]
	if len(args) != 4 && len(args) != 5 {
		e.fail("if: requires four or five parameters, got %d", len(args))
		return ""
	}
	left, right := e.expand(args[0]), e.expand(args[2])
	met, ok := e.compare(left, args[1], right)
	switch {
	case !ok:
		return ""
	case met:
		return e.expand(args[3])
	case len(args) == 5:
		return e.expand(args[4])
	}
	return ""
}

// splitCondition splits at ";" outside nested %{...}; "\;" is a semicolon.
func splitCondition(s string) []string {
	var args []string
	var arg []byte
	depth := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && depth == 0:
			i++
			arg = append(arg, s[i])
			continue
		case c == '{':
			depth++
		case c == '}':
			depth--
		case c == ';' && depth == 0:
			args = append(args, string(arg))
			arg = arg[:0]
			continue
		}
		arg = append(arg, s[i])
	}
	return append(args, string(arg))
}

// compare applies an operator; ok is false after an error.
func (e *varExpander) compare(left, op, right string) (met, ok bool) {
	switch op {
	case "==", "!=", "<", "<=", ">", ">=":
		l, lok := e.operandNumber(left, "lhs")
		r, rok := e.operandNumber(right, "rhs")
		return ordered(map[string]string{"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}[op], l-r), lok && rok
	case "eq", "ne", "lt", "le", "gt", "ge":
		return ordered(op, int64(strings.Compare(left, right))), true
	case "*":
		return wildcard(left, right), true
	case "!*":
		return !wildcard(left, right), true
	case "~", "!~":
		re, err := regexp.CompilePOSIX(right)
		if err != nil {
			e.fail("if: regex failed: %w", err)
			return false, false
		}
		return re.MatchString(left) == (op == "~"), true
	}
	e.fail("if: Unsupported comparator '%s'", op)
	return false, false
}

func (e *varExpander) operandNumber(s, side string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 63)
	if err != nil {
		e.fail("if: %s (%s) is not a number", s, side)
	}
	return n, err == nil
}

func ordered(op string, diff int64) bool {
	switch op {
	case "eq":
		return diff == 0
	case "ne":
		return diff != 0
	case "lt":
		return diff < 0
	case "le":
		return diff <= 0
	case "gt":
		return diff > 0
	}
	return diff >= 0
}

// wildcard matches with * and ?, without ever going back more than one star.
func wildcard(s, pattern string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for i < len(s) {
		switch {
		case j < len(pattern) && pattern[j] == '*':
			star, mark = j, i
			j++
		case j < len(pattern) && (pattern[j] == '?' || pattern[j] == s[i]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = mark, star+1
		default:
			return false
		}
	}
	return strings.Trim(pattern[j:], "*") == ""
}

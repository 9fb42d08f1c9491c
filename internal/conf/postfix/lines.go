package postfix

import (
	"errors"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// spaces is white space in these files.
const spaces = logline.Spaces

// blanks is white space inside expressions and between the fields of master.cf.
const blanks = " \t\r\n"

func isSpace(c byte) bool { return logline.IsSpace(c) }

// SplitNameValue splits "name = value" and trims both.
func SplitNameValue(s string) (name, value string, err error) {
	s = strings.TrimLeft(s, spaces)
	n := strings.IndexAny(s, spaces+"=")
	if n < 0 {
		n = len(s)
	}
	if n == 0 {
		return "", "", errors.New("missing attribute name")
	}
	value, ok := strings.CutPrefix(strings.TrimLeft(s[n:], spaces), "=")
	if !ok {
		return "", "", errors.New("missing '=' after attribute name")
	}
	return s[:n], strings.Trim(value, spaces), nil
}

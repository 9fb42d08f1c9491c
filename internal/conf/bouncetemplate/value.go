package bouncetemplate

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// units are the endings of the names of times.
var units = []struct {
	suffix string
	length time.Duration
}{
	{"seconds", time.Second},
	{"minutes", time.Minute},
	{"hours", time.Hour},
	{"days", 24 * time.Hour},
	{"weeks", 7 * 24 * time.Hour},
}

const (
	day = 24 * time.Hour
	// tooMany is a number that nobody wants to read.
	tooMany = 999
)

// value is what a $name in the text stands for.
func (t *Template) value(m *postfix.Main, name string, warn func(string)) (string, bool, error) {
	for _, param := range []string{"delay_warning_time", "maximal_queue_lifetime"} {
		if suffix, ok := strings.CutPrefix(name, param+"_"); ok {
			value, err := t.time(m, name, param, suffix, warn)
			return value, true, err
		}
	}
	return m.Expand(name)
}

// time converts a time parameter to the unit that the name ends in.
func (t *Template) time(m *postfix.Main, name, param, suffix string, warn func(string)) (string, error) {
	d, err := m.Time(param)
	if err != nil {
		return "", err
	}
	for _, u := range units {
		if u.suffix != suffix {
			continue
		}
		n := int64(d / u.length)
		advise := func(what, change string) {
			warn(fmt.Sprintf("%s: %s %s template conversion of parameter \"%s\"", t.Origin, what, t.Name, name))
			warn(fmt.Sprintf("please %s time unit \"%s\" of \"%s\" in %s template", change, suffix, name, t.Name))
			warn("for instructions see the bounce(5) manual")
		}
		switch {
		case n > tooMany && u.length < day:
			advise(fmt.Sprintf("excessive result \"%d\" in", n), "increase")
		case n == 0 && d > 0 && u.length > time.Second:
			advise("zero result in", "reduce")
		}
		return strconv.FormatInt(n, 10), nil
	}
	return "", fmt.Errorf("%s: unrecognized suffix \"%s\" in parameter \"%s\"", t.Origin, suffix, name)
}

// printable replaces what must not come into a message from a parameter.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return '_'
		}
		return r
	}, s)
}

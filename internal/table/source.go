package table

import (
	"fmt"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// A Record is one entry of a table's source.
type Record struct {
	Key, Value string
	Line       int
}

// ReadSource reads a table's source: lines of a key, white space and a value
// (postmap(1)). What is no record is left out with a warning to warn.
func ReadSource(in io.Reader, name string, warn func(string), fn func(Record) error) error {
	return readSource(in, name, "", warn, fn)
}

// readSource is ReadSource; noValue is what the warning about a line without
// value ends with.
func readSource(in io.Reader, name, noValue string, warn func(string), fn func(Record) error) error {
	lines := logline.NewReader(in, name, warn)
	for {
		text, n, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		key, value, ok := splitRecord(text)
		if !ok {
			warn(fmt.Sprintf("%s, line %d: unbalanced '\"' in '%s' -- ignoring this line", name, n, text))
			continue
		}
		if value == "" {
			warn(fmt.Sprintf("%s, line %d: expected format: key whitespace value%s", name, n, noValue))
			continue
		}
		if strings.HasSuffix(key, ":") {
			warn(fmt.Sprintf("%s, line %d: record is in \"key: value\" format; is this an alias file?", name, n))
		}
		if err := fn(Record{key, value, n}); err != nil {
			return err
		}
	}
}

// splitRecord splits at the first white space outside double quotes, which
// stay part of the key: they protect blanks in the local part of an address.
func splitRecord(line string) (key, value string, ok bool) {
	quoted := false
	i := 0
	for ; i < len(line); i++ {
		c := line[i]
		if c == '\\' && quoted && i+1 < len(line) {
			i++
			continue
		}
		if c == '"' {
			quoted = !quoted
		}
		if !quoted && logline.IsSpace(c) {
			break
		}
	}
	if quoted {
		return "", "", false
	}
	return line[:i], strings.Trim(line[i:], logline.Spaces), true
}

func openTexthash(_, name string, o *Options) (Table, error) {
	f, err := o.open(name)
	if err != nil {
		return nil, openError("database ", name, err)
	}
	defer f.Close()
	t := newFixed(o)
	warn := func(text string) { o.warnf("%s", text) }
	err = readSource(f, name, " -- ignoring this line", warn, func(r Record) error {
		if !t.add(r.Key, r.Value) {
			o.warnf("%s, line %d: duplicate entry: %q", name, r.Line, o.fold(r.Key))
		}
		return nil
	})
	if err != nil {
		return nil, openError("", name, err)
	}
	return t, nil
}

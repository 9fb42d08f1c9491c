package table

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// A Record is one entry of a table's source.
type Record struct {
	Key, Value string
	Line       int
}

// SourceOptions say how the source of a table is read.
type SourceOptions struct {
	UTF8  bool         // leave out lines that are no UTF-8
	Files bool         // values are names of files, whose content counts (-F)
	Warn  func(string) // hears what is wrong with lines
	// noValue is what the warning about a line without value ends with.
	noValue string
}

// ReadSource reads a table's source: lines of a key, white space and a value
// (postmap(1)). What is no record is left out with a warning.
func ReadSource(in io.Reader, name string, o SourceOptions, fn func(Record) error) error {
	lines := logline.NewReader(in, name, o.Warn)
	for {
		text, n, err := lines.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if o.UTF8 && !utf8.ValidString(text) {
			o.Warn(fmt.Sprintf("%s, line %d: non-UTF-8 input \"%s\" -- ignoring this line", name, n, Printable(text)))
			continue
		}
		r, complaint, err := parseRecord(text)
		r.Line = n
		switch {
		case errors.Is(err, errNoValue):
			o.Warn(fmt.Sprintf("%s, line %d: %v%s", name, n, err, o.noValue))
			continue
		case err != nil:
			o.Warn(fmt.Sprintf("%s, line %d: %v", name, n, err))
			continue
		case complaint != "":
			o.Warn(fmt.Sprintf("%s, line %d: %s", name, n, complaint))
		}
		if o.Files {
			if r.Value, err = fileValue(r.Value); err != nil {
				o.Warn(fmt.Sprintf("%s, line %d: %v: skipping this entry", name, n, err))
				continue
			}
		}
		if err := fn(r); err != nil {
			return err
		}
	}
}

// errNoValue is a line of one word.
var errNoValue = errors.New("expected format: key whitespace value")

// parseRecord parses a line. A complaint is about one that counts nevertheless.
func parseRecord(text string) (r Record, complaint string, err error) {
	key, value, ok := splitRecord(text)
	switch {
	case !ok:
		return r, "", fmt.Errorf("unbalanced '\"' in '%s' -- ignoring this line", Printable(text))
	case key == "" || value == "":
		return r, "", errNoValue
	case strings.HasSuffix(key, ":"):
		complaint = "record is in \"key: value\" format; is this an alias file?"
	}
	return Record{Key: key, Value: value}, complaint, nil
}

// maxFileValue bounds the files of one value.
const maxFileValue = 16 << 20

// fileValue returns the content of the files that a value names, for storing it in one line.
func fileValue(names string) (string, error) {
	list := strings.FieldsFunc(names, func(c rune) bool { return c == ',' || strings.ContainsRune(logline.Spaces, c) })
	if len(list) == 0 {
		return "", fmt.Errorf("empty pathname list: >>%s<<'", names)
	}
	var content []byte
	for i, name := range list {
		if i > 0 {
			content = append(content, '\n')
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return "", openError("", name, err)
		}
		if content = append(content, b...); len(content) > maxFileValue {
			return "", fmt.Errorf("file too large: %s", names)
		}
	}
	return base64.StdEncoding.EncodeToString(content), nil
}

// Printable makes text fit for a log line: what is no ASCII character becomes "?".
func Printable(text string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, text)
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
	source := SourceOptions{UTF8: o.UTF8, Files: o.Files, Warn: func(text string) { o.warnf("%s", text) }, noValue: " -- ignoring this line"}
	err = ReadSource(f, name, source, func(r Record) error {
		if !t.add(r.Key, r.Value) {
			o.warnf("%s, line %d: duplicate entry: %q", name, r.Line, r.Key)
		}
		return nil
	})
	if err != nil {
		return nil, openError("", name, err)
	}
	return t, nil
}

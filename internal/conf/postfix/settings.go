package postfix

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// A Setting is one name = value of a file.
type Setting struct {
	Name, Value string
	Line        int
}

// An entry is the value of one name.
type entry struct {
	value string
	line  int
}

// maxConfig bounds the names and values of one file, in bytes.
const maxConfig = 64 << 20

// ReadSettings reads the client configuration of a lookup table (ldap_table(5) and
// the like), which has the form of main.cf. Of several entries of a name the last
// counts; warn is told of those that differ.
func ReadSettings(r io.Reader, path string, warn func(text string)) ([]Setting, error) {
	values, err := readSettings(r, path, map[string]entry{}, warn)
	return sortSettings(values), err
}

func sortSettings(values map[string]entry) []Setting {
	all := make([]Setting, 0, len(values))
	for name, e := range values {
		all = append(all, Setting{name, e.value, e.line})
	}
	slices.SortFunc(all, func(a, b Setting) int { return a.Line - b.Line })
	return all
}

// readFile adds the settings of a file to values.
func readFile(path string, values map[string]entry, warn func(string)) (map[string]entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return values, fmt.Errorf("open %s: %s", path, errnoText(err))
	}
	defer f.Close()
	return readSettings(f, path, values, warn)
}

func readSettings(r io.Reader, path string, values map[string]entry, warn func(string)) (map[string]entry, error) {
	lines := logline.NewReader(r, path, warn)
	size := 0
	for {
		text, num, err := lines.Next()
		if err == io.EOF {
			return values, nil
		}
		if errors.Is(err, logline.ErrTooLong) {
			return values, fmt.Errorf("%s, line %d: %w", path, num, err)
		}
		if err != nil {
			return values, fmt.Errorf("read %s: %s", path, errnoText(err))
		}
		if size += len(text); size > maxConfig {
			return values, fmt.Errorf("%s, line %d: the file is too large", path, num)
		}
		name, value, err := SplitNameValue(text)
		if err != nil {
			return values, fmt.Errorf("%s, line %d: %w: \"%s\"", path, num, err, text)
		}
		if old, ok := values[name]; ok && old.value != value {
			warn(fmt.Sprintf("%s, line %d: overriding earlier entry: %s=%s", path, num, name, old.value))
		}
		values[name] = entry{value, num}
	}
}

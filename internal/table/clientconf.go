package table

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
)

// A client is the configuration of a table that a server answers: a file of name = value
// lines, or parameters PREFIX_name of main.cf. The first mistake that a getter meets
// stays in err.
type client struct {
	where string // "FILE: ", in front of messages
	names string // "PREFIX_", in front of names in them
	value func(key string) (value string, set bool, err error)
	err   error
}

// openClient reads the configuration that name stands for: a file if it begins with a slash
// or dot.
func openClient(name string, o *Options) (*client, error) {
	if !strings.HasPrefix(name, "/") && !strings.HasPrefix(name, ".") {
		if o.Main == nil {
			return nil, fmt.Errorf("open %s: the configuration in main.cf cannot be reached from here; use the name of a file", name)
		}
		return &client{names: name + "_", value: func(key string) (string, bool, error) {
			if !o.Main.IsSet(name + "_" + key) {
				return "", false, nil
			}
			return o.Main.Expand(name + "_" + key)
		}}, nil
	}
	f, err := o.open(name)
	if err != nil {
		return nil, openError("", name, err)
	}
	defer f.Close()
	values, err := readClient(f, name, func(text string) { o.warnf("%s", text) })
	if err != nil {
		return nil, err
	}
	return &client{where: name + ": ", value: func(key string) (string, bool, error) {
		value, set := values[key]
		return value, set, nil
	}}, nil
}

// readClient reads the lines of a file. The last one of a name counts.
func readClient(in io.Reader, name string, warn func(string)) (map[string]string, error) {
	values := make(map[string]string)
	lines := logline.NewReader(in, name, warn)
	for {
		text, n, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return values, nil
		}
		if err != nil {
			return nil, openError("", name, err)
		}
		key, value, ok := strings.Cut(text, "=")
		key = strings.Trim(key, logline.Spaces)
		switch {
		case !ok:
			return nil, fmt.Errorf("%s, line %d: missing '=' after attribute name: \"%s\"", name, n, text)
		case key == "":
			return nil, fmt.Errorf("%s, line %d: missing attribute name: \"%s\"", name, n, text)
		}
		if earlier, twice := values[key]; twice {
			warn(fmt.Sprintf("%s, line %d: overriding earlier entry: %s=%s", name, n, key, earlier))
		}
		values[key] = strings.Trim(value, logline.Spaces)
	}
}

func (c *client) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *client) get(key string) (string, bool) {
	value, set, err := c.value(key)
	if err != nil {
		c.fail(err)
	}
	return value, set && err == nil
}

// str is a text.
func (c *client) str(key, otherwise string) string {
	if value, set := c.get(key); set {
		return value
	}
	return otherwise
}

// required is a text that may not be empty.
func (c *client) required(key string) string {
	value, _ := c.get(key)
	if value == "" {
		c.fail(fmt.Errorf("%sbad string length 0 < 1: %s%s = ", c.where, c.names, key))
	}
	return value
}

// num is a number without unit.
func (c *client) num(key string, otherwise, least int) int {
	value, set := c.get(key)
	if !set {
		return otherwise
	}
	n, err := strconv.ParseInt(value, 10, 32)
	switch {
	case err != nil:
		c.fail(fmt.Errorf("%sbad numerical configuration: %s%s = %s", c.where, c.names, key, value))
	case int(n) < least:
		c.fail(fmt.Errorf("%sinvalid %s%s parameter value %d < %d", c.where, c.names, key, n, least))
	}
	return int(n)
}

// yes is a boolean.
func (c *client) yes(key string, otherwise bool) bool {
	value, set := c.get(key)
	switch {
	case !set:
		return otherwise
	case strings.EqualFold(value, "yes"):
		return true
	case !strings.EqualFold(value, "no"):
		c.fail(fmt.Errorf("%sbad boolean configuration: %s%s = %s", c.where, c.names, key, value))
	}
	return false
}

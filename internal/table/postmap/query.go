package postmap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/table"
)

// queryAll looks the key up in each table until one has it. "-" reads keys, or a
// message whose parts are keys, from standard input.
func (c *command) queryAll(specs []string) (int, error) {
	q := &querier{c: c, specs: specs, tables: make([]table.Table, len(specs))}
	defer q.close()
	if *c.query != "-" {
		value, found, err := q.lookup(*c.query)
		if err != nil || !found {
			return 1, err
		}
		_, err = fmt.Fprintln(c.stdout, value)
		return 0, err
	}
	q.out = bufio.NewWriter(c.stdout)
	var err error
	if c.keys.headers || c.keys.body {
		err = messageKeys(c.stdin, c.keys, q.print)
	} else {
		err = eachLine(c.stdin, q.print)
	}
	if err != nil || !q.found {
		return 1, err // what was found before an error is not shown, as in the original
	}
	return 0, q.out.Flush()
}

// eachLine calls fn with each line of in.
func eachLine(in io.Reader, fn func(line string) error) error {
	r := bufio.NewReader(in)
	for {
		line, err := r.ReadString('\n')
		if line != "" {
			if err := fn(strings.TrimSuffix(line, "\n")); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A querier asks tables, which it opens when they are needed.
type querier struct {
	c      *command
	specs  []string
	tables []table.Table
	out    *bufio.Writer
	found  bool
}

func (q *querier) close() {
	for _, t := range q.tables {
		if t != nil {
			table.Close(t)
		}
	}
}

// print looks a key of many up.
func (q *querier) print(key string) error {
	value, found, err := q.lookup(key)
	if err != nil || !found {
		return err
	}
	q.found = true
	return q.c.show(q.out, key, value)
}

func (q *querier) lookup(key string) (string, bool, error) {
	for i, spec := range q.specs {
		if q.tables[i] == nil {
			t, err := q.c.open(spec)
			if err != nil {
				return "", false, err
			}
			q.tables[i] = t
		}
		value, found, err := q.tables[i].Lookup(context.Background(), key)
		switch {
		case errors.Is(err, table.ErrContent):
			return "", false, fmt.Errorf("table %s: query error", table.Name(spec))
		case err != nil:
			return "", false, fmt.Errorf("table %s: query error: %w", table.Name(spec), err)
		case found && value == "":
			q.c.warnEmpty(spec, key)
		}
		if found {
			return value, true, nil
		}
	}
	return "", false, nil
}

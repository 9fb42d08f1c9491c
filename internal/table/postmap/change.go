package postmap

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/table"
)

// deleteAll removes a key, or those on standard input, from each table.
func (c *command) deleteAll(specs []string) (int, error) {
	keys := []string{*c.remove}
	if *c.remove == "-" {
		keys = nil
		if err := eachLine(c.stdin, func(key string) error { keys = append(keys, key); return nil }); err != nil {
			return 1, err
		}
	}
	status := 1
	for _, spec := range specs {
		found, err := c.delete(spec, keys)
		if err != nil {
			return 1, err
		}
		if found {
			status = 0
		}
	}
	return status, nil
}

// A deleter is a table from which records can be removed one by one.
type deleter interface {
	Delete(key string) (bool, error)
}

func (c *command) delete(spec string, keys []string) (found bool, err error) {
	typ, name, ok := strings.Cut(spec, ":")
	if !ok || typ == "" || name == "" || table.Buildable(typ) != nil && typ != "proxy" {
		return c.deleteFrom(spec, keys)
	}
	o := c.build
	o.Keep, o.MustExist = true, typ != "lmdb" // as the original's library
	b, err := table.NewBuilder(spec, o)
	if err != nil {
		return false, err
	}
	for _, key := range keys {
		found = b.Delete(key) || found
	}
	if !found {
		b.Abort()
		return false, nil
	}
	return true, b.Commit()
}

// deleteFrom deletes from a table that has no file.
func (c *command) deleteFrom(spec string, keys []string) (found bool, err error) {
	if err := table.CanDelete(spec); err != nil {
		return false, err
	}
	t, err := c.open(spec)
	if err != nil {
		return false, err
	}
	defer table.Close(t)
	d, ok := table.Inner(t).(deleter)
	if !ok {
		return false, nil // an empty table of this process
	}
	for _, key := range keys {
		gone, err := d.Delete(key)
		if err != nil {
			return false, fmt.Errorf("table %s: delete error: %w", table.Name(spec), err)
		}
		found = found || gone
	}
	return found, nil
}

// make builds the database of a source file, or adds standard input to it.
func (c *command) make(spec string) error {
	typ, name, ok := strings.Cut(spec, ":")
	if typ == "proxy" && !c.add {
		return errors.New("can't create maps via the proxy service")
	}
	in, source, err := c.openSource(name)
	if err != nil {
		return err
	}
	if f, ok := in.(*os.File); ok && !c.add {
		defer f.Close()
	}
	if !ok || typ == "" {
		return fmt.Errorf("open dictionary: expecting \"type:name\" form instead of %q", spec)
	}
	if typ != "proxy" {
		if err := table.Buildable(typ); err != nil {
			return err
		}
	}
	o := c.build
	c.copyPermissions(in, &o)
	b, err := table.NewBuilder(spec, o)
	if err != nil {
		return err
	}
	err = c.Read(in, source, c.source, func(r table.Record) error {
		b.Add(r.Key, r.Value)
		return nil
	})
	if err == nil && c.Finish != nil {
		err = c.Finish(b, c.main)
	}
	if err != nil {
		b.Abort()
		return err
	}
	return b.Commit()
}

// openSource opens what the table is made of, and tells its name.
func (c *command) openSource(name string) (io.Reader, string, error) {
	if c.add {
		return c.stdin, "stdin", nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %s", name, table.Reason(err))
	}
	return f, name, nil
}

// copyPermissions has a new database give nobody more rights than the source, and belong to
// the source's owner.
func (c *command) copyPermissions(in io.Reader, o *table.BuildOptions) {
	o.Mode, o.UID, o.GID = 0o644, -1, -1
	f, ok := in.(*os.File)
	if !ok {
		return
	}
	info, err := f.Stat()
	if err != nil {
		return
	}
	if !c.noMode && info.Mode().IsRegular() {
		o.Mode = 0o600 | info.Mode()&fs.ModePerm&0o044
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && !c.noOwn {
		o.UID, o.GID = int(st.Uid), int(st.Gid)
	}
}

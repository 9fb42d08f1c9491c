package table

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// memcacheTable is memcache_table(5): a cache in front of another table, or alone.
type memcacheTable struct {
	querier
	connection
	backup    Table
	keyFormat string
	ttl       int
	flags     int
	attempts  int
	pause     time.Duration
	lineLimit int
	dataLimit int
}

func openMemcache(_, name string, o *Options) (Table, error) {
	c, err := openClient(name, o)
	if err != nil {
		return nil, err
	}
	t := &memcacheTable{querier: querier{typ: "memcache", name: name, o: o}}
	t.keyFormat = c.str("key_format", "%s")
	t.ttl = c.num("ttl", 3600, 0)
	t.flags = c.num("flags", 0, 0)
	t.timeout = time.Duration(c.num("timeout", 2, 1)) * time.Second
	t.attempts = c.num("max_try", 2, 1)
	t.pause = time.Duration(c.num("retry_pause", 1, 1)) * time.Second
	t.lineLimit = c.num("line_size_limit", 1024, 1)
	t.dataLimit = c.num("data_size_limit", 10240, 1)
	if t.network, t.address, err = splitEndpoint(c.str("memcache", "inet:localhost:11211")); err != nil {
		return nil, fmt.Errorf("memcache:%s: %w", name, err)
	}
	if t.network == "tcp" && !strings.Contains(t.address, ":") {
		t.address = net.JoinHostPort(t.address, "11211")
	}
	if _, err := t.parse(t.keyFormat, true); err != nil {
		return nil, err
	}
	if err := t.parseDomains(c.str("domain", "")); err != nil {
		return nil, err
	}
	if backup := c.str("backup", ""); backup != "" {
		if t.backup, err = Open(backup, *o); err != nil {
			return nil, err
		}
	}
	return t, c.err
}

// key makes the server's key of a lookup key.
func (t *memcacheTable) key(ctx context.Context, key string) (string, bool, error) {
	if wanted, err := t.wanted(ctx, key); err != nil || !wanted {
		return "", false, err
	}
	k := expand(t.keyFormat, key, func(s string) string { return s })
	return k, k != "" && !strings.ContainsAny(k, " \t\n\v\f\r"), nil
}

// Lookup implements [Table]. What the cache does not have, or cannot tell, the backup
// table is asked for; what that has is cached.
func (t *memcacheTable) Lookup(ctx context.Context, key string) (value string, found bool, err error) {
	key = t.o.fold(key)
	k, ok, err := t.key(ctx, key)
	if err != nil || !ok {
		return "", false, err
	}
	err = t.request(ctx, func(in *bufio.Reader, out io.Writer) error {
		value, found, err = t.get(in, out, k)
		return err
	})
	if t.backup == nil || found && err == nil {
		return value, found && err == nil, err
	}
	value, found, err = t.backup.Lookup(ctx, key)
	if err == nil && found && len(value) <= t.dataLimit {
		// A cache that cannot be filled fails nobody's lookup; it was warned about.
		t.request(ctx, func(in *bufio.Reader, out io.Writer) error { //nolint:errcheck
			if _, err := fmt.Fprintf(out, "set %s %d %d %d\r\n%s\r\n", k, t.flags, t.ttl, len(value), value); err != nil {
				return err
			}
			_, err := t.expect(in, "STORED")
			return err
		})
	}
	return value, found, err
}

// Delete removes a key from the cache and from the backup table.
func (t *memcacheTable) Delete(key string) (gone bool, err error) {
	ctx := context.Background()
	key = t.o.fold(key)
	k, ok, err := t.key(ctx, key)
	if err != nil || !ok {
		return false, err
	}
	err = t.request(ctx, func(in *bufio.Reader, out io.Writer) error {
		if _, err := fmt.Fprintf(out, "delete %s\r\n", k); err != nil {
			return err
		}
		line, err := t.expect(in, "DELETED", "NOT_FOUND")
		gone = line == "DELETED"
		return err
	})
	if d, ok := t.backup.(interface{ Delete(string) (bool, error) }); ok {
		return d.Delete(key)
	}
	return gone, err
}

// Walk implements [Walker]: a cache cannot be listed, the backup table may.
func (t *memcacheTable) Walk(fn func(key, value string) error) error {
	if t.backup == nil {
		t.o.warnf("database memcache:%s: first/next support requires backup database", t.name)
		return nil
	}
	return Walk(t.backup, fn)
}

// request makes a request, again if there is trouble with the connection.
func (t *memcacheTable) request(ctx context.Context, fn func(in *bufio.Reader, out io.Writer) error) error {
	for try := 1; ; try++ {
		err := t.do(ctx, fn)
		if err == nil {
			return nil
		}
		var connect *connectError
		if errors.As(err, &connect) {
			t.o.warnf("connect to %s: %v", t.address, connect)
		} else {
			t.o.warnf("database memcache:%s: %s: %s", t.name, t.address, netReason(err))
		}
		if try >= t.attempts || ctx.Err() != nil {
			return fmt.Errorf("memcache:%s: %w", t.name, err)
		}
		select {
		case <-time.After(t.pause):
		case <-ctx.Done():
		}
	}
}

// expect reads a line that has to be one of words.
func (t *memcacheTable) expect(in *bufio.Reader, words ...string) (string, error) {
	line, err := readLine(in, t.lineLimit)
	if err != nil {
		return "", err
	}
	line = strings.TrimSuffix(line, "\r")
	for _, w := range words {
		if line == w {
			return line, nil
		}
	}
	return "", fmt.Errorf("unexpected answer %.100s", Printable(line))
}

// get asks for a value: "VALUE key flags length", the data, and "END".
func (t *memcacheTable) get(in *bufio.Reader, out io.Writer, key string) (string, bool, error) {
	if _, err := fmt.Fprintf(out, "get %s\r\n", key); err != nil {
		return "", false, err
	}
	line, err := readLine(in, t.lineLimit)
	if err != nil {
		return "", false, err
	}
	fields := strings.Fields(line)
	if len(fields) == 1 && fields[0] == "END" {
		return "", false, nil
	}
	if len(fields) != 4 || fields[0] != "VALUE" {
		return "", false, fmt.Errorf("unexpected answer %.100s", Printable(line))
	}
	n, err := strconv.ParseUint(fields[3], 10, 31)
	if err != nil || int(n) > t.dataLimit {
		return "", false, fmt.Errorf("value of %s bytes, data_size_limit is %d", Printable(fields[3]), t.dataLimit)
	}
	data := make([]byte, n+2)
	if _, err := io.ReadFull(in, data); err != nil {
		return "", false, err
	}
	if _, err := t.expect(in, "END"); err != nil {
		return "", false, err
	}
	return string(data[:n]), true, nil
}

// Close implements [Closer].
func (t *memcacheTable) Close() error {
	if t.backup != nil {
		Close(t.backup)
	}
	return t.connection.Close()
}

package dict

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A redisDict is the driver redis: keys are those of a Redis server, private ones
// with USER/ in front.
type redisDict struct {
	network, address string
	prefix           string
	password         string
	db               uint64
	expire           string // seconds; empty for never
	timeout          time.Duration

	mu     sync.Mutex
	idle   []*respConn
	closed bool
}

// maxIdleRedis is how many connections are kept.
const maxIdleRedis = 8

func openRedis(_ *Env, params string) (Dict, error) {
	d := &redisDict{network: "tcp", timeout: 30 * time.Second}
	host, port := "127.0.0.1", "6379"
	for param := range strings.SplitSeq(params, ":") {
		name, value, _ := strings.Cut(param, "=")
		var err error
		switch name {
		case "path":
			d.network, d.address = "unix", value
		case "host":
			if _, err = netip.ParseAddr(value); err != nil {
				return nil, fmt.Errorf("Invalid IP: %s", value)
			}
			host = value
		case "port":
			if n, err := strconv.ParseUint(value, 10, 16); err != nil || n == 0 {
				return nil, fmt.Errorf("Invalid port: %s", value)
			}
			port = value
		case "prefix":
			d.prefix = value
		case "db":
			if d.db, err = strconv.ParseUint(value, 10, 32); err != nil {
				return nil, fmt.Errorf("Invalid db number: %s", value)
			}
		case "expire_secs":
			if n, err := strconv.ParseUint(value, 10, 32); err != nil || n == 0 {
				return nil, fmt.Errorf("Invalid expire_secs: %s", value)
			}
			d.expire = value
		case "timeout_msecs":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("Invalid timeout_msecs: %s", value)
			}
			d.timeout = time.Duration(n) * time.Millisecond
		case "password":
			d.password = value
		default:
			return nil, fmt.Errorf("Unknown parameter: %s", param)
		}
	}
	if d.network == "tcp" {
		d.address = net.JoinHostPort(host, port)
	}
	return d, nil
}

// Close implements [Dict].
func (d *redisDict) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.idle {
		c.conn.Close()
	}
	d.idle, d.closed = nil, true
	return nil
}

// fullKey returns what the server calls a key.
func (d *redisDict) fullKey(user User, key string) string {
	if shared, ok := strings.CutPrefix(key, Shared); ok {
		return d.prefix + shared
	}
	name := user.Name
	if strings.Contains(name, "/") {
		name = redisEscaper.Replace(name)
	}
	return d.prefix + name + "/" + strings.TrimPrefix(key, Private)
}

var redisEscaper = strings.NewReplacer("/", `\-`, `\`, `\\`)

// Lookup implements [Dict].
func (d *redisDict) Lookup(ctx context.Context, user User, key string) (string, error) {
	var value string
	err := d.with(ctx, func(c *respConn) error {
		replies, err := c.do([]string{"GET", d.fullKey(user, key)})
		if err != nil {
			return err
		}
		switch r := &replies[0]; r.kind {
		case respBulk:
			value = r.text
			return nil
		case respNull:
			return ErrNotFound
		default:
			return r.unexpected()
		}
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("redis: %w", err)
	}
	return value, err
}

// Commit implements [Committer], with MULTI and EXEC. As in Dovecot, a key to be
// increased that does not exist is made.
func (d *redisDict) Commit(ctx context.Context, user User, changes []Change) error {
	commands := [][]string{{"MULTI"}}
	for i := range changes {
		c := &changes[i]
		key := d.fullKey(user, c.Key)
		switch c.Kind {
		case Set:
			commands = append(commands, []string{"SET", key, c.Value})
		case Unset:
			commands = append(commands, []string{"DEL", key})
			continue
		case AtomicInc:
			commands = append(commands, []string{"INCRBY", key, strconv.FormatInt(c.Diff, 10)})
		}
		if d.expire != "" {
			commands = append(commands, []string{"EXPIRE", key, d.expire})
		}
	}
	commands = append(commands, []string{"EXEC"})
	err := d.with(ctx, func(c *respConn) error {
		replies, err := c.do(commands...)
		if err != nil {
			return err
		}
		last := len(replies) - 1
		for i := range replies[:last] {
			if replies[i].kind != respSimple {
				return replies[i].unexpected()
			}
		}
		result := &replies[last]
		if result.kind != respArray || len(result.array) != len(commands)-2 {
			return result.unexpected()
		}
		for i := range result.array {
			if r := &result.array[i]; r.kind != respSimple && r.kind != respInteger {
				return r.unexpected()
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	return nil
}

// with lends a connection. After any error but ErrNotFound it is not used again.
func (d *redisDict) with(ctx context.Context, use func(*respConn) error) error {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	c, err := d.take(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { c.conn.SetDeadline(time.Unix(1, 0)) })
	err = use(c)
	inTime := stop()
	done := err == nil || errors.Is(err, ErrNotFound)
	if inTime && done {
		d.put(c)
		return err
	}
	c.conn.Close()
	if !inTime && !done {
		return fmt.Errorf("no answer from %s: %w", d.address, ctx.Err())
	}
	return err
}

// take returns a connection: one that lay idle and that the server has not closed, or a
// new one.
func (d *redisDict) take(ctx context.Context) (*respConn, error) {
	for {
		c, err := d.takeIdle()
		switch {
		case err != nil:
			return nil, err
		case c == nil:
			return d.connect(ctx)
		case c.isQuiet():
			return c, nil
		}
		c.conn.Close()
	}
}

// takeIdle returns nil if there is none.
func (d *redisDict) takeIdle() (*respConn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := len(d.idle)
	switch {
	case d.closed:
		return nil, net.ErrClosed
	case n == 0:
		return nil, nil
	}
	c := d.idle[n-1]
	d.idle = d.idle[:n-1]
	return c, nil
}

func (d *redisDict) put(c *respConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.idle) >= maxIdleRedis {
		c.conn.Close()
		return
	}
	d.idle = append(d.idle, c)
}

// connect makes a connection that is ready for commands.
func (d *redisDict) connect(ctx context.Context) (*respConn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, d.network, d.address)
	if err != nil {
		return nil, fmt.Errorf("connect() failed: %w", err)
	}
	c := newRESPConn(conn)
	var greeting [][]string
	if d.password != "" {
		greeting = append(greeting, []string{"AUTH", d.password})
	}
	if d.db != 0 {
		greeting = append(greeting, []string{"SELECT", strconv.FormatUint(d.db, 10)})
	}
	if len(greeting) == 0 {
		return c, nil
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	replies, err := c.do(greeting...)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	for i := range replies {
		if replies[i].kind != respSimple {
			err = replies[i].unexpected()
			break
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

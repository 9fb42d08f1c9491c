package main

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// fastLogins is the high-performance mode of Dovecot's documentation: login
// processes serve many clients. By default each serves one.
const fastLogins = `
service imap-login {
  service_count = 0
  process_min_avail = 2
}
`

// reusedSessions makes imap processes serve one client after the other, which
// the documentation does not advise where users have uids of their own.
const reusedSessions = `
service imap {
  service_count = 1000
}
`

// logins measures how many times per second a client can connect, log in, log
// out and see the connection closed.
func logins(e *env, p harness.Program) []float64 {
	return e.loginRate(p, fastLogins)
}

// loginsReused is logins against the fastest configuration of Dovecot.
func loginsReused(e *env, p harness.Program) []float64 {
	return e.loginRate(p, fastLogins+reusedSessions)
}

func (e *env) loginRate(p harness.Program, config string) []float64 {
	mb := e.mailboxes(p, users, config)
	return e.logInto(mb.IMAP, connections)
}

// logInto measures logins, several at a time.
func (e *env) logInto(addr string, atOnce int) []float64 {
	e.logins(addr, atOnce, warmUp)
	begin := time.Now()
	n := e.logins(addr, atOnce, e.duration)
	return []float64{float64(n) / time.Since(begin).Seconds()}
}

// logins logs users in and out for a while, and returns how often.
func (e *env) logins(addr string, atOnce int, d time.Duration) int64 {
	deadline := time.Now().Add(d)
	var n atomic.Int64
	work := newGroup(e.ctx)
	for i := range atOnce {
		work.run(func() error {
			for user := i; time.Now().Before(deadline) && !work.over(); user = (user + atOnce) % users {
				if err := logInAndOut(work.ctx, addr, user); err != nil {
					return err
				}
				n.Add(1)
			}
			return nil
		})
	}
	e.check(work.wait())
	return n.Load()
}

func logInAndOut(ctx context.Context, addr string, user int) error {
	c, err := login(ctx, addr, user)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.command("b", "LOGOUT")
}

// login connects and logs in.
func login(ctx context.Context, addr string, user int) (*client, error) {
	c, err := dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	if err := c.until("* OK"); err != nil {
		c.Close()
		return nil, err
	}
	if err := c.command("a", fmt.Sprintf("LOGIN %s %s", harness.User(user), harness.Password)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// command sends a command and reads until its tagged OK.
func (c *client) command(tag, text string) error {
	c.out = fmt.Appendf(c.out[:0], "%s %s\r\n", tag, text)
	if _, err := c.Write(c.out); err != nil {
		return err
	}
	return c.until(tag + " OK")
}

// until reads lines until one begins so. A refusal and a BYE without reason are
// errors.
func (c *client) until(want string) error {
	tag, _, _ := bytes.Cut([]byte(want), []byte(" "))
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("waiting for %q: %w", want, err)
		}
		if bytes.HasPrefix(line, []byte(want)) {
			return nil
		}
		if !bytes.HasPrefix(line, []byte("*")) && bytes.HasPrefix(line, tag) {
			return fmt.Errorf("the server says %q, want %q", line, want)
		}
	}
}

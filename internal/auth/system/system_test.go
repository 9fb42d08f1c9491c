package system

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a machine with the users u0 to u999.
var fake = Library{
	Authenticate: func(l *Login) Verdict {
		switch {
		case l.Password == "right\t=\n":
			return Verdict{Code: OK, User: l.User, Message: l.Service + "|" + l.RemoteHost}
		case l.Password == "old":
			return Verdict{Code: Expired, Step: "pam_acct_mgmt()", Text: "too old"}
		case l.User == "slow":
			time.Sleep(50 * time.Millisecond)
		}
		return Verdict{Code: Mismatch, Step: "pam_authenticate()", Text: "no", AuthError: true}
	},
	Lookup: func(name string) (*User, error) {
		switch name {
		case "u1":
			return &User{Name: "u1", Password: "x", UID: 1, GID: 2, Home: "/home/u\t1", Shell: "/bin/sh"}, nil
		case "bad":
			return nil, errors.New("no network")
		}
		return nil, nil
	},
	Shadow: func(name string) (string, bool, error) { return "$6$" + name, name == "u1", nil },
	List: func(fn func(*User) error) error {
		for i := range 1000 {
			if err := fn(&User{Name: fmt.Sprintf("u%d", i), UID: uint32(i)}); err != nil {
				return err
			}
		}
		return nil
	},
}

// connect returns a client of fake; stop closes what serves it.
func connect(t *testing.T) (c *Client, stop func()) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			go Serve(conn, conn, fake)
		}
	}()
	c = NewClient(path)
	t.Cleanup(func() { c.Close(); l.Close() })
	return c, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			conn.Close()
		}
		conns = nil
	}
}

func (c *Client) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn != nil
}

func TestQuestions(t *testing.T) {
	c, stop := connect(t)
	ctx := t.Context()
	for password, want := range map[string]Verdict{
		"right\t=\n": {Code: OK, User: "a b", Message: "imap|::1"},
		"old":        {Code: Expired, Step: "pam_acct_mgmt()", Text: "too old"},
		"":           {Code: Mismatch, Step: "pam_authenticate()", Text: "no", AuthError: true},
	} {
		got, err := c.Authenticate(ctx, &Login{Service: "imap", User: "a b", Password: password, RemoteHost: "::1", Session: true, SetCred: true})
		if err != nil || got != want {
			t.Errorf("%q: %+v %v", password, got, err)
		}
	}
	stop() // the next one connects anew
	for c.connected() {
		runtime.Gosched() // until the reader has noticed
	}
	if u, err := c.Lookup(ctx, "u1"); err != nil || *u != (User{"u1", "x", 1, 2, "/home/u\t1", "/bin/sh"}) {
		t.Errorf("%+v %v", u, err)
	}
	if u, err := c.Lookup(ctx, "u2"); u != nil || err != nil {
		t.Errorf("%+v %v", u, err)
	}
	if u, err := c.Lookup(ctx, "bad"); u != nil || err == nil || err.Error() != "no network" {
		t.Errorf("%+v %v", u, err)
	}
	if hash, ok, err := c.Shadow(ctx, "u1"); hash != "$6$u1" || !ok || err != nil {
		t.Error(hash, ok, err)
	}
	if _, ok, err := c.Shadow(ctx, "u2"); ok || err != nil {
		t.Error(ok, err)
	}
	n := 0
	if err := c.List(ctx, func(name string, uid uint32) bool { n++; return n < 900 }); err != nil || n != 900 {
		t.Error(n, err)
	}
}

// Slow answers hold nobody up, and who stops waiting blocks nobody.
func TestAtOnce(t *testing.T) {
	c, _ := connect(t)
	var work sync.WaitGroup
	for i := range 40 {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*5*time.Millisecond)
			defer cancel()
			v, err := c.Authenticate(ctx, &Login{User: "slow"})
			if err == nil && v.Code != Mismatch || err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%+v %v", v, err)
			}
		})
		work.Go(func() {
			if err := c.List(t.Context(), func(string, uint32) bool { return i%2 == 0 }); err != nil {
				t.Error(err)
			}
		})
	}
	work.Wait()
}

// Whatever a broken helper says, only an OK with a user is one.
func FuzzVerdict(f *testing.F) {
	f.Add("OK", "user=x")
	f.Add("FAIL", "code=\tuser=x")
	f.Fuzz(func(t *testing.T, verb, fields string) {
		v := parseVerdict(verb, strings.Split(fields, "\t"))
		if v.Code == OK && (verb != "OK" || v.User == "") {
			t.Errorf("%q %q is a login: %+v", verb, fields, v)
		}
	})
}

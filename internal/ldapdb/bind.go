package ldapdb

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

// idleConns are connections waiting for the next bind.
type idleConns struct {
	mu     sync.Mutex
	list   []*conn
	closed bool
}

// Bind checks a password: ErrMismatch and ErrNoEntry are the directory's word, any
// other error leaves it open. An empty password is a mismatch without asking, since
// a bind without password always succeeds (RFC 4513 5.1.2); so is an empty dn.
func (d *Directory) Bind(ctx context.Context, dn, password string) error {
	if dn == "" || password == "" {
		return ErrMismatch
	}
	for {
		c := d.idle.take()
		fresh := c == nil
		if fresh {
			var err error
			if c, err = d.connect(d.probe); err != nil {
				return err
			}
		}
		stop := context.AfterFunc(ctx, c.abort)
		err := c.Conn.Bind(dn, password)
		if !stop() {
			return fmt.Errorf("ldap_bind() failed: %w", ctx.Err())
		}
		switch {
		case err == nil:
			d.idle.put(c)
			return nil
		case ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials):
			d.idle.put(c)
			return ErrMismatch
		case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject), ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidDNSyntax):
			d.idle.put(c)
			return ErrNoEntry
		}
		c.abort()
		if fresh || !lost(err) || ctx.Err() != nil {
			return fmt.Errorf("ldap_bind() failed: %w", err)
		}
	}
}

// take returns a connection that is likely to work, or nil.
func (l *idleConns) take() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.list) > 0 {
		c := l.list[len(l.list)-1]
		l.list = l.list[:len(l.list)-1]
		if !c.IsClosing() && time.Since(c.used) < idleTime {
			return c
		}
		c.abort()
	}
	return nil
}

func (l *idleConns) put(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.list) >= maxIdle {
		c.abort()
		return
	}
	c.used = time.Now()
	l.list = append(l.list, c)
}

func (l *idleConns) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, c := range l.list {
		c.abort()
	}
	l.list = nil
}

// probe asks a server something that any has an answer to, if there are others: one that
// takes connections and is silent would else have the user's bind wait for as long as a
// request may take, and not be passed over.
func (d *Directory) probe(c *conn) error {
	if len(d.servers) == 1 {
		return nil
	}
	rootDSE := ldap.NewSearchRequest("", ldap.ScopeBaseObject, ldap.NeverDerefAliases, 1, 0, true, "(objectClass=*)", []string{"1.1"}, nil)
	if _, err := c.Search(rootDSE); err != nil && lost(err) {
		return err
	}
	return nil // what a server refuses it has answered
}

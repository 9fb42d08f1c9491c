package ldapdb

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
)

const (
	connectTimeout = 5 * time.Second
	requestTimeout = 60 * time.Second
	idleTime       = 60 * time.Second // after which a connection is not trusted any more
	retryPause     = 1 * time.Second  // between attempts to connect for searches
	maxIdle        = 30               // connections for binds that are kept
)

// What a directory says to a password.
var (
	ErrMismatch = errors.New("invalid credentials")
	ErrNoEntry  = errors.New("no such object")
)

// A Directory is an LDAP directory. Its methods may be called concurrently.
type Directory struct {
	set     *ext.LDAP
	servers []server
	tls     *tls.Config
	deref   int

	mu       sync.Mutex // held while connecting for searches
	searcher *conn
	failed   time.Time // when that did not work
	err      error

	idle idleConns
}

// A conn is a connection and when it was used last.
type conn struct {
	*ldap.Conn
	used time.Time
}

// idleConns are connections waiting for the next bind.
type idleConns struct {
	mu     sync.Mutex
	list   []*conn
	closed bool
}

// Open returns the directory that a file describes. It does not connect.
func Open(set *ext.LDAP) (*Directory, error) {
	d := &Directory{set: set, deref: parseDeref(set.Deref)}
	var err error
	if d.servers, err = servers(set); err != nil {
		return nil, err
	}
	switch {
	case set.Version != 3:
		return nil, fmt.Errorf("ldap_version = %d is not supported by Dovetail: use 3", set.Version)
	case set.SASLBind && !strings.EqualFold(set.SASLMech, "EXTERNAL") && !strings.EqualFold(set.SASLMech, "DIGEST-MD5"):
		return nil, fmt.Errorf("sasl_mech = %s is not supported by Dovetail: use EXTERNAL or DIGEST-MD5, or no sasl_bind", set.SASLMech)
	}
	d.tls, err = newTLS(set)
	return d, err
}

// Close closes the connections. A search that goes on fails.
func (d *Directory) Close() {
	d.mu.Lock()
	if d.searcher != nil {
		d.searcher.Close()
	}
	d.mu.Unlock()
	d.idle.close()
}

// A Query is a search. Base and Filter hold values that are escaped already
// ([Escape]).
type Query struct {
	Base   string
	Scope  Scope
	Filter string
	Attrs  []string // nil for all
	Limit  int      // entries that are of interest; 0 for all
}

// Search calls fn with each entry that is found until it returns false. A base that does not
// exist has no entries; referrals are not followed.
func (d *Directory) Search(ctx context.Context, q *Query, fn func(*ldap.Entry) bool) error {
	for again := range 2 {
		c, fresh, err := d.search()
		if err != nil {
			return err
		}
		begun := false
		err = d.searchOn(ctx, c, q, func(e *ldap.Entry) bool {
			begun = true
			return fn(e)
		})
		switch {
		case err == nil:
			return nil
		case !lost(err):
			return err
		}
		// The server has closed a connection that lay idle: once more on a new one.
		d.drop(c)
		if begun || fresh || again > 0 || ctx.Err() != nil {
			return fmt.Errorf("Connection lost to LDAP server: %w", err)
		}
	}
	return nil
}

func (d *Directory) searchOn(ctx context.Context, c *conn, q *Query, fn func(*ldap.Entry) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := ldap.NewSearchRequest(q.Base, int(q.Scope), d.deref, q.Limit, 0, false, q.Filter, q.Attrs, nil)
	r := c.SearchAsync(ctx, request, 16)
	for r.Next() {
		if e := r.Entry(); e != nil && !fn(e) {
			return nil
		}
	}
	err := r.Err()
	switch {
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) && q.Limit > 0:
		return nil // fn has seen as many as it wanted
	}
	return err
}

// lost reports whether an error is about the connection, not the request.
func lost(err error) bool {
	return ldap.IsErrorAnyOf(err, ldap.ErrorNetwork, ldap.LDAPResultUnavailable, ldap.LDAPResultBusy, ldap.LDAPResultTimeout) || !isLDAP(err)
}

func isLDAP(err error) bool {
	var e *ldap.Error
	return errors.As(err, &e)
}

// search returns the connection for searches. fresh tells that it was just made.
func (d *Directory) search() (c *conn, fresh bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if c := d.searcher; c != nil && !c.IsClosing() && now.Sub(c.used) < idleTime {
		c.used = now
		return c, false, nil
	}
	if d.searcher != nil {
		d.searcher.Close()
		d.searcher = nil
	}
	if d.err != nil && now.Sub(d.failed) < retryPause {
		return nil, false, d.err // do not have everybody wait one after the other
	}
	c, err = d.connect()
	if err == nil {
		if err = d.bindService(c); err != nil {
			c.Close()
		}
	}
	if err != nil {
		d.failed, d.err = time.Now(), err
		return nil, false, err
	}
	c.used = time.Now()
	d.searcher, d.err = c, nil
	return c, true, nil
}

// drop forgets a connection that is lost.
func (d *Directory) drop(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.Close()
	if d.searcher == c {
		d.searcher = nil
	}
}

// bindService binds as dn.
func (d *Directory) bindService(c *conn) error {
	var err error
	switch set := d.set; {
	case set.SASLBind && strings.EqualFold(set.SASLMech, "EXTERNAL"):
		err = c.ExternalBind()
	case set.SASLBind:
		err = c.MD5Bind(d.servers[0].host, set.DN, set.DNPass)
	case set.DNPass == "":
		err = c.UnauthenticatedBind(set.DN)
	default:
		err = c.Bind(set.DN, set.DNPass)
	}
	if err != nil {
		return fmt.Errorf("binding failed (dn %s): %w", orNone(d.set.DN), err)
	}
	return nil
}

func orNone(dn string) string {
	if dn == "" {
		return "(none)"
	}
	return dn
}

// connect connects to the first server that answers.
func (d *Directory) connect() (*conn, error) {
	var errs []error
	for i := range d.servers {
		c, err := d.dial(&d.servers[i])
		if err == nil {
			return c, nil
		}
		errs = append(errs, err)
	}
	return nil, fmt.Errorf("Can't connect to server: %w", errors.Join(errs...))
}

func (d *Directory) dial(s *server) (*conn, error) {
	deadline := time.Now().Add(connectTimeout)
	nc, err := net.DialTimeout(s.network, s.address, connectTimeout)
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(deadline)
	config := d.tls.Clone()
	config.ServerName = s.host
	if s.tls {
		tc := tls.Client(nc, config)
		if err := tc.Handshake(); err != nil {
			nc.Close()
			return nil, fmt.Errorf("%s: %w", s.address, err)
		}
		nc = tc
	}
	c := ldap.NewConn(nc, s.tls)
	c.Start()
	if d.set.TLS && !s.tls {
		if err := c.StartTLS(config); err != nil {
			c.Close()
			return nil, fmt.Errorf("%s: StartTLS: %w", s.address, err)
		}
	}
	nc.SetDeadline(time.Time{})
	c.SetTimeout(requestTimeout)
	return &conn{Conn: c}, nil
}

// Bind checks a password: ErrMismatch and ErrNoEntry are the directory's word, any
// other error leaves it open. An empty password is a mismatch without asking, since
// a bind without password always succeeds (RFC 4513 5.1.2); so is an empty dn.
func (d *Directory) Bind(dn, password string) error {
	if dn == "" || password == "" {
		return ErrMismatch
	}
	for {
		c := d.idle.take()
		fresh := c == nil
		if fresh {
			var err error
			if c, err = d.connect(); err != nil {
				return err
			}
		}
		err := c.Conn.Bind(dn, password)
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
		c.Close()
		if fresh || !lost(err) {
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
		c.Close()
	}
	return nil
}

func (l *idleConns) put(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.list) >= maxIdle {
		c.Close()
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
		c.Close()
	}
	l.list = nil
}

// Escape makes a value a part of a filter or DN that means nothing but itself: as
// Dovecot, whatever could be special in either becomes a backslash and two hexadecimal
// digits (RFC 4515 3, RFC 4514 2.4).
func Escape(value string) string {
	const hex = "0123456789abcdef"
	var b []byte
	for i := range len(value) {
		c := value[i]
		if c > ' ' && c < 0x7f && strings.IndexByte(`*,\#+<>;"()=`, c) < 0 {
			if b != nil {
				b = append(b, c)
			}
			continue
		}
		if b == nil {
			b = append(make([]byte, 0, len(value)+8), value[:i]...)
		}
		b = append(b, '\\', hex[c>>4], hex[c&15])
	}
	if b == nil {
		return value
	}
	return string(b)
}

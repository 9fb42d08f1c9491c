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
	connectTimeout = 5 * time.Second  // also for TLS and the bind as dn
	requestTimeout = 60 * time.Second // unless ldap.conf says TIMEOUT
	writeTimeout   = 5 * time.Second
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

	timeout time.Duration // of one request

	mu       sync.Mutex
	searcher *conn
	making   chan struct{} // closed when a new searcher is there, or failed
	failed   time.Time     // when that did not work
	err      error
	first    int // of the servers to try
	closed   bool

	idle idleConns
}

// A conn is a connection and when it was used last.
type conn struct {
	*ldap.Conn
	net    net.Conn // below
	server int
	used   time.Time
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
	library, err := readLibrary(set.LDAPRCPath)
	if err != nil {
		return nil, err
	}
	if d.timeout, err = requestLimit(library["timeout"]); err != nil {
		return nil, err
	}
	d.tls, err = newTLS(set, library)
	return d, err
}

// Close closes the connections. A search that goes on fails.
func (d *Directory) Close() {
	d.mu.Lock()
	d.closed = true
	if d.searcher != nil {
		d.searcher.abort()
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
	// NeedBase makes a base that does not exist an error, ErrNoEntry.
	NeedBase bool
}

// Search calls fn with each entry that is found until it returns false. A base that does not
// exist has no entries; referrals are not followed.
func (d *Directory) Search(ctx context.Context, q *Query, fn func(*ldap.Entry) bool) error {
	for again := range 2 {
		c, fresh, err := d.search(ctx)
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
		case !lost(err), errors.Is(err, context.Canceled), errors.Is(err, ErrNoEntry):
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

func (d *Directory) searchOn(parent context.Context, c *conn, q *Query, fn func(*ldap.Entry) bool) error {
	ctx, cancel := context.WithCancel(parent)
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
	case err == nil && parent.Err() != nil:
		return parent.Err()
	case err == nil && c.IsClosing():
		// The library then ends the list of entries without an error, wherever it is.
		return net.ErrClosed
	case err == nil && c.hasPanicked():
		return c.GetLastError()
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject) && q.NeedBase:
		return ErrNoEntry
	case ldap.IsErrorWithCode(err, ldap.LDAPResultNoSuchObject):
		return nil
	case ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) && q.Limit > 0:
		return nil // fn has seen as many as it wanted
	}
	return err
}

// hasPanicked reports whether the library has given up a search of the connection in the
// middle, of which it says nothing else. (Its last error may also be about an answer that
// nobody wanted any more.)
func (c *conn) hasPanicked() bool {
	err := c.GetLastError()
	return err != nil && strings.HasPrefix(err.Error(), "ldap: recovered panic")
}

// lost reports whether an error is about the connection, not the request.
func lost(err error) bool {
	return ldap.IsErrorAnyOf(err, ldap.ErrorNetwork, ldap.LDAPResultUnavailable, ldap.LDAPResultBusy, ldap.LDAPResultTimeout) || !isLDAP(err)
}

func isLDAP(err error) bool {
	var e *ldap.Error
	return errors.As(err, &e)
}

// search returns the connection for searches. One caller makes it, others wait for
// that. fresh tells that it was just made.
func (d *Directory) search(ctx context.Context) (c *conn, fresh bool, err error) {
	for {
		d.mu.Lock()
		now := time.Now()
		if c := d.searcher; c != nil && !c.IsClosing() && now.Sub(c.used) < idleTime {
			c.used = now
			d.mu.Unlock()
			return c, fresh, nil
		}
		if d.err != nil && now.Sub(d.failed) < retryPause {
			d.mu.Unlock()
			return nil, false, d.err // do not have everybody wait one after the other
		}
		made := d.making
		if made == nil {
			made = make(chan struct{})
			d.making = made
			go d.makeSearcher(made)
		}
		d.mu.Unlock()
		fresh = true
		select {
		case <-made:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// makeSearcher connects for searches.
func (d *Directory) makeSearcher(made chan struct{}) {
	c, err := d.connect(d.bindService)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.searcher != nil {
		go d.searcher.Close() // which may wait for its last request
		d.searcher = nil
	}
	switch {
	case err != nil:
		d.failed, d.err = time.Now(), err
	case d.closed:
		go c.Close()
		d.failed, d.err = time.Now(), errClosed
	default:
		c.used = time.Now()
		d.searcher, d.err = c, nil
	}
	d.making = nil
	close(made)
}

var errClosed = errors.New("the directory is closed")

// drop forgets a connection that is lost, or whose server does not answer: then
// another is tried first.
func (d *Directory) drop(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.searcher == c {
		d.searcher = nil
		d.first = (c.server + 1) % len(d.servers)
	}
	c.abort()
}

// abort ends a connection, and what is under way on it.
func (c *conn) abort() {
	c.net.SetDeadline(time.Unix(1, 0)) //nolint:errcheck // then it is closed already
	go c.Close()
}

// bindService binds as dn.
func (d *Directory) bindService(c *conn) error {
	var err error
	switch set := d.set; {
	case set.SASLBind && strings.EqualFold(set.SASLMech, "EXTERNAL"):
		err = c.ExternalBind()
	case set.SASLBind:
		err = c.MD5Bind(d.servers[c.server].host, set.DN, set.DNPass)
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

// connect connects to the first server that answers, also to begin: one that takes
// connections and is silent is as good as none.
func (d *Directory) connect(begin func(*conn) error) (*conn, error) {
	d.mu.Lock()
	first := d.first
	d.mu.Unlock()
	var errs []error
	for i := range d.servers {
		n := (first + i) % len(d.servers)
		c, err := d.dial(&d.servers[n])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c.server = n
		if err := begin(c); err != nil {
			c.abort()
			if !lost(err) {
				return nil, err
			}
			errs = append(errs, fmt.Errorf("%s: %w", d.servers[n].address, err))
			continue
		}
		c.net.SetDeadline(time.Time{}) //nolint:errcheck // the next request tells
		c.SetTimeout(d.timeout)
		if i > 0 {
			d.prefer(n) // lest every connection waits for the dead ones before it
		}
		return c, nil
	}
	return nil, fmt.Errorf("Can't connect to server: %w", errors.Join(errs...))
}

// prefer has the next connections begin with server n.
func (d *Directory) prefer(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.first = n
}

// dial connects to a server. Until the deadline is removed all that is done on the
// connection has to be over in time.
func (d *Directory) dial(s *server) (*conn, error) {
	deadline := time.Now().Add(connectTimeout)
	raw, err := net.DialTimeout(s.network, s.address, connectTimeout)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(deadline) //nolint:errcheck // the first request tells
	nc := net.Conn(impatient{raw})
	config := d.tls.Clone()
	config.ServerName = s.host
	if s.tls {
		tc := tls.Client(nc, config)
		if err := tc.Handshake(); err != nil {
			raw.Close()
			return nil, fmt.Errorf("%s: %w", s.address, err)
		}
		nc = tc
	}
	c := &conn{Conn: ldap.NewConn(nc, s.tls), net: raw}
	c.Start()
	c.SetTimeout(connectTimeout)
	if d.set.TLS && !s.tls {
		if err := c.StartTLS(config); err != nil {
			c.abort()
			return nil, fmt.Errorf("%s: StartTLS: %w", s.address, err)
		}
	}
	return c, nil
}

// An impatient connection does not wait for a peer that does not read. (Requests are
// small: they are written at once, or never.)
type impatient struct{ net.Conn }

func (c impatient) Write(b []byte) (int, error) {
	timer := time.AfterFunc(writeTimeout, func() { c.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // it is lost anyway
	defer timer.Stop()
	return c.Conn.Write(b)
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

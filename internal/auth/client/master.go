package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"net/netip"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// Lookup says on whose behalf a user is looked up. Only Service is required.
type Lookup struct {
	Service   string
	Local     netip.AddrPort
	Remote    netip.AddrPort
	Session   string
	LocalName string
	Secured   bool

	RealLocal, RealRemote netip.AddrPort // of the connection, if different
	ForwardFields         string         // TAB separated fields from a proxy
	Extra                 []string       // further name=value, or name
}

// A User is what the userdb knows of one.
type User struct {
	Username string // normalized, or as the databases changed it
	UID, GID int    // -1 when the userdb does not say
	Home     string
	Fields   Fields // all of them
}

// A MasterClient asks over the master and userdb protocols. It may be used
// concurrently.
type MasterClient struct {
	link *link
	pid  uint32
}

// DialMaster connects to an auth-master or auth-userdb socket. ctx is for the
// first connection only.
func DialMaster(ctx context.Context, network, addr string, log *maillog.Logger) (*MasterClient, error) {
	m := &MasterClient{pid: uint32(os.Getpid())}
	m.link = newLink(network, addr, []byte("VERSION\t1\t1\n"), newMasterHandshake, log)
	if _, err := m.link.connect(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// Close closes the connection. Lookups under way fail.
func (m *MasterClient) Close() error { return m.link.close() }

// User looks a user up in the userdb. It returns [ErrUnknownUser] for one who
// does not exist; every other error is temporary.
func (m *MasterClient) User(ctx context.Context, username string, l Lookup) (User, error) {
	r, err := m.ask(ctx, func(b []byte, id uint32) []byte {
		return appendLookup(b, "USER", id, username, l)
	})
	if err != nil {
		return User{}, err
	}
	return parseUser(r, "USER")
}

// Pass returns the fields of a user's passdb entry, without the password.
func (m *MasterClient) Pass(ctx context.Context, username string, l Lookup) (Fields, error) {
	r, err := m.ask(ctx, func(b []byte, id uint32) []byte {
		return appendLookup(b, "PASS", id, username, l)
	})
	if err != nil {
		return nil, err
	}
	if r.verb == "PASS" {
		return parseFields(r.rest), nil
	}
	return nil, lookupError(r)
}

// Request confirms a login that the auth server granted to a login process,
// and returns its user. It can be done once for each login.
func (m *MasterClient) Request(ctx context.Context, clientPID, clientID uint32, cookie string) (User, error) {
	r, err := m.ask(ctx, func(b []byte, id uint32) []byte {
		b = wire.AppendID(append(b, "REQUEST"...), id)
		b = wire.AppendID(b, clientPID)
		b = wire.AppendID(b, clientID)
		b = wire.AppendEscaped(append(b, '\t'), cookie)
		b = append(b, "\tsession_pid="...)
		b = strconv.AppendUint(b, uint64(m.pid), 10)
		return append(b, "\trequest_auth_token\n"...)
	})
	if err != nil {
		return User{}, err
	}
	return parseUser(r, "USER")
}

// List calls fn for every user name that the userdbs list. fn must not block;
// it is called in another goroutine, but not after List has returned.
func (m *MasterClient) List(ctx context.Context, mask, service string, fn func(username string)) error {
	conn, err := m.link.connect(ctx)
	if err != nil {
		return err
	}
	call, err := conn.startList(func(b []byte, id uint32) []byte {
		b = wire.AppendID(append(b, "LIST"...), id)
		b = appendSet(b, "user", mask)
		b = wire.AppendField(b, "service", service)
		return append(b, '\n')
	}, func(rest string) { fn(wire.Unescape(rest)) })
	if err != nil {
		return err
	}
	r, err := call.wait(ctx)
	conn.end(call)
	switch {
	case err != nil:
		return err
	case r.verb != "DONE":
		return lookupError(r)
	case r.rest != "":
		return errors.New("auth: user listing failed")
	}
	return nil
}

// Penalties calls fn with the fields of each address that has to wait after failures: the
// address, the number of failures, and when the last of them and the last change was. fn
// is called as that of List.
func (m *MasterClient) Penalties(ctx context.Context, fn func(fields []string)) error {
	conn, err := m.link.connect(ctx)
	if err != nil {
		return err
	}
	call, err := conn.startList(func(b []byte, id uint32) []byte {
		return append(wire.AppendID(append(b, "PENALTIES"...), id), '\n')
	}, func(rest string) { fn(strings.Split(rest, "\t")) })
	if err != nil {
		return err
	}
	r, err := call.wait(ctx)
	conn.end(call)
	if err == nil && r.verb != "DONE" {
		err = lookupError(r)
	}
	return err
}

// FlushCache drops what the auth cache holds of the users, or all of it, and
// returns the number of entries dropped.
func (m *MasterClient) FlushCache(ctx context.Context, usernames ...string) (int, error) {
	r, err := m.ask(ctx, func(b []byte, id uint32) []byte {
		b = wire.AppendID(append(b, "CACHE-FLUSH"...), id)
		for _, name := range usernames {
			b = wire.AppendEscaped(append(b, '\t'), name)
		}
		return append(b, '\n')
	})
	if err != nil {
		return 0, err
	}
	if r.verb != "OK" {
		return 0, lookupError(r)
	}
	return strconv.Atoi(r.rest)
}

// ask sends a request with one reply.
func (m *MasterClient) ask(ctx context.Context, appendLine func(b []byte, id uint32) []byte) (reply, error) {
	conn, err := m.link.connect(ctx)
	if err != nil {
		return reply{}, err
	}
	call, err := conn.start(appendLine)
	if err != nil {
		return reply{}, err
	}
	r, err := call.wait(ctx)
	conn.end(call)
	return r, err
}

func appendLookup(b []byte, verb string, id uint32, username string, l Lookup) []byte {
	b = wire.AppendID(append(b, verb...), id)
	b = wire.AppendEscaped(append(b, '\t'), username)
	b = wire.AppendField(b, "service", l.Service)
	b = appendAddr(b, "lip", "lport", l.Local)
	b = appendAddr(b, "rip", "rport", l.Remote)
	b = appendSet(b, "local_name", l.LocalName)
	b = appendSet(b, "session", l.Session)
	if l.Secured {
		b = append(b, "\tsecured"...)
	}
	b = appendAddr(b, "real_lip", "real_lport", l.RealLocal)
	b = appendAddr(b, "real_rip", "real_rport", l.RealRemote)
	if l.ForwardFields != "" {
		b = append(b, "\tforward_fields="...)
		b = wire.AppendBase64(b, []byte(l.ForwardFields))
	}
	b = appendExtra(b, l.Extra)
	return append(b, '\n')
}

// lookupError is for every reply that is not the one hoped for.
func lookupError(r reply) error {
	switch r.verb {
	case "NOTFOUND":
		return ErrUnknownUser
	case "FAIL":
		f := newFailure(r.rest)
		f.Temp = true
		return f
	}
	return fmt.Errorf("auth: the server sent an unexpected reply %q", r.verb)
}

// parseUser reads a USER reply: the name, then the fields.
func parseUser(r reply, verb string) (User, error) {
	if r.verb != verb {
		return User{}, lookupError(r)
	}
	name, rest, _ := wire.CutString(r.rest)
	u := User{Username: wire.Unescape(name), UID: -1, GID: -1, Fields: parseFields(rest)}
	for _, f := range u.Fields {
		var err error
		switch f.Name {
		case "uid":
			u.UID, err = parseNumber(f)
		case "gid":
			u.GID, err = parseNumber(f)
		case "home":
			u.Home = f.Value
		}
		if err != nil {
			return User{}, err
		}
	}
	return u, nil
}

func parseNumber(f Field) (int, error) {
	n, ok := wire.ParseID([]byte(f.Value))
	if !ok || n > 1<<31-1 {
		return 0, fmt.Errorf("auth: the server's userdb reply has the invalid %s %q", f.Name, f.Value)
	}
	return int(n), nil
}

// masterHandshake is over with the server's process id.
type masterHandshake struct{ version bool }

func newMasterHandshake() handshake { return new(masterHandshake) }

func (h *masterHandshake) line(verb, rest string) (done bool, err error) {
	switch verb {
	case "VERSION":
		h.version = true
		return false, checkVersion(rest, wire.MasterMajor)
	case "SPID":
		if !h.version {
			return false, errors.New("the server did not tell its protocol version")
		}
		return true, nil
	}
	return false, nil
}

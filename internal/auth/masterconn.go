package auth

import (
	"context"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

// maxLookups bounds the lookups under way for one connection.
const maxLookups = 256

// A masterConn is a connection of the master or userdb protocol.
type masterConn struct {
	shared     *shared
	conn       net.Conn
	kind       Kind
	peer       peer
	restricted bool // sees only itself
	socket     string
	connected  time.Time
	r          *wire.Reader
	w          *wire.Writer
	held       bool
	ctx        context.Context
	slots      chan struct{}
}

func newMasterConn(s *Server, conn net.Conn, l net.Listener, kind Kind) *masterConn {
	m := &masterConn{
		shared: s.shared, conn: conn, kind: kind, connected: time.Now(),
		r: wire.NewReader(conn), w: wire.NewWriter(deadlineWriter{conn}),
		slots: make(chan struct{}, maxLookups),
	}
	m.peer = peerOf(conn)
	if l.Addr().Network() == "unix" {
		m.socket = l.Addr().String()
		m.restricted = kind == KindUserdb && m.peer.isRestricted(m.socket)
	}
	return m
}

// server is the one in force.
func (m *masterConn) server() *Server { return m.shared.present.Load() }

func (m *masterConn) serve(ctx context.Context) {
	m.ctx = ctx
	err := m.w.Append(func(b []byte) []byte {
		return append(wire.AppendID(append(b, "VERSION\t1\t1\nSPID"...), uint32(os.Getpid())), '\n')
	})
	ready := false
	for err == nil {
		var line []byte
		if line, err = m.r.Next(); err != nil {
			return
		}
		if !m.held && m.r.Buffered() {
			m.w.Hold()
			m.held = true
		}
		if ready {
			err = m.command(line)
		} else {
			ready, err = true, m.handshake(line)
		}
		if m.held && (err != nil || !m.r.Buffered()) {
			m.held = false
			if releaseErr := m.w.Release(); err == nil {
				err = releaseErr
			}
		}
	}
}

// bug logs a mistake of the peer.
func (m *masterConn) bug(text string, args ...any) error {
	m.errorf(text, args...)
	return errProtocol
}

func (m *masterConn) errorf(text string, args ...any) {
	ms := time.Since(m.connected).Milliseconds()
	m.server().log.Errorf("auth-master client: "+text+" (created %d msecs ago, handshake %d msecs ago)", append(args, ms, ms)...)
}

func (m *masterConn) handshake(line []byte) error {
	verb, rest, _ := wire.Cut(line)
	major, _, _ := wire.Cut(rest)
	if n, ok := wire.ParseID(major); string(verb) != "VERSION" || !ok || n != wire.MasterMajor {
		return m.bug("Authentication server not compatible with this client (mixed old and new binaries?)")
	}
	return nil
}

// A masterCommand is one row of the table of commands.
type masterCommand struct {
	handle     func(m *masterConn, id uint32, args []byte) error
	broken     string // what a line without usable id is called
	masterOnly bool
}

var masterCommands = map[string]masterCommand{
	"USER":        {handle: (*masterConn).user, broken: "USER"},
	"PASS":        {handle: (*masterConn).pass, broken: "USER"},
	"LIST":        {handle: (*masterConn).list, broken: "LIST"},
	"REQUEST":     {handle: (*masterConn).request, broken: "REQUEST", masterOnly: true},
	"PENALTIES":   {handle: (*masterConn).penalties, broken: "PENALTIES", masterOnly: true},
	"CACHE-FLUSH": {handle: (*masterConn).cacheFlush, broken: "CACHE-FLUSH", masterOnly: true},
}

func (m *masterConn) command(line []byte) error {
	verb, rest, hasArgs := wire.Cut(line)
	cmd, known := masterCommands[string(verb)]
	if s := m.server(); s.set.Debug {
		s.log.Debugf("master in: %s", line)
	}
	switch {
	case m.kind == KindUserdb && (!known || !hasArgs || cmd.masterOnly):
		return m.bug("BUG: Unknown command in userdb socket: %s", shown(line))
	case !known || !hasArgs:
		return m.bug("BUG: Unknown command in master socket: %s", shown(line))
	}
	idText, args, _ := wire.Cut(rest)
	id, ok := wire.ParseID(idText)
	if !ok {
		return m.bug("BUG: Master sent broken %s", cmd.broken)
	}
	return cmd.handle(m, id, args)
}

// lookup reads what USER and PASS have in common: the name and parameters. A
// nil request without error is for a name that no user can have.
func (m *masterConn) lookup(verb string, args []byte) (*db.Request, error) {
	name, rest, more := wire.Cut(args)
	if len(args) == 0 {
		return nil, m.bug("BUG: Master sent broken USER")
	}
	req := &db.Request{Log: m.server().log, Debug: m.server().set.Debug, DebugPasswords: m.server().set.DebugPasswords}
	for more {
		var param []byte
		param, rest, more = wire.Cut(rest)
		key, value, _ := strings.Cut(string(param), "=")
		setCommonParam(req, key, wire.Unescape(value))
	}
	if req.Service == "" {
		return nil, m.bug("BUG: Master sent %s request without service", verb)
	}
	if err := m.server().names.set(req, wire.Unescape(string(name))); err != nil {
		if m.server().set.Verbose {
			m.server().log.Infof("%v", err)
		}
		return nil, nil
	}
	return req, nil
}

// dispatch runs job here, or where it may wait. The number of those is bounded
// by not reading further requests.
func (m *masterConn) dispatch(blocking bool, job func() error) error {
	if !blocking {
		return job()
	}
	select {
	case m.slots <- struct{}{}:
	case <-m.ctx.Done():
		return m.ctx.Err()
	}
	go func() {
		err := errProtocol
		defer func() {
			if v := recover(); v != nil {
				logPanic(m.server().log, v)
			}
			if err != nil {
				m.conn.Close() // the peer asks again
			}
			<-m.slots
		}()
		err = job()
	}()
	return nil
}

// user answers USER.
func (m *masterConn) user(id uint32, args []byte) error {
	req, err := m.lookup("USER", args)
	switch {
	case err != nil:
		return err
	case req == nil:
		return m.reply("userdb", "NOTFOUND", id)
	}
	if req.LoginUser != "" { // whose data is wanted, whoever may log in as that one
		req.User, req.LoginUser = req.LoginUser, ""
	}
	return m.dispatch(m.server().blocksUserdb(), func() error {
		res := m.server().lookupUser(m.ctx, req, lookupOnly)
		if res == resultOK && !m.maySee(req) {
			res = resultInternal
		}
		return m.replyUser("userdb", id, req, res, nil)
	})
}

// replyUser sends the answer of a userdb lookup, whose kind is for the log. more appends
// further fields.
func (m *masterConn) replyUser(kind string, id uint32, req *db.Request, res result, more func(b []byte) []byte) error {
	switch res {
	case resultUnknown:
		return m.reply(kind, "NOTFOUND", id)
	case resultOK:
		return m.send(kind, func(b []byte) []byte {
			b = wire.AppendID(append(b, "USER"...), id)
			b = wire.AppendEscaped(append(b, '\t'), req.User)
			if req.Userdb.Len() == 0 {
				b = append(b, '\t')
			}
			b = req.Userdb.Append(b)
			if more != nil {
				b = more(b)
			}
			return append(b, '\n')
		})
	}
	return m.send(kind, func(b []byte) []byte {
		b = wire.AppendID(append(b, "FAIL"...), id)
		if reason, ok := req.Userdb.Get("reason"); ok && req.TempFail {
			b = wire.AppendField(b, "reason", reason)
		}
		return append(b, '\n')
	})
}

func (m *masterConn) reply(kind, verb string, id uint32) error {
	return m.send(kind, func(b []byte) []byte {
		return append(wire.AppendID(append(b, verb...), id), '\n')
	})
}

// maySee checks a peer of a restricted socket, and says how to change that.
func (m *masterConn) maySee(req *db.Request) bool {
	if !m.restricted {
		return true
	}
	why := ""
	text, ok := req.Userdb.Get("uid")
	uid, err := strconv.ParseUint(text, 10, 32)
	switch {
	case !ok:
		why = "userdb reply doesn't contain uid"
	case err != nil:
		why = "userdb reply contains invalid uid"
	case uint32(uid) != m.peer.uid:
		why = "userdb uid (" + text + ") doesn't match peer uid (" + strconv.FormatUint(uint64(m.peer.uid), 10) + ")"
	default:
		return true
	}
	m.errorf("client doesn't have lookup permissions for this user: %s (to bypass this check, set: service auth { unix_listener %s { mode=0777 } })", why, m.socket)
	return false
}

// pass answers PASS.
func (m *masterConn) pass(id uint32, args []byte) error {
	req, err := m.lookup("PASS", args)
	switch {
	case err != nil:
		return err
	case req == nil:
		return m.reply("passdb", "NOTFOUND", id)
	case m.restricted:
		m.errorf("Auth client doesn't have permissions to do a PASS lookup: %s", m.socket)
		return m.reply("passdb", "FAIL", id)
	}
	blocks := m.server().blocksPassdb()
	return m.dispatch(blocks, func() error {
		chain := m.server().newPassChain(req, purposeLookup)
		res, _ := chain.run(m.ctx, true)
		if res == resultOK && !chain.success { // found, but the rules do not call that a success
			res = resultInternal
		}
		if res != resultOK {
			return m.replyPass(id, req, res)
		}
		return m.dispatch(!blocks && proxyName(req) != "", func() error {
			if !m.server().finishProxy(m.ctx, req) {
				res = resultInternal
			}
			return m.replyPass(id, req, res)
		})
	})
}

func (m *masterConn) replyPass(id uint32, req *db.Request, res result) error {
	switch res {
	case resultOK:
		return m.send("passdb", func(b []byte) []byte {
			b = wire.AppendID(append(b, "PASS"...), id)
			b = wire.AppendField(b, "user", req.User)
			return append(req.Fields.Append(b), '\n')
		})
	case resultUnknown, resultDisabled, resultExpired:
		return m.reply("passdb", "NOTFOUND", id)
	case resultUnsupported:
		return m.send("passdb", func(b []byte) []byte {
			b = wire.AppendID(append(b, "FAIL"...), id)
			return append(b, "\treason=Configured passdbs don't support credentials lookups\n"...)
		})
	}
	return m.reply("passdb", "FAIL", id)
}

// list answers LIST: the users of all userdbs that can list them. It reads no
// further requests meanwhile.
func (m *masterConn) list(id uint32, _ []byte) error {
	if m.restricted {
		m.errorf("Auth client doesn't have permissions to list users: %s", m.socket)
		return m.reply("", "FAIL", id)
	}
	if m.held { // a list may be long
		m.held = false
		if err := m.w.Release(); err != nil {
			return err
		}
	}
	listers, failed := 0, false
	var writeErr error
	for _, u := range m.server().userdbs {
		l, ok := u.driver.(db.Lister)
		if !ok {
			continue
		}
		listers++
		err := l.List(m.ctx, func(name string) bool {
			writeErr = m.w.Append(func(b []byte) []byte {
				b = wire.AppendID(append(b, "LIST"...), id)
				return append(wire.AppendEscaped(append(b, '\t'), name), '\n')
			})
			return writeErr == nil
		})
		if writeErr != nil {
			return writeErr
		}
		if err != nil {
			if !db.IsTold(err) {
				m.server().log.Errorf("%v", err)
			}
			failed = true
		}
	}
	if listers == 0 {
		m.errorf("Trying to iterate users, but userdbs don't support it")
		failed = true
	}
	return m.w.Append(func(b []byte) []byte {
		b = append(wire.AppendID(append(b, "DONE"...), id), '\t')
		if failed {
			b = append(b, "fail"...)
		}
		return append(b, '\n')
	})
}

// cacheFlush answers CACHE-FLUSH, for all users or those named.
func (m *masterConn) cacheFlush(id uint32, args []byte) error {
	var users []string
	for more := len(args) > 0; more; {
		var user []byte
		user, args, more = wire.Cut(args)
		users = append(users, wire.Unescape(string(user)))
	}
	n := m.server().flushCache(users...)
	return m.w.Append(func(b []byte) []byte {
		return append(wire.AppendID(wire.AppendID(append(b, "OK"...), id), uint32(n)), '\n')
	})
}

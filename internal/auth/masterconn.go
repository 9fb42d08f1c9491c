package auth

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/db"
	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// maxLookups bounds the lookups under way for one connection.
const maxLookups = 256

// A masterConn is a connection of the master or userdb protocol.
type masterConn struct {
	server     *Server
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
		server: s, conn: conn, kind: kind, connected: time.Now(),
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
	m.server.log.Errorf("auth-master client: "+text+" (created %d msecs ago, handshake %d msecs ago)", append(args, ms, ms)...)
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
	"CACHE-FLUSH": {handle: (*masterConn).cacheFlush, broken: "CACHE-FLUSH", masterOnly: true},
}

func (m *masterConn) command(line []byte) error {
	verb, rest, hasArgs := wire.Cut(line)
	cmd, known := masterCommands[string(verb)]
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
	req := &db.Request{Log: m.server.log}
	for more {
		var param []byte
		param, rest, more = wire.Cut(rest)
		key, value, _ := strings.Cut(string(param), "=")
		setCommonParam(req, key, wire.Unescape(value))
	}
	if req.Service == "" {
		return nil, m.bug("BUG: Master sent %s request without service", verb)
	}
	if err := m.server.names.set(req, wire.Unescape(string(name))); err != nil {
		if m.server.set.Verbose {
			m.server.log.Infof("%v", err)
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
	m.server.workers.submit(func() {
		if job() != nil {
			m.conn.Close()
		}
		<-m.slots
	})
	return nil
}

// user answers USER.
func (m *masterConn) user(id uint32, args []byte) error {
	req, err := m.lookup("USER", args)
	switch {
	case err != nil:
		return err
	case req == nil:
		return m.reply("NOTFOUND", id)
	}
	if req.LoginUser != "" { // whose data is wanted, whoever may log in as that one
		req.User, req.LoginUser = req.LoginUser, ""
	}
	return m.dispatch(m.server.blocksUserdb(), func() error {
		res := m.server.lookupUser(m.ctx, req, lookupOnly)
		if res == resultOK && !m.maySee(req) {
			res = resultInternal
		}
		return m.replyUser(id, req, res, nil)
	})
}

// replyUser sends the answer of a userdb lookup. more appends further fields.
func (m *masterConn) replyUser(id uint32, req *db.Request, res result, more func(b []byte) []byte) error {
	switch res {
	case resultUnknown:
		return m.reply("NOTFOUND", id)
	case resultOK:
		return m.w.Append(func(b []byte) []byte {
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
	return m.reply("FAIL", id)
}

func (m *masterConn) reply(verb string, id uint32) error {
	return m.w.Append(func(b []byte) []byte {
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
		return m.reply("NOTFOUND", id)
	case m.restricted:
		m.errorf("Auth client doesn't have permissions to do a PASS lookup: %s", m.socket)
		return m.reply("FAIL", id)
	}
	return m.dispatch(m.server.blocksPassdb(), func() error {
		chain := m.server.newPassChain(req, purposeLookup)
		res, _, _ := chain.run(m.ctx, stageWork)
		return m.replyPass(id, req, res)
	})
}

func (m *masterConn) replyPass(id uint32, req *db.Request, res result) error {
	switch res {
	case resultOK:
		return m.w.Append(func(b []byte) []byte {
			b = wire.AppendID(append(b, "PASS"...), id)
			b = wire.AppendField(b, "user", req.User)
			return append(req.Fields.Append(b), '\n')
		})
	case resultUnknown, resultDisabled, resultExpired:
		return m.reply("NOTFOUND", id)
	case resultUnsupported:
		return m.w.Append(func(b []byte) []byte {
			b = wire.AppendID(append(b, "FAIL"...), id)
			return append(b, "\treason=Configured passdbs don't support credentials lookups\n"...)
		})
	}
	return m.reply("FAIL", id)
}

// list answers LIST: the users of all userdbs that can list them. It reads no
// further requests meanwhile.
func (m *masterConn) list(id uint32, _ []byte) error {
	if m.restricted {
		m.errorf("Auth client doesn't have permissions to list users: %s", m.socket)
		return m.reply("FAIL", id)
	}
	if m.held { // a list may be long
		m.held = false
		if err := m.w.Release(); err != nil {
			return err
		}
	}
	listers, failed := 0, false
	var writeErr error
	for _, u := range m.server.userdbs {
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
			m.server.log.Errorf("%v", err)
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

// cacheFlush answers CACHE-FLUSH. There is no cache, so nothing is dropped.
func (m *masterConn) cacheFlush(id uint32, _ []byte) error {
	return m.w.Append(func(b []byte) []byte {
		return append(wire.AppendID(append(b, "OK"...), id), "\t0\n"...)
	})
}

// request confirms a login.
func (m *masterConn) request(id uint32, args []byte) error {
	pidText, rest, _ := wire.Cut(args)
	clientText, rest, ok := wire.Cut(rest)
	pid, pidOK := wire.ParseID(pidText)
	clientID, idOK := wire.ParseID(clientText)
	if !ok || !pidOK || !idOK {
		return m.bug("BUG: Master sent broken REQUEST")
	}
	cookie, rest, more := wire.Cut(rest)
	wantToken := false
	var sessionPID uint32
	for more {
		var param []byte
		param, rest, more = wire.Cut(rest)
		key, value, _ := wire.CutKey(param)
		switch string(key) {
		case "session_pid":
			sessionPID, _ = wire.ParseID(value)
		case "request_auth_token":
			wantToken = true
		}
	}
	req := m.confirm(pid, clientID, cookie, sessionPID)
	if req == nil {
		return m.reply("FAIL", id)
	}
	req.SessionPID = sessionPID
	return m.dispatch(m.server.blocksUserdb(), func() error {
		res := m.server.lookupUser(m.ctx, &req.Request, lookupLogin)
		return m.replyUser(id, &req.Request, res, func(b []byte) []byte {
			return m.appendLogin(b, req, wantToken && sessionPID != 0)
		})
	})
}

// confirm finds the successful request of a login process, which can be
// confirmed once, by whoever knows that process's cookie.
func (m *masterConn) confirm(pid, clientID uint32, cookie []byte, sessionPID uint32) *request {
	login := m.server.login(pid)
	switch {
	case login == nil:
		m.errorf("Master requested auth for nonexistent client %d", pid)
		return nil
	case subtle.ConstantTimeCompare([]byte(login.cookie), cookie) != 1:
		m.errorf("Master requested auth for client %d with invalid cookie", pid)
		return nil
	}
	req := login.take(clientID)
	switch {
	case req == nil:
		m.errorf("Master request %d.%d not found", pid, clientID)
		return nil
	case sessionPID != 0 && sessionPID != m.peer.pid:
		m.errorf("Session pid %d provided by master for request %d.%d did not match peer credentials (pid=%d, uid=%d)",
			sessionPID, pid, clientID, m.peer.pid, m.peer.uid)
		return nil
	}
	return req
}

// appendLogin appends how the user has logged in.
func (m *masterConn) appendLogin(b []byte, req *request, token bool) []byte {
	if req.MasterUser != "" && !req.Userdb.Has("master_user") {
		b = wire.AppendField(b, "master_user", req.MasterUser)
	}
	b = wire.AppendField(b, "auth_mech", req.Mechanism)
	if req.mech.Flags&sasl.Anonymous != 0 || (m.server.set.AnonymousUsername != "" && req.User == m.server.set.AnonymousUsername) {
		b = append(b, "\tanonymous"...)
	}
	if token {
		b = wire.AppendField(b, "auth_token", m.server.token(req))
	}
	switch {
	case req.MasterUser != "":
		b = wire.AppendField(b, "auth_user", req.MasterUser)
	case req.OriginalUser != req.User:
		b = wire.AppendField(b, "auth_user", req.OriginalUser)
	}
	return b
}

// token proves, to a token socket of this server, that a session was
// authenticated.
func (s *Server) token(req *request) string {
	h := hmac.New(sha256.New, s.tokenKey[:])
	for _, part := range [...]string{strconv.FormatUint(uint64(req.SessionPID), 10), req.Service, req.User, req.Session} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/sasl"
)

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
		return m.reply("master userdb", "FAIL", id)
	}
	req.SessionPID = sessionPID
	return m.dispatch(m.server().blocksUserdb(), func() error {
		res := m.server().lookupUser(m.ctx, &req.Request, lookupLogin)
		return m.replyUser("master userdb", id, &req.Request, res, func(b []byte) []byte {
			return m.appendLogin(b, req, wantToken && sessionPID != 0)
		})
	})
}

// confirm finds the successful request of a login process, which can be
// confirmed once, by whoever knows that process's cookie.
func (m *masterConn) confirm(pid, clientID uint32, cookie []byte, sessionPID uint32) *request {
	login := m.server().login(pid)
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
	if req.mech.Flags&sasl.Anonymous != 0 || (m.server().set.AnonymousUsername != "" && req.User == m.server().set.AnonymousUsername) {
		b = append(b, "\tanonymous"...)
	}
	if token {
		b = wire.AppendField(b, "auth_token", m.server().token(req))
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
	h := hmac.New(sha256.New, s.shared.tokenKey[:])
	for _, part := range [...]string{strconv.FormatUint(uint64(req.SessionPID), 10), req.Service, req.User, req.Session} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

package service

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// requestTimeout bounds the confirmation of a login by auth. As Dovecot's
// mail process: it gives up after 60 s.
const requestTimeout = time.Minute

// internalFailure is what a client reads when its login was right and the
// server could not serve it (Dovecot's MAIL_ERRSTR_CRITICAL_MSG).
const internalFailure = "Internal error occurred. Refer to server log for more information."

// fromLogin handles the messages of the login process of a service.
func (m *Master) fromLogin(service string) func(*master.Child, *master.Message) {
	return func(c *master.Child, msg *master.Message) {
		var login handoff.Login
		if err := msg.Decode(&login); err != nil || msg.Kind != mail.KindLogin || login.Service != service || len(msg.Files) != 1 {
			m.log.Errorf("service(%s-login): unexpected message %q with %d descriptors", service, msg.Kind, len(msg.Files))
			msg.CloseFiles()
			return
		}
		go m.answerLogin(c, &login, msg)
	}
}

// answerLogin passes one client on and tells its login process what became of
// that. A panic costs this login, not the master.
func (m *Master) answerLogin(c *master.Child, login *handoff.Login, msg *master.Message) {
	defer msg.CloseFiles()
	reply := handoff.Reply{ID: login.ID}
	defer func() {
		if p := recover(); p != nil {
			m.log.With(login.Service).Errorf("panic: login for session %s: %v\n%s", login.Session, p, debug.Stack())
			reply = handoff.Reply{ID: login.ID, Error: internalFailure}
		}
		if err := c.Send(mail.KindReply, &reply); err != nil {
			m.log.Errorf("%v", err)
		}
	}()
	pid, refused, err := m.login(login, msg.Files[0])
	switch {
	case err != nil:
		m.log.With(login.Service).Errorf("%v", err)
		reply.Error = internalFailure
	case refused != "":
		reply.Error, reply.Limit = refused, true
	default:
		reply.PID = pid
	}
}

// login has auth confirm a login and passes the connection to the mail process
// of the user's uid. It returns when that has taken the client, or why it has not.
func (m *Master) login(login *handoff.Login, conn *os.File) (pid int, refused string, err error) {
	ctx, cancel := context.WithTimeout(m.ctx, requestTimeout)
	defer cancel()
	user, err := m.auth.Request(ctx, login.AuthPID, login.AuthID, login.AuthCookie)
	if err != nil {
		return 0, "", fmt.Errorf("Login for session %s not confirmed by auth: %w", login.Session, err)
	}
	info, id, err := m.userInfo(&user, login)
	if err != nil {
		return 0, "", fmt.Errorf("user %s: %w", user.Username, err)
	}
	key := mailKey{id.UID, id.GID, shard(info.Username, m.shards())}
	number, answer := m.logins.add(key)
	defer m.logins.remove(number)
	m.sessions.add(number, key, login.Service, info.Username, info.Remote)
	if pid, err = m.sendToMail(id, info.Username, mail.KindLogin, &mail.Login{ID: number, Login: *login, User: info}, conn); err == nil {
		m.sessions.served(number, pid)
		refused, err = m.logins.wait(ctx, answer)
	}
	if err != nil || refused != "" {
		m.sessions.remove(number)
	}
	if err != nil {
		return pid, "", fmt.Errorf("user %s: %w", user.Username, err)
	}
	return pid, refused, nil
}

// userInfo turns an answer of the userdb into what a mail process needs to
// know, and the identity it must have. It checks the limits of uid and gid.
func (m *Master) userInfo(u *client.User, login *handoff.Login) (store.UserInfo, master.Identity, error) {
	plan := m.plan.Load()
	info := mail.NewUserInfo(u)
	info.Service = login.Service
	info.Local, info.Remote = addr(login.Local), addr(login.Remote)
	info.SessionID = login.Session
	id, err := plan.mailIdentity(&info)
	if err != nil {
		return info, id, err
	}
	info.UID, info.GID = id.UID, id.GID
	if info.Home == "" && plan.settings.MailHome != "" {
		info.Home, err = dovecot.ExpandVars(plan.settings.MailHome, mail.Vars(&info))
	}
	return info, id, err
}

func addr(a netip.AddrPort) netip.Addr { return a.Addr().Unmap() }

// mailIdentity is who the mail process of a user is.
func (p *plan) mailIdentity(info *store.UserInfo) (master.Identity, error) {
	if master.SingleUser() {
		return master.Identity{UID: os.Getuid(), GID: os.Getgid()}, nil
	}
	id := master.Identity{Change: true, UID: info.UID, GID: info.GID}
	var err error
	if id.UID < 0 {
		if p.settings.MailUID == "" {
			return id, errors.New("User is missing UID (see mail_uid setting)")
		}
		var gid int
		if id.UID, gid, err = master.LookupUser(p.settings.MailUID); err != nil {
			return id, err
		}
		if id.GID < 0 && p.settings.MailGID == "" {
			id.GID = gid
		}
	}
	if id.GID < 0 {
		if p.settings.MailGID == "" {
			return id, errors.New("User is missing GID (see mail_gid setting)")
		}
		if id.GID, err = master.LookupGroup(p.settings.MailGID); err != nil {
			return id, err
		}
	}
	if err := p.checkID("UID", "uid", uint32(id.UID), p.core.FirstValidUID, p.core.LastValidUID); err != nil {
		return id, err
	}
	if err := p.checkID("GID", "gid", uint32(id.GID), p.core.FirstValidGID, p.core.LastValidGID); err != nil {
		return id, err
	}
	id.Groups, err = p.mailGroups(id.GID)
	return id, err
}

// checkID refuses a uid or gid that mail may not be accessed with, 0 always.
func (p *plan) checkID(what, setting string, id, first, last uint32) error {
	if id != 0 && id >= first && (last == 0 || id <= last) {
		return nil
	}
	which := "first"
	if id >= first && id != 0 {
		which = "last"
	}
	return fmt.Errorf("Mail access for users with %s %d not permitted (see %s_valid_%s in config file, %s from userdb lookup).", what, id, which, setting, setting)
}

func (p *plan) mailGroups(gid int) ([]int, error) {
	groups := []int{gid}
	names := strings.FieldsFunc(p.settings.MailAccessGroups, func(r rune) bool { return r == ' ' || r == ',' })
	if g := p.settings.MailPrivilegedGroup; g != "" {
		names = append(names, g)
	}
	for _, name := range names {
		g, err := master.LookupGroup(name)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// mailKey names a mail process: uid, gid, and which of several.
type mailKey struct{ uid, gid, shard int }

// successorWait is how long a process that ended may take to be started again.
const successorWait = 5 * time.Second

// sendToMail sends a message to the mail process of an identity, started if
// there is none, and returns its pid. A process that ended meanwhile is
// replaced once. The one with the LMTP listeners is started again by itself: it keeps its place, so that its
// death tells whoever waits for its answers.
func (m *Master) sendToMail(id master.Identity, user, kind string, body any, files ...*os.File) (pid int, err error) {
	key := mailKey{id.UID, id.GID, shard(user, m.shards())}
	for attempt := 0; ; attempt++ {
		c, err := m.mailProcess(key, id)
		if err != nil {
			return 0, err
		}
		pid = c.PID()
		if err = c.Send(kind, body, files...); err == nil || attempt == 1 {
			return c.PID(), err
		}
		if !c.Successor(pid, successorWait) {
			m.forget(key, c)
		}
	}
}

// shards is how many mail processes a uid has.
func (m *Master) shards() int {
	if s, ok := m.plan.Load().service("imap"); ok {
		return max(1, int(s.ProcessMinAvail))
	}
	return 1
}

// shard is which of n processes a user belongs to (FNV-1a).
func shard(user string, n int) int {
	h := uint32(2166136261)
	for i := range len(user) {
		h = (h ^ uint32(user[i])) * 16777619
	}
	return int(h % uint32(n))
}

// mailProcess returns the running mail process of key, or starts it.
func (m *Master) mailProcess(key mailKey, id master.Identity) (*master.Child, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.mail[key]; c != nil {
		return c, nil
	}
	spec, err := m.mailSpec(id, "mail", nil)
	if err != nil {
		return nil, err
	}
	c, err := master.Start(spec, m.log, m.fromMail(key), m.mailDied(key), master.OnDemand)
	if err != nil {
		return nil, err
	}
	m.mail[key] = c
	return c, nil
}

// mailDied is called when a mail process has ended.
func (m *Master) mailDied(key mailKey) func(*master.Child) {
	return func(c *master.Child) {
		m.forget(key, c)
		m.deliveries.fail(key)
		m.logins.fail(key)
		m.sessions.lost(c.PID())
	}
}

func (m *Master) forget(key mailKey, c *master.Child) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mail[key] == c {
		delete(m.mail, key)
	}
}

// fromMail handles the messages of a mail process.
func (m *Master) fromMail(key mailKey) func(*master.Child, *master.Message) {
	return func(c *master.Child, msg *master.Message) {
		switch msg.Kind {
		case mail.KindIdle:
			m.retire(key, c, msg)
		case mail.KindRecover:
			m.passRecovery(c, msg)
		case mail.KindDelivered:
			m.deliveries.answer(key, msg)
		case mail.KindAccepted:
			m.logins.answered(key, msg)
		case mail.KindEnded:
			m.sessions.ended(key, msg)
		default:
			m.log.Errorf("service(mail): unexpected message %q of the process of uid %d", msg.Kind, key.uid)
		}
		msg.CloseFiles()
	}
}

// retire lets an idle mail process go, unless something was sent to it since.
func (m *Master) retire(key mailKey, c *master.Child, msg *master.Message) {
	var idle mail.Idle
	if msg.Decode(&idle) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mail[key] == c && c.Retire(idle.Received) {
		delete(m.mail, key)
	}
}

// mailSpec is what a mail process gets. Only one with LMTP listeners, which
// belongs to nobody who can log in to the machine, gets TLS keys.
func (m *Master) mailSpec(id master.Identity, title string, listeners []master.ListenerSpec) (master.Spec, error) {
	p := m.plan.Load()
	cfg := p.cfg.Without(secretSettings...)
	if len(listeners) > 0 {
		cfg = p.cfg.Without("doveadm_password", "doveadm_api_key")
	}
	blob, err := cfg.AppendBinary(nil)
	if err != nil {
		return master.Spec{}, err
	}
	logs := m.logs.Load()
	return master.Spec{
		Role: "mail", Title: "dovecot/" + title, Arg: title,
		Identity: id, Log: logs.forProcess(title), LogFiles: logs.files,
		Config: blob, Listeners: listeners, Sockets: m.sockets,
	}, nil
}

// secretSettings are not for processes that run as users of the machine.
var secretSettings = []string{"ssl_key", "ssl_alt_key", "ssl_key_password", "ssl_client_key", "doveadm_password", "doveadm_api_key"}

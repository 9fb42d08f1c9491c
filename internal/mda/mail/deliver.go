package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// userdb asks auth who a recipient is.
type userdb struct {
	auth     *client.MasterClient
	uid, gid int // of users to whom the userdb gives none; -1 if that is not allowed
}

func newUserdb(ctx context.Context, socket string, log *maillog.Logger) (*userdb, error) {
	auth, err := client.DialMaster(ctx, "unix", socket, log)
	if err != nil {
		return nil, err
	}
	return &userdb{auth, -1, -1}, nil
}

// Lookup implements [lmtp.Userdb].
func (u *userdb) Lookup(ctx context.Context, username string, from lmtp.Peer) (store.UserInfo, error) {
	found, err := u.auth.User(ctx, username, client.Lookup{Service: "lmtp"})
	if errors.Is(err, client.ErrUnknownUser) {
		return store.UserInfo{}, lmtp.ErrUnknownUser
	}
	if err != nil {
		return store.UserInfo{}, err
	}
	info := NewUserInfo(&found)
	if info.UID < 0 {
		info.UID = u.uid
	}
	if info.GID < 0 {
		info.GID = u.gid
	}
	info.Service, info.SessionID = "lmtp", from.Session
	info.Local, info.Remote = ipOf(from.Local), ipOf(from.Remote)
	return info, nil
}

// ipOf is the IP address of a network address, invalid for a UNIX-domain socket's.
func ipOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// A router saves what is for users of this process's uid here, and passes the
// rest to the processes of the other uids.
type router struct {
	local  *lmtp.Local
	remote *remoteMailer // nil without root: there is one uid
	uid    int
}

// Deliver implements [lmtp.Mailer].
func (r *router) Deliver(ctx context.Context, user store.UserInfo, detail string, env lmtp.Envelope, msg lmtp.Content) error {
	if r.remote == nil || user.UID == r.uid {
		return r.local.Deliver(ctx, user, detail, env, msg)
	}
	return r.remote.Deliver(ctx, user, detail, env, msg)
}

var _ lmtp.QuotaChecker = (*router)(nil)

// CheckQuota implements [lmtp.QuotaChecker].
func (r *router) CheckQuota(ctx context.Context, user store.UserInfo) error {
	if r.remote == nil || user.UID == r.uid {
		return r.local.CheckQuota(ctx, user)
	}
	return r.remote.CheckQuota(ctx, user)
}

// A remoteMailer passes work to the mail processes of other uids, by way of the master.
type remoteMailer struct {
	control *master.Conn
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]chan Delivered
}

func newRemoteMailer(c *master.Conn) *remoteMailer {
	return &remoteMailer{control: c, waiting: make(map[uint64]chan Delivered)}
}

// Deliver implements [lmtp.Mailer].
func (r *remoteMailer) Deliver(ctx context.Context, user store.UserInfo, detail string, env lmtp.Envelope, msg lmtp.Content) error {
	f, err := contentFile(msg)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.ask(ctx, func(id uint64) error {
		return r.control.Send(KindDeliver, &Delivery{ID: id, User: user, Detail: detail, Envelope: env, Size: msg.Size()}, f)
	})
}

// CheckQuota implements [lmtp.QuotaChecker].
func (r *remoteMailer) CheckQuota(ctx context.Context, user store.UserInfo) error {
	f, err := master.Memfd("message", nil)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.ask(ctx, func(id uint64) error {
		return r.control.Send(KindDeliver, &Delivery{ID: id, User: user, OnlyCheck: true}, f)
	})
}

// recoverTimeout bounds how long a session waits for the recovery of somebody else's mail.
const recoverTimeout = 5 * time.Minute

// recover has the owner of the journals below top recover them.
func (r *remoteMailer) recover(ctx context.Context, top string) error {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	return r.ask(ctx, func(id uint64) error { return r.control.Send(KindRecover, &Recovery{ID: id, Top: top}) })
}

// ask waits for the outcome of what send has asked for under the number.
func (r *remoteMailer) ask(ctx context.Context, send func(id uint64) error) error {
	answer := make(chan Delivered, 1)
	r.mu.Lock()
	r.last++
	id := r.last
	r.waiting[id] = answer
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, id)
	}()
	if err := send(id); err != nil {
		return err
	}
	select {
	case result := <-answer:
		return result.err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// contentFile puts a message where another process can read it.
func contentFile(msg lmtp.Content) (*os.File, error) {
	f, err := master.Memfd("message", nil)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(f, io.NewSectionReader(msg, 0, msg.Size())); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// answered gives an outcome to the session that waits for it.
func (r *remoteMailer) answered(msg *master.Message) {
	var result Delivered
	if msg.Decode(&result) != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if answer, ok := r.waiting[result.ID]; ok {
		answer <- result
		delete(r.waiting, result.ID)
	}
}

// err is the outcome as [lmtp.Mailer] returns it.
func (d *Delivered) err() error {
	switch {
	case d.Error == "":
		return nil
	case d.Full:
		return fmt.Errorf("%s: %w", d.Error, mailbox.ErrNoSpace)
	case d.Code != "":
		return &store.Error{Code: d.Code, Text: d.Error}
	}
	return errors.New(d.Error)
}

// deliver saves a message that the LMTP process passed on.
func (m *process) deliver(msg *master.Message) {
	var d Delivery
	if err := msg.Decode(&d); err != nil || len(msg.Files) != 1 {
		m.log.Errorf("delivery: %v (%d descriptors)", err, len(msg.Files))
		msg.CloseFiles()
		if err == nil { // the LMTP client need not wait to be told to try again
			go m.p.Control.Send(KindDelivered, &Delivered{ID: d.ID, Error: "Too many open files"}) //nolint:errcheck // as below
		}
		return
	}
	m.sessions.Add(1)
	m.active.Add(1)
	content := msg.Files[0]
	go func() {
		defer m.finished()
		defer content.Close()
		result := Delivered{ID: d.ID}
		set := m.set.Load()
		local := &lmtp.Local{Dovecot: set.cfg, Pool: m.pool, Log: m.log, Owners: m.owners.lookup(set.userdb, "lmtp", m.log)}
		if err := d.carryOut(m.ctx, local, &sizedFile{content, d.Size}); err != nil {
			result.Error, result.Full = err.Error(), errors.Is(err, mailbox.ErrNoSpace)
			var se *store.Error
			if errors.As(err, &se) {
				result.Error, result.Code = se.Text, se.Code
			}
		}
		m.p.Control.Send(KindDelivered, &result) //nolint:errcheck // without a master the LMTP client hears of a lost connection
	}()
}

// carryOut does what is asked for.
func (d *Delivery) carryOut(ctx context.Context, local *lmtp.Local, msg lmtp.Content) error {
	if d.OnlyCheck {
		return local.CheckQuota(ctx, d.User)
	}
	return local.Deliver(ctx, d.User, d.Detail, d.Envelope, msg)
}

// recoverFor recovers mail of this process's user for a process of another one.
func (m *process) recoverFor(msg *master.Message) {
	defer msg.CloseFiles()
	var r Recovery
	if err := msg.Decode(&r); err != nil {
		m.log.Errorf("recover: %v", err)
		return
	}
	m.sessions.Add(1)
	m.active.Add(1)
	go func() {
		defer m.finished()
		result := Delivered{ID: r.ID}
		if err := m.pool.Recover(r.Top); err != nil {
			m.log.Errorf("%s: %v", r.Top, err)
			result.Error = "its owner's process could not recover it"
		}
		m.p.Control.Send(KindDelivered, &result) //nolint:errcheck // as in deliver
	}()
}

// sizedFile is a message in a file. It is no more than that: the file itself can
// be read from its present offset, too, which is the end.
type sizedFile struct {
	io.ReaderAt
	size int64
}

// Size implements [lmtp.Content].
func (f *sizedFile) Size() int64 { return f.size }

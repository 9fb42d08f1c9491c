package service

import (
	"sync"

	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// A deliveries table remembers who waits for the outcome of a message or a recovery that was
// passed from one mail process to that of another uid.
type deliveries struct {
	mu      sync.Mutex
	last    uint64
	waiting map[uint64]waiter
}

type waiter struct {
	from *master.Child
	id   uint64  // the process's own number
	key  mailKey // of whom it waits for
}

// add remembers a delivery and returns its number here.
func (d *deliveries) add(w waiter) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.waiting == nil {
		d.waiting = make(map[uint64]waiter)
	}
	d.last++
	d.waiting[d.last] = w
	return d.last
}

// take forgets a delivery that was passed to the process of key.
func (d *deliveries) take(key mailKey, id uint64) (waiter, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, ok := d.waiting[id]
	if !ok || w.key != key {
		return waiter{}, false
	}
	delete(d.waiting, id)
	return w, true
}

// answer passes the outcome on to the process that waits for it. A mail process can tell only
// that of its own deliveries: that another user's message was saved is not for it
// to say.
func (d *deliveries) answer(key mailKey, msg *master.Message) {
	var result mail.Delivered
	if msg.Decode(&result) != nil {
		return
	}
	if w, ok := d.take(key, result.ID); ok {
		result.ID = w.id
		w.from.Send(mail.KindDelivered, &result) //nolint:errcheck // a process that died has no client to tell
	}
}

// fail answers all deliveries that a dead mail process was doing.
func (d *deliveries) fail(key mailKey) {
	d.mu.Lock()
	var lost []waiter
	for id, w := range d.waiting {
		if w.key == key {
			lost = append(lost, w)
			delete(d.waiting, id)
		}
	}
	d.mu.Unlock()
	for _, w := range lost {
		w.from.Send(mail.KindDelivered, &mail.Delivered{ID: w.id, Error: internalFailure}) //nolint:errcheck // as in answer
	}
}

// fromLMTP handles the messages of the process with the LMTP listeners: mail
// for users of other uids, and outcomes of mail it was passed itself.
func (m *Master) fromLMTP(c *master.Child, msg *master.Message) {
	defer msg.CloseFiles()
	switch msg.Kind {
	case mail.KindDeliver:
		m.passDelivery(c, msg)
	case mail.KindRecover:
		m.passRecovery(c, msg)
	case mail.KindDelivered:
		m.deliveries.answer(m.keyOf(c), msg)
	case mail.KindAccepted:
		m.logins.answered(m.keyOf(c), msg)
	case mail.KindEnded:
		m.sessions.ended(m.keyOf(c), msg)
	case mail.KindIdle:
	default:
		m.log.Errorf("service(lmtp): unexpected message %q", msg.Kind)
	}
}

// lmtpDied gives up what the process with the LMTP listeners was doing. It is
// started again.
func (m *Master) lmtpDied(c *master.Child) {
	key := m.keyOf(c)
	m.deliveries.fail(key)
	m.logins.fail(key)
	m.sessions.lost(c.PID())
}

func (m *Master) passDelivery(c *master.Child, msg *master.Message) {
	var d mail.Delivery
	if err := msg.Decode(&d); err != nil || len(msg.Files) != 1 {
		m.log.Errorf("service(lmtp): bad delivery request: %v", err)
		return
	}
	refuse := func(err error) {
		m.log.With("lmtp").Errorf("user %s: %v", d.User.Username, err)
		c.Send(mail.KindDelivered, &mail.Delivered{ID: d.ID, Error: internalFailure}) //nolint:errcheck // as in answer
	}
	id, err := m.plan.Load().mailIdentity(&d.User)
	if err != nil {
		refuse(err)
		return
	}
	d.User.UID, d.User.GID = id.UID, id.GID
	w := waiter{from: c, id: d.ID, key: mailKey{id.UID, id.GID, shard(d.User.Username, m.shards())}}
	d.ID = m.deliveries.add(w)
	if _, err := m.sendToMail(id, d.User.Username, mail.KindDeliver, &d, msg.Files[0]); err != nil {
		m.deliveries.take(w.key, d.ID)
		d.ID = w.id
		refuse(err)
	}
}

// passRecovery has mail of another uid recovered by a process of that uid. Which one that is the file system says,
// not the process that asks; and a journal is looked at by none but its owner's.
func (m *Master) passRecovery(c *master.Child, msg *master.Message) {
	var r mail.Recovery
	if err := msg.Decode(&r); err != nil {
		m.log.Errorf("service(mail): bad request to recover mail: %v", err)
		return
	}
	w := waiter{from: c, id: r.ID}
	refuse := func(err error) {
		m.log.Errorf("recover %q: %v", r.Top, err)
		c.Send(mail.KindDelivered, &mail.Delivered{ID: w.id, Error: internalFailure}) //nolint:errcheck // as in answer
	}
	uid, gid, err := journal.Owner(r.Top)
	if err != nil {
		refuse(err)
		return
	}
	owner := &store.UserInfo{UID: uid, GID: gid}
	id, err := m.plan.Load().mailIdentity(owner)
	if err != nil {
		refuse(err)
		return
	}
	w.key = mailKey{id.UID, id.GID, shard(owner.Username, m.shards())}
	r.ID = m.deliveries.add(w)
	if _, err := m.sendToMail(id, owner.Username, mail.KindRecover, &r); err != nil {
		m.deliveries.take(w.key, r.ID)
		refuse(err)
	}
}

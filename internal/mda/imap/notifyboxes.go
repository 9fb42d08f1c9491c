package imap

import (
	"errors"
	"slices"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// maxNotifyBoxes is how many mailboxes a session may watch. Each costs some hundred bytes and a watch
// of the kernel's.
const maxNotifyBoxes = 10000

// notifyBoxes is what the client knows of the mailboxes that NOTIFY is about.
type notifyBoxes struct {
	watch      *store.Watch
	boxes      map[string]*notifyBox // all there are
	order      []string              // of LIST
	subscribed map[string]bool
	items      statusItems // of a whole status
}

// A notifyBox is what the client knows of a mailbox.
type notifyBox struct {
	store.ListEntry
	status  store.Status // zero if it was not looked at
	watched bool
}

// watchMailboxes begins to watch what the filters mean.
func (c *command) watchMailboxes(n *notifySet) (*notifyBoxes, error) {
	m := &notifyBoxes{watch: c.user.Watch(c.wake)}
	m.items = statusMessages | statusUIDNext | statusUIDValidity | statusUnseen
	if n.events()&notifyFlagChange != 0 {
		m.items |= statusHighestModSeq
	}
	err := c.listNotified(m)
	for _, name := range m.order {
		if err != nil {
			break
		}
		err = c.lookAt(n, m, m.boxes[name])
	}
	if err != nil {
		m.watch.Close()
		return nil, err
	}
	return m, nil
}

// listNotified lists all mailboxes and subscriptions.
func (s *session) listNotified(m *notifyBoxes) error {
	entries, err := s.user.List(s.ctx, store.ListQuery{Patterns: []string{"*"}, Return: store.ReturnChildren})
	if err != nil {
		return err
	}
	if len(entries) > maxNotifyBoxes {
		return notifyOverflow("Too many mailboxes")
	}
	subscriptions, err := s.user.Subscriptions(s.ctx)
	if err != nil {
		return err
	}
	m.boxes, m.subscribed, m.order = make(map[string]*notifyBox, len(entries)), make(map[string]bool, len(subscriptions)), nil
	for i := range entries {
		entries[i].Flags &^= store.FlagMarked | store.FlagUnmarked | store.FlagSubscribed
		m.boxes[entries[i].Name] = &notifyBox{ListEntry: entries[i]}
		m.order = append(m.order, entries[i].Name)
	}
	for _, name := range subscriptions {
		m.subscribed[name] = true
	}
	return nil
}

// wanted returns which events of a mailbox the filters have told.
func (s *session) wanted(n *notifySet, m *notifyBoxes, name string) notifyEvents {
	return s.wantedOf(n, name, m.subscribed[name])
}

// wantedOf is wanted of a mailbox that is subscribed to or not.
func (s *session) wantedOf(n *notifySet, name string, subscribed bool) (events notifyEvents) {
	ns, ok := s.user.Namespace(name)
	if !ok {
		return 0
	}
	for i := range n.filters {
		if n.filters[i].matches(name, ns, subscribed) {
			events |= n.filters[i].events
		}
	}
	return events
}

// lookAt begins to watch a mailbox of which something is wanted, and remembers how it is. One that
// cannot be opened is as one that is not there.
func (s *session) lookAt(n *notifySet, m *notifyBoxes, b *notifyBox) error {
	events := s.wanted(n, m, b.Name)
	if events&(notifyMessages|notifyMailboxName) == 0 || b.Flags&(store.FlagNoSelect|store.FlagNonExistent) != 0 {
		return nil
	}
	if events&notifyMessages != 0 && !b.watched {
		if err := m.watch.Add(b.Name); err != nil {
			return nil
		}
		b.watched = true
	}
	status, err := s.user.Status(s.ctx, b.Name, false)
	if err != nil && s.ctx.Err() != nil {
		return err
	}
	b.status = status
	return nil
}

// tellAllStatus tells STATUS of all mailboxes whose messages matter, except the selected one
// (RFC 5465 3.1).
func (c *command) tellAllStatus() error {
	m := c.notified.mailbox
	if m.items&statusHighestModSeq != 0 {
		if err := c.enableCondstore(); err != nil {
			return err
		}
	}
	for _, name := range m.order {
		b := m.boxes[name]
		if !b.watched || b.status.UIDValidity == 0 || c.isSelected(&b.status) {
			continue
		}
		if err := c.put(c.appendStatusItems(c.buf(), name, &b.status, m.items)); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) isSelected(status *store.Status) bool {
	return s.box != nil && s.box.mbox.GUID() == status.GUID
}

// appendStatusItems appends a STATUS reply.
func (s *session) appendStatusItems(b []byte, name string, status *store.Status, items statusItems) []byte {
	b = append(b, "* STATUS "...)
	b = s.appendName(b, name)
	before := byte('(')
	for _, n := range statusNames {
		if items&n.item != 0 {
			if before == '(' {
				b = append(b, ' ')
			}
			b = append(b, before)
			b = append(b, n.name...)
			b = append(b, ' ')
			b = strconv.AppendUint(b, statusValue(status, n.item), 10)
			before = ' '
		}
	}
	return append(b, ")\r\n"...)
}

// notifyMailboxes tells what has changed in other mailboxes and of their names.
func (s *session) notifyMailboxes() error {
	m := s.notified.mailbox
	changed, names := m.watch.Take()
	if names {
		if err := s.notifyNames(m); err != nil {
			return s.notifyFailed(err)
		}
	}
	for _, name := range changed {
		if b := m.boxes[name]; b != nil {
			if err := s.notifyStatus(m, b); err != nil {
				return s.notifyFailed(err)
			}
		}
	}
	return nil
}

// notifyFailed tells that the client may have missed something (RFC 5465 leaves it to the server).
func (s *session) notifyFailed(err error) error {
	if s.ended != nil || s.ctx.Err() != nil {
		return s.ended
	}
	var se *store.Error
	if !errors.As(err, &se) || se.Code == store.CodeServerBug {
		s.log.Errorf("NOTIFY: %v", err)
	}
	return s.write("* NO NOTIFY error, some events may have got lost\r\n")
}

// notifyStatus tells how a mailbox has changed, in what Dovecot tells (RFC 5465 5.1 to 5.3).
func (s *session) notifyStatus(m *notifyBoxes, b *notifyBox) error {
	old := b.status
	now, err := s.user.Status(s.ctx, b.Name, false)
	if err != nil {
		return nil // deleted, which is told as a change of names; or not to be known of
	}
	b.status = now
	events := s.wanted(s.notified, m, b.Name)
	if s.isSelected(&now) {
		return nil
	}
	happened, items := statusChange(&old, &now)
	if s.enabled&enabledCondstore != 0 {
		items |= statusHighestModSeq
	}
	if happened&events == 0 || items == 0 {
		return nil
	}
	return s.put(s.appendStatusItems(s.buf(), b.Name, &now, items))
}

// statusChange returns what has happened to a mailbox, and what of its status tells that.
func statusChange(old, now *store.Status) (happened notifyEvents, items statusItems) {
	if old.UIDValidity != now.UIDValidity {
		happened |= notifyMessages
		items |= statusUIDValidity | statusUIDNext | statusMessages | statusUnseen
	}
	if old.UIDNext != now.UIDNext {
		happened |= notifyMessageNew
		items |= statusUIDNext | statusMessages | statusUnseen
	}
	if old.Messages > now.Messages {
		happened |= notifyMessageExpunge
		items |= statusUIDNext | statusMessages | statusUnseen
	}
	if old.Unseen != now.Unseen {
		happened |= notifyFlagChange
		items |= statusUnseen
	}
	if old.HighestModSeq < now.HighestModSeq {
		happened |= notifyFlagChange
	}
	return happened, items
}

// notifyNames tells which mailboxes and subscriptions have come, gone and got another name (RFC 5465
// 5.4, 5.5).
func (s *session) notifyNames(m *notifyBoxes) error {
	old := *m
	if err := s.listNotified(m); err != nil {
		m.boxes, m.order, m.subscribed = old.boxes, old.order, old.subscribed
		return err
	}
	added, err := s.addNotified(m, &old)
	if err != nil {
		return err
	}
	gone := make(map[[16]byte]string)
	for _, name := range old.order {
		if m.boxes[name] == nil {
			m.watch.Remove(name)
			gone[old.boxes[name].status.GUID] = name
		}
	}
	delete(gone, [16]byte{}) // not known
	from, moved := make(map[string]string), make(map[string]bool)
	for _, b := range added {
		if name, ok := gone[b.status.GUID]; ok {
			from[b.Name], moved[name] = name, true
		}
	}
	for _, name := range old.order {
		if m.boxes[name] != nil || moved[name] {
			continue
		}
		e := store.ListEntry{Name: name, Sep: old.boxes[name].Sep, Flags: store.FlagNonExistent}
		if err := s.notifyName(m, &e, ""); err != nil {
			return err
		}
	}
	for _, b := range added {
		if err := s.notifyAdded(m, b, old.boxes[from[b.Name]]); err != nil {
			return err
		}
	}
	return s.notifySubscriptions(m, old.subscribed)
}

// notifyAdded tells of a mailbox that has come, or had another name before. What messages it brings are
// news, too.
func (s *session) notifyAdded(m *notifyBoxes, b, was *notifyBox) error {
	known := store.Status{}
	from := ""
	if was != nil {
		from, known = was.Name, was.status
	}
	if err := s.notifyName(m, &b.ListEntry, from); err != nil || was == nil && b.status.Messages == 0 {
		return err
	}
	b.status = known
	return s.notifyStatus(m, b)
}

// addNotified returns the mailboxes that are new; all others are as they were known.
func (s *session) addNotified(m, old *notifyBoxes) (added []*notifyBox, err error) {
	for _, name := range m.order {
		b := m.boxes[name]
		was := old.boxes[name]
		if was != nil {
			b.status, b.watched = was.status, was.watched
		}
		if was == nil {
			added = append(added, b)
		}
		if was == nil || !b.watched { // it may be subscribed to now
			if err := s.lookAt(s.notified, m, b); err != nil {
				return nil, err
			}
		}
	}
	return added, nil
}

// notifyName tells of one name that came or went. from is the name before, if there was one.
func (s *session) notifyName(m *notifyBoxes, e *store.ListEntry, from string) error {
	events := s.wanted(s.notified, m, e.Name)
	if from != "" {
		events |= s.wanted(s.notified, m, from)
	}
	if events&notifyMailboxName == 0 {
		return nil
	}
	b := s.appendListEntry(s.buf(), "LIST", e)
	if from != "" {
		b = append(b[:len(b)-2], ` ("OLDNAME" (`...)
		b = s.appendName(b, from)
		b = append(b, "))\r\n"...)
	}
	return s.put(b)
}

// notifySubscriptions tells of subscriptions that differ from those before.
func (s *session) notifySubscriptions(m *notifyBoxes, before map[string]bool) error {
	var changed []string
	for name := range m.subscribed {
		if !before[name] {
			changed = append(changed, name)
		}
	}
	for name := range before {
		if !m.subscribed[name] {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	for _, name := range changed {
		if s.wantedOf(s.notified, name, true)&notifySubscriptionChange == 0 {
			continue
		}
		e := store.ListEntry{Name: name, Flags: store.FlagNonExistent}
		if b := m.boxes[name]; b != nil {
			e = b.ListEntry
		} else if ns, ok := s.user.Namespace(name); ok {
			e.Sep = ns.Sep
		}
		if m.subscribed[name] {
			e.Flags |= store.FlagSubscribed
		}
		if err := s.put(s.appendListEntry(s.buf(), "LIST", &e)); err != nil {
			return err
		}
	}
	return nil
}

package mailbox

import (
	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// A Guard says what the session that has a handle may do. It is asked each time: rights
// change.
type Guard interface {
	Rights() (acl.Right, error)
	// Denied is the error of what it may not do.
	Denied() error
}

// SetGuard has what is done through this handle depend on rights, of which save is the one for
// saving messages. It is called before anything is done.
func (m *Mailbox) SetGuard(g Guard, save acl.Right) { m.guard, m.saveRight = g, save }

// Rights returns what the session may do.
func (m *Mailbox) Rights() (acl.Right, error) {
	if m.guard == nil {
		return acl.All, nil
	}
	return m.guard.Rights()
}

// Changeable returns which system flags the session may change, and whether it may change
// keywords.
func (m *Mailbox) Changeable() (flags Flags, keywords bool, err error) {
	r, err := m.Rights()
	if r&acl.Write != 0 {
		flags, keywords = allFlags&^(Seen|Deleted), true
	}
	if r&acl.WriteSeen != 0 {
		flags |= Seen
	}
	if r&acl.WriteDeleted != 0 {
		flags |= Deleted
	}
	return flags, keywords, err
}

// ReadOnly reports whether the session may change nothing in the mailbox.
func (m *Mailbox) ReadOnly() (bool, error) {
	r, err := m.Rights()
	return r&(m.saveRight|acl.Expunge|acl.Write|acl.WriteDeleted|acl.WriteSeen) == 0 && m.guard != nil, err
}

// Told reports whether the session may know which uids the messages got that it saves.
func (m *Mailbox) Told() bool {
	r, err := m.Rights()
	return err == nil && r&acl.Read != 0
}

// need returns nil if the session has the right.
func (m *Mailbox) need(right acl.Right) error {
	r, err := m.Rights()
	if err == nil && r&right == 0 {
		err = m.guard.Denied()
	}
	return err
}

// needSave is need for saving messages.
func (m *Mailbox) needSave() error {
	if m.guard == nil {
		return nil
	}
	return m.need(m.saveRight)
}

// guardSave checks that a message may be saved and takes away the flags that may not be set.
func (m *Mailbox) guardSave(opt *SaveOptions) error {
	if m.guard == nil {
		return nil
	}
	if err := m.needSave(); err != nil {
		return err
	}
	flags, keywords, err := m.Changeable()
	opt.Flags &= flags
	if !keywords {
		opt.Keywords = nil
	}
	return err
}

// guardCopies is guardSave for messages that were put together already.
func (m *Mailbox) guardCopies(news []New) error {
	if m.guard == nil {
		return nil
	}
	flags, keywords, err := m.Changeable()
	for i := range news {
		news[i].Flags &= flags
		if !keywords {
			news[i].Keywords = nil
		}
	}
	return err
}

// guardFlags takes from a change what the session may not change.
func (m *Mailbox) guardFlags(c *FlagChange) error {
	if m.guard == nil {
		return nil
	}
	flags, keywords, err := m.Changeable()
	c.kept = allFlags &^ flags
	if c.keepKeywords = !keywords; c.keepKeywords {
		c.Keywords = nil
	}
	return err
}

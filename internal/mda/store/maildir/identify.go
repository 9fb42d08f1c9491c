package maildir

// Reidentify gives the mailbox another GUID, unless that is zero, another uid validity and
// a next uid that is not lower than before. Locked.
func (b *Box) Reidentify(guid [16]byte, validity, next uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.whole(); err != nil {
		return err
	}
	l := &b.list
	if guid == [16]byte{} {
		guid = l.guid
	}
	if l.guid == guid && l.validity == validity && l.next >= next {
		return nil
	}
	l.guid, l.validity, l.next = guid, validity, max(l.next, next)
	return b.writeList()
}

// SetUIDLs gives messages POP3 UIDLs of their own, unless they have them. Locked.
func (b *Box) SetUIDLs(uidls map[uint32]string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.whole(); err != nil {
		return err
	}
	changed := false
	for uid, uidl := range uidls {
		k, ok := b.list.find(uid)
		if !ok || b.list.entries[k].UIDL() != "" {
			continue
		}
		e := &b.list.entries[k]
		if uidl == e.Base {
			uidl = "" // which stands for it
		}
		was := e.Fields
		e.Fields = addField(was, 'P', uidl)
		changed = changed || e.Fields != was
	}
	if !changed {
		return nil
	}
	return b.writeList()
}

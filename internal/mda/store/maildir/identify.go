package maildir

// Reidentify gives the mailbox another GUID, unless that is zero, another uid validity and
// a next uid that is not lower than before. Locked.
func (b *Box) Reidentify(guid [16]byte, validity, next uint32) error {
	b.mu.Lock()
	defer b.mu.Unlock()
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

package mailbox

import "context"

// Vanished returns the uids, ascending, of messages expunged with a modseq above
// since, for QRESYNC (RFC 7162 3.2.5). If the logs do not reach back so far, ok
// is false, and the caller has to report every uid without message.
func (m *Mailbox) Vanished(ctx context.Context, since uint64) (uids []uint32, ok bool, err error) {
	b := m.b
	b.mu.Lock()
	defer b.mu.Unlock()
	uids, ok, err = b.ix.Expunged(since)
	return uids, ok, wrap("look for expunged messages of "+b.loc.Name, err)
}

// Changed calls fn with ranges of uids, in no order, that have all messages which came or whose flags or
// keywords were changed with a modseq above since. If the logs do not reach back so far, ok is false, and
// any message may have been changed.
func (m *Mailbox) Changed(since uint64, fn func(first, last uint32)) (ok bool, err error) {
	b := m.b
	b.mu.Lock()
	defer b.mu.Unlock()
	ok, err = b.ix.Changed(since, fn)
	return ok, wrap("look for changes of "+b.loc.Name, err)
}

package journal

import "time"

// company is whom a batch waits for before it is written: a sync costs the same for one as for many. Who
// waited for the last batch, or came meanwhile, will be back, if clients send one message after the
// other. A batch waits no longer than the last one took, so that no answer takes much longer for it,
// and not at all for clients that come one at a time.
type company struct {
	expected int
	patience time.Duration // 0: not at all
}

// The bounds of patience: no disk is so slow that a client should notice, and where a sync costs little
// there is little to be saved.
const (
	minPatience = 200 * time.Microsecond
	maxPatience = time.Millisecond
)

// took notes how long a batch took, and how many waited for it and for the next.
func (c *company) took(d time.Duration, waited int) {
	c.expected = waited
	if c.patience = min(d, maxPatience); d < minPatience {
		c.patience = 0
	}
}

// awaitCompany waits until others wait for the batch, too. mu is held, but not while it waits.
func (j *Journal) awaitCompany(b *batch) {
	if j.company.patience == 0 || b.waiting >= j.company.expected {
		return
	}
	full := make(chan struct{})
	b.full = full
	timer := time.NewTimer(j.company.patience)
	j.mu.Unlock()
	select {
	case <-full:
	case <-timer.C:
	}
	j.mu.Lock()
	timer.Stop()
	b.full = nil
}

package smtp

import "time"

// request is a limit on the time that a whole request takes, besides that on each read: who
// sends a byte now and then does not keep a connection for ever.
type request struct {
	rate  int       // bytes that buy a second; 0: no limit
	until time.Time // zero: nothing was awaited yet
	bytes int       // that came and have bought no time yet
}

// SetRequest begins a request. It must be over after the reader's timeout, and a second later
// for each rate bytes that come, though never later than the timeout from then. Zero
// ends the limit.
func (r *Reader) SetRequest(rate int) {
	if rate == 0 && r.request.rate == 0 {
		return
	}
	r.request = request{rate: rate}
	r.armed = time.Time{}
}

// add counts what came.
func (q *request) add(n int) {
	if q.rate > 0 {
		q.bytes += n
	}
}

// deadline is when a read that begins now has to be over.
func (q *request) deadline(now time.Time, timeout time.Duration) time.Time {
	last := now.Add(timeout)
	if q.until.IsZero() {
		q.until = last
	}
	q.until = q.until.Add(time.Duration(q.bytes) * time.Second / time.Duration(q.rate))
	q.bytes = 0
	if q.until.After(last) {
		q.until = last
	}
	return q.until
}

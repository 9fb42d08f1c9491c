package master

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// gcPercent is GOGC of daemon processes that have little to do. Their heaps are small and what
	// they allocate is short-lived: a process after a burst stays as small as before it.
	gcPercent = 40
	// maxPercent is GOGC at most.
	maxPercent = 1000
	// minHeap is what the Go runtime takes for the size of smaller heaps.
	minHeap = 4 << 20
	// collections is how often a busy process collects garbage, about, in a second...
	collections = 8
	// maxGarbage is ... unless it would have more garbage than this.
	maxGarbage = 24 << 20
	// quietTime is how often a process looks whether it has become quiet.
	quietTime = time.Second
	// minPace is how long a time must be to tell from it how busy a process is.
	minPace = 10 * time.Millisecond
	// quietBytes is how little a quiet process allocates in that time.
	quietBytes = 64 << 10
	// tidyRounds is how often a process that has become quiet is tidied. Each
	// collection halves the stacks of waiting goroutines that use less than a
	// quarter of theirs; pools are empty after the second.
	tidyRounds = 4
)

// Tidy makes a process small. It collects garbage often, and from then on gives
// the memory of work that is done back to the system, each time the process has
// become quiet: after a burst of logins, for instance, when only idle sessions
// are left. A process that is busy lets some megabytes of garbage gather instead,
// from its first collection on.
func Tidy() {
	debug.SetGCPercent(gcPercent)
	p := &pace{last: time.Now(), percent: gcPercent}
	p.watchCollections()
	go p.tidy()
}

// A pace is how often garbage is collected.
type pace struct {
	mu        sync.Mutex
	last      time.Time // when it was set
	allocated uint64    // up to then
	percent   int
}

func (p *pace) tidy() {
	left, last := 0, uint64(0)
	for range time.Tick(quietTime) {
		now := p.set()
		allocated := now - last
		last = now
		switch {
		case allocated >= quietBytes:
			left = tidyRounds
		case left > 0:
			left--
			debug.FreeOSMemory()
		}
	}
}

// watchCollections has the pace set after each collection: a second is long for a process that
// begins to work.
func (p *pace) watchCollections() {
	type sentinel struct{ _ *sentinel }
	runtime.AddCleanup(new(sentinel), func(p *pace) {
		p.set()
		p.watchCollections()
	}, p)
}

// set sets GOGC for what was allocated since it was last set, if that is not just now. It returns
// how many bytes were allocated ever.
func (p *pace) set() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(heap)
	now, live := heap[0].Value.Uint64(), heap[1].Value.Uint64()
	since := time.Since(p.last)
	if since < minPace {
		return now
	}
	rate := float64(now-p.allocated) / since.Seconds()
	p.last, p.allocated = p.last.Add(since), now
	if percent := percentFor(uint64(rate), live); percent != p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
	return now
}

// percentFor returns GOGC for a process that allocates so many bytes in a second besides those that
// live.
func percentFor(allocated, live uint64) int {
	garbage := min(allocated/collections, maxGarbage)
	percent := int(100 * garbage / max(live, minHeap))
	const steps = 20 // a change stops the process for a moment
	return min(max(gcPercent, percent/steps*steps), maxPercent)
}

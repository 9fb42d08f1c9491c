package master

import (
	"runtime/debug"
	"runtime/metrics"
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
// are left. A process that is busy lets some megabytes of garbage gather instead.
func Tidy() {
	debug.SetGCPercent(gcPercent)
	go tidy()
}

func tidy() {
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	var last uint64
	left, percent := 0, gcPercent
	for range time.Tick(quietTime) {
		metrics.Read(heap)
		now, live := heap[0].Value.Uint64(), heap[1].Value.Uint64()
		allocated := now - last
		last = now
		if p := percentFor(allocated, live); p != percent {
			percent = p
			debug.SetGCPercent(p)
		}
		switch {
		case allocated >= quietBytes:
			left = tidyRounds
		case left > 0:
			left--
			debug.FreeOSMemory()
		}
	}
}

// percentFor returns GOGC for a process that allocates so many bytes in quietTime besides those that
// live.
func percentFor(allocated, live uint64) int {
	garbage := min(allocated/collections, maxGarbage)
	percent := int(100 * garbage / max(live, minHeap))
	const steps = 20 // a change stops the process for a moment
	return min(max(gcPercent, percent/steps*steps), maxPercent)
}

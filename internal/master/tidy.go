package master

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcPercent is GOGC of daemon processes. Their heaps are small and what they
	// allocate is short-lived: collecting often costs little, and a process
	// after a burst stays as small as before it.
	gcPercent = 40
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
// are left.
func Tidy() {
	debug.SetGCPercent(gcPercent)
	go tidy()
}

func tidy() {
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last uint64
	left := 0
	for range time.Tick(quietTime) {
		metrics.Read(allocated)
		now := allocated[0].Value.Uint64()
		busy := now-last >= quietBytes
		last = now
		switch {
		case busy:
			left = tidyRounds
		case left > 0:
			left--
			debug.FreeOSMemory()
		}
	}
}

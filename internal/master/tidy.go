package master

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// quietTime is how often a process looks whether it has become quiet.
const quietTime = time.Second

// quietBytes is how little a quiet process allocates in that time.
const quietBytes = 64 << 10

// gcPercent is GOGC of daemon processes. Their heaps are small and what they
// allocate is short-lived: collecting often costs little, and a process after
// a burst stays as small as before it.
const gcPercent = 40

// Tidy makes a process small. It collects garbage often, and from then on gives the memory
// of work that is done back to the system, each time the process has become
// quiet: after a burst of logins, for instance, when only idle sessions are left.
func Tidy() {
	debug.SetGCPercent(gcPercent)
	go tidy()
}

func tidy() {
	allocated := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last, tidied uint64
	for range time.Tick(quietTime) {
		metrics.Read(allocated)
		now := allocated[0].Value.Uint64()
		if now-last < quietBytes && now-tidied > 4*quietBytes {
			debug.FreeOSMemory()
			tidied = now
		}
		last = now
	}
}

package master

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// quietTime is how often a process looks whether it has become quiet.
const quietTime = 3 * time.Second

// quietBytes is how little a quiet process allocates in that time.
const quietBytes = 256 << 10

// Tidy gives the memory of work that is done back to the system, each time the
// process has become quiet: after a burst of logins, for instance, when only idle
// sessions are left. It never returns.
func Tidy() {
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

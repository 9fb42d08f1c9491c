package lmtp

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"os"
	"sync/atomic"
	"time"
)

// lastID makes identifiers of sessions that begin in the same nanosecond differ.
var lastID atomic.Int64

var hostHash = func() uint32 {
	host, _ := os.Hostname() // an empty name only makes the hash less telling
	return crc32.ChecksumIEEE([]byte(host))
}()

// newSessionID returns a session identifier like Dovecot's: base64 of 128 bits
// made of time, process and host.
func newSessionID(pid int) string {
	now := time.Now().UnixNano()
	for {
		last := lastID.Load()
		now = max(now, last+1)
		if lastID.CompareAndSwap(last, now) {
			break
		}
	}
	var id [16]byte
	binary.LittleEndian.PutUint32(id[0:], uint32(now%int64(time.Second)))
	binary.LittleEndian.PutUint32(id[4:], uint32(now/int64(time.Second)))
	binary.LittleEndian.PutUint32(id[8:], uint32(pid))
	binary.LittleEndian.PutUint32(id[12:], hostHash)
	return base64.RawStdEncoding.EncodeToString(id[:])
}

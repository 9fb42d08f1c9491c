package login

import (
	"encoding/base64"
	"encoding/binary"
	"net/netip"
	"time"
)

// sessionID makes Dovecot's session identifier: base64 of 48 bits of
// microseconds, the port, both little-endian, and the address of the client.
func sessionID(now time.Time, remote netip.AddrPort) string {
	var id [6 + 2 + 16]byte
	var us [8]byte
	binary.LittleEndian.PutUint64(us[:], uint64(now.UnixMicro()))
	copy(id[:], us[:6])
	binary.LittleEndian.PutUint16(id[6:], remote.Port())
	addr := remote.Addr().Unmap()
	n := 8
	if addr.Is4() {
		a := addr.As4()
		n += copy(id[n:], a[:])
	} else {
		a := addr.As16()
		n += copy(id[n:], a[:])
	}
	return base64.RawStdEncoding.EncodeToString(id[:n])
}

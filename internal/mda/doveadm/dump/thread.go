package dump

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

const (
	threadHeader  = 8 // u8 version, 3 bytes, u32 uid validity; in version 2, as Debian has it, 8 bytes more
	maxThreadFile = 1 << 30
)

func isThread(path string) bool { return strings.HasSuffix(path, ".thread") }

// A threadReader shows a dovecot.index.thread: for each message the numbers of the
// strings (message-ids) that it names. Numbers are packed, seven bits in each byte, the
// lowest first.
type threadReader struct {
	*dumper
	b         []byte // of the block
	uid       uint32
	likelyMax uint32 // a number of a string above this is probably wrong
}

var errThread = errors.New("broken")

func (d *dumper) thread(path string, _ []string) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxThreadFile))
	if err != nil {
		return fmt.Errorf("read(%s) failed: %s", path, reason(err))
	}
	if len(b) < threadHeader {
		return fmt.Errorf("%s has %d bytes, less than its header", path, len(b))
	}
	d.printf("version = %d\nuid validity = %d\n", b[0], le32(b[4:]))
	r := &threadReader{dumper: d, likelyMax: uint32(len(b) / 8 * 2)}
	pos := threadHeader
	if b[0] > 1 {
		pos = min(16, len(b))
	}
	for {
		d.printf("block at offset %d:\n", pos)
		n, ok := r.block(b[pos:])
		if !ok {
			return nil
		}
		pos += n
	}
}

// block shows the block at the begin of b and returns its length.
func (r *threadReader) block(b []byte) (n int, ok bool) {
	if len(b) <= 4 {
		return 0, false
	}
	size := encodedSize(b) >> 2
	r.printf(" - block_size=%d\n", size)
	if size == 0 {
		return 0, false
	}
	if 4+size > len(b) {
		r.printf("   - broken!\n")
		return 0, false
	}
	r.b = b[4 : 4+size]
	for r.uid++; len(r.b) > 0; {
		if r.record() != nil {
			r.printf(" - broken\n")
			return 0, false
		}
	}
	return 4 + size, true
}

// packed reads a packed number.
func (r *threadReader) packed() (n uint32, err error) {
	for i, c := range r.b {
		n |= uint32(c&0x7f) << (7 * i)
		if c&0x80 == 0 {
			r.b = r.b[i+1:]
			return n, nil
		}
		if i == 4 {
			break
		}
	}
	return 0, errThread
}

func (r *threadReader) record() error {
	diff, err := r.packed()
	if err != nil {
		return err
	}
	r.uid += diff
	n, err := r.packed()
	if err != nil {
		return err
	}
	r.printf(" - uid %d: n=%d\n", r.uid, n)
	count := int(n)
	if n < 2 {
		count++
	}
	if 8*count > len(r.b) {
		return errThread
	}
	for i := range count {
		crc, number := le32(r.b[4*i:]), le32(r.b[4*count+4*i:])
		r.printf("   - %s: crc32=%08x index=%d\n", threadRole(i, int(n)), crc, number)
		if number > r.likelyMax {
			r.printf(" - index probably broken\n")
		}
	}
	r.b = r.b[8*count:]
	return nil
}

// threadRole names what string i of a message with n references is.
func threadRole(i, n int) string {
	switch {
	case i == 0:
		return "message-id"
	case i == 1 && n == 1:
		return "in-reply-to"
	}
	return fmt.Sprintf("references[%d]", i)
}

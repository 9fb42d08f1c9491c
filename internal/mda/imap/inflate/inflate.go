// Package inflate decompresses a deflate stream (RFC 1951) that arrives in
// pieces and stays open: COMPRESS=DEFLATE of IMAP (RFC 4978).
//
// Unlike compress/flate, which pulls its input and cannot go on after it ran
// out, a [Stream] takes what has arrived, gives all that this makes, however the
// sender flushed it, and waits without a buffer. It keeps the window that the
// sender may refer to, which grows with what was received up to 32 KB, and
// within a block its codes.
package inflate

import (
	"errors"
	"io"
)

const (
	windowSize = 32 << 10
	maxBits    = 15 // of a code
	endOfBlock = 256
	maxLits    = 286
	maxDists   = 30
)

// ErrCorrupt is returned for input that is no deflate stream.
var ErrCorrupt = errors.New("inflate: corrupt deflate stream")

// errShort says that the input ends within an item. What was read of it has been
// put back.
var errShort = errors.New("inflate: short input")

// A Stream decompresses one deflate stream. The zero value is ready for use.
type Stream struct {
	bits  uint64 // read and not yet used, the next bit lowest
	nbits uint

	step   func(*Stream) error // nil before the header of a block
	final  bool                // the block is the last
	stored int                 // bytes left of a stored block
	length int                 // left to copy of a match
	dist   int                 // of that match
	codes  *codes              // of the block

	window []byte
	pos    int // in window, once that is full

	src, dst  []byte
	used, out int
}

// MinInput is how much input a caller must be able to hold: with so much Decode
// always makes progress. The header of a block is the longest item.
const MinInput = 512

// Decode writes to dst what src decompresses to. It returns how much it wrote
// and how much of src it has used: the rest must come again, with what follows.
// After the last block it returns [io.EOF].
func (z *Stream) Decode(dst, src []byte) (n, used int, err error) {
	z.dst, z.src, z.out, z.used = dst, src, 0, 0
	for z.out < len(dst) && err == nil {
		if z.step == nil {
			err = z.block()
			continue
		}
		err = z.step(z)
	}
	n, used = z.out, z.used
	z.dst, z.src = nil, nil
	if err == errShort || n > 0 {
		err = nil // what is wrong shows again
	}
	return n, used, err
}

// need makes n bits available, of at most 32.
func (z *Stream) need(n uint) bool {
	for z.nbits < n {
		if z.used == len(z.src) {
			return false
		}
		z.bits |= uint64(z.src[z.used]) << z.nbits
		z.used++
		z.nbits += 8
	}
	return true
}

// take returns the next n bits, which are there.
func (z *Stream) take(n uint) int {
	v := int(z.bits & (1<<n - 1))
	z.bits >>= n
	z.nbits -= n
	return v
}

// A place is where the stream can go back to if an item is not all there.
type place struct {
	bits  uint64
	nbits uint
	used  int
}

func (z *Stream) place() place  { return place{z.bits, z.nbits, z.used} }
func (z *Stream) back(at place) { z.bits, z.nbits, z.used = at.bits, at.nbits, at.used }

// block reads the header of a block (RFC 1951 3.2.3).
func (z *Stream) block() error {
	if z.final {
		return io.EOF
	}
	at := z.place()
	if !z.need(3) {
		return errShort
	}
	final := z.take(1) == 1
	var err error
	switch z.take(2) {
	case 0:
		err = z.startStored()
	case 1:
		z.codes, z.step = fixedCodes, (*Stream).symbols
	case 2:
		err = z.startDynamic()
	default:
		err = ErrCorrupt
	}
	if err != nil {
		z.back(at)
		return err
	}
	z.final = final
	return nil
}

// endBlock waits for the next block.
func (z *Stream) endBlock() { z.step, z.codes = nil, nil }

// startStored reads the length of a stored block (RFC 1951 3.2.4).
func (z *Stream) startStored() error {
	skip := z.nbits % 8
	if !z.need(skip + 32) {
		return errShort
	}
	z.take(skip)
	n := z.take(16)
	if z.take(16) != n^0xffff {
		return ErrCorrupt
	}
	z.stored, z.step = n, (*Stream).copyStored
	return nil
}

// copyStored copies from a stored block.
func (z *Stream) copyStored() error {
	for z.stored > 0 && z.out < len(z.dst) {
		if !z.need(8) {
			return errShort
		}
		z.put(byte(z.take(8)))
		z.stored--
	}
	if z.stored == 0 {
		z.endBlock()
	}
	return nil
}

// put writes a byte and remembers it.
func (z *Stream) put(c byte) {
	z.dst[z.out] = c
	z.out++
	if len(z.window) < windowSize {
		z.window = append(z.window, c)
		return
	}
	z.window[z.pos] = c
	z.pos = (z.pos + 1) % windowSize
}

// at returns the byte that was written n bytes ago; it is there.
func (z *Stream) at(n int) byte {
	if len(z.window) < windowSize {
		return z.window[len(z.window)-n]
	}
	return z.window[(z.pos-n+windowSize)%windowSize]
}

// symbols decodes literals and matches of a compressed block (RFC 1951 3.2.5).
func (z *Stream) symbols() error {
	for {
		for ; z.length > 0 && z.out < len(z.dst); z.length-- {
			z.put(z.at(z.dist))
		}
		if z.out == len(z.dst) {
			return nil
		}
		at := z.place()
		symbol, err := z.symbol(&z.codes.lits)
		switch {
		case err != nil:
			z.back(at)
			return err
		case symbol < endOfBlock:
			z.put(byte(symbol))
		case symbol == endOfBlock:
			z.endBlock()
			return nil
		default:
			if err := z.match(symbol); err != nil {
				z.back(at)
				return err
			}
		}
	}
}

// Lengths and distances: what the symbols mean, and how many bits follow.
var (
	lengthBase = [...]uint16{3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258}
	lengthBits = [...]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distBase   = [...]uint16{1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577}
	distBits   = [...]uint8{0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13}
)

// match reads the rest of a match.
func (z *Stream) match(symbol int) error {
	i := symbol - endOfBlock - 1
	if i >= len(lengthBase) {
		return ErrCorrupt
	}
	if !z.need(uint(lengthBits[i])) {
		return errShort
	}
	length := int(lengthBase[i]) + z.take(uint(lengthBits[i]))
	d, err := z.symbol(&z.codes.dists)
	if err != nil {
		return err
	}
	if d >= len(distBase) {
		return ErrCorrupt
	}
	if !z.need(uint(distBits[d])) {
		return errShort
	}
	dist := int(distBase[d]) + z.take(uint(distBits[d]))
	if dist > len(z.window) {
		return ErrCorrupt
	}
	z.length, z.dist = length, dist
	return nil
}

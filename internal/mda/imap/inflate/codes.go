package inflate

// codes are the Huffman codes of a block.
type codes struct{ lits, dists code }

// A code is canonical (RFC 1951 3.2.2): how many symbols have a code of each
// length, and the symbols in the order of their codes.
type code struct {
	count  [maxBits + 1]uint16
	symbol []uint16
}

// fixedCodes are those of RFC 1951 3.2.6.
var fixedCodes = func() *codes {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		case i < 280:
			lengths[i] = 7
		default:
			lengths[i] = 8
		}
	}
	var dists [maxDists]uint8
	for i := range dists {
		dists[i] = 5
	}
	c := new(codes)
	c.lits.init(lengths[:])
	c.dists.init(dists[:])
	return c
}()

// init makes the code whose symbols have codes of the given lengths, 0 for none.
// It returns how many codes are not used, less than 0 if there are too many.
func (h *code) init(lengths []uint8) (left int) {
	for _, n := range lengths {
		h.count[n]++
	}
	left = 1
	for n := 1; n <= maxBits; n++ {
		left = left<<1 - int(h.count[n])
		if left < 0 {
			return left
		}
	}
	var next [maxBits + 1]uint16
	for n := 1; n < maxBits; n++ {
		next[n+1] = next[n] + h.count[n]
	}
	h.symbol = make([]uint16, len(lengths)-int(h.count[0]))
	for s, n := range lengths {
		if n != 0 {
			h.symbol[next[n]] = uint16(s)
			next[n]++
		}
	}
	return left
}

// complete makes the code and reports whether it uses all there is, or has at most
// one symbol, with one bit (RFC 1951 3.2.7).
func (h *code) complete(lengths []uint8) bool {
	left := h.init(lengths)
	n := len(h.symbol)
	return left == 0 || left > 0 && (n == 0 || n == 1 && h.count[1] == 1)
}

// symbol reads the next symbol. On an error the bits read are lost.
func (z *Stream) symbol(h *code) (int, error) {
	value, first, index := 0, 0, 0
	for n := 1; n <= maxBits; n++ {
		if !z.need(1) {
			return 0, errShort
		}
		value |= z.take(1)
		count := int(h.count[n])
		if value-count < first {
			return int(h.symbol[index+value-first]), nil
		}
		index += count
		first = (first + count) << 1
		value <<= 1
	}
	return 0, ErrCorrupt
}

// lengthOrder is the order in which the lengths of the code that codes lengths come.
var lengthOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// startDynamic reads the codes of a block (RFC 1951 3.2.7).
func (z *Stream) startDynamic() error {
	if !z.need(14) {
		return errShort
	}
	lits, dists, n := z.take(5)+257, z.take(5)+1, z.take(4)+4
	if lits > maxLits || dists > maxDists {
		return ErrCorrupt
	}
	var order [19]uint8
	for i := range n {
		if !z.need(3) {
			return errShort
		}
		order[lengthOrder[i]] = uint8(z.take(3))
	}
	var coding code
	if coding.init(order[:]) != 0 {
		return ErrCorrupt
	}
	lengths, err := z.lengths(&coding, lits+dists)
	if err != nil {
		return err
	}
	c := new(codes)
	if lengths[endOfBlock] == 0 || !c.lits.complete(lengths[:lits]) || !c.dists.complete(lengths[lits:]) {
		return ErrCorrupt
	}
	z.codes, z.step = c, (*Stream).symbols
	return nil
}

// lengths reads n lengths of codes.
func (z *Stream) lengths(coding *code, n int) ([]uint8, error) {
	lengths := make([]uint8, 0, maxLits+maxDists)
	for len(lengths) < n {
		symbol, err := z.symbol(coding)
		if err != nil {
			return nil, err
		}
		var length uint8
		times := 1
		switch {
		case symbol < 16:
			length = uint8(symbol)
		case symbol == 16 && len(lengths) == 0:
			return nil, ErrCorrupt
		default:
			bits, least := [...]uint{2, 3, 7}[symbol-16], [...]int{3, 3, 11}[symbol-16]
			if !z.need(bits) {
				return nil, errShort
			}
			times = least + z.take(bits)
			if symbol == 16 {
				length = lengths[len(lengths)-1]
			}
		}
		if len(lengths)+times > n {
			return nil, ErrCorrupt
		}
		for range times {
			lengths = append(lengths, length)
		}
	}
	return lengths, nil
}

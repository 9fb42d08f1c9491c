package index

// ExtHeader32 is [Tx.ExtHeader] for headers that may be longer than 64 KB.
func (t *Tx) ExtHeader32(off int, data []byte) {
	if off+len(data) <= 0xffff {
		t.ExtHeader(off, data)
		return
	}
	start := t.begin(recExtHdr32 | typeExternal)
	t.u32(uint32(off))
	t.u32(uint32(len(data)))
	t.buf = append(t.buf, data...)
	t.end(start)
}

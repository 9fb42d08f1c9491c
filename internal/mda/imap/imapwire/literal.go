package imapwire

import "io"

// A LiteralReader reads the data of a streamed literal.
type LiteralReader Decoder

// Len returns the number of bytes left.
func (r *LiteralReader) Len() int64 { return r.lit.Size }

// Next returns the bytes of the literal that have arrived, waiting for some, or
// [io.EOF] at its end. They are valid until the decoder reads on.
func (r *LiteralReader) Next() ([]byte, error) {
	if r.lit.Size == 0 {
		return nil, io.EOF
	}
	d := (*Decoder)(r)
	d.mark = d.pos
	if d.scratch == nil || d.pos == len(d.buf) {
		if d.scratch != nil && cap(d.buf) < keepBuf {
			d.buf, d.mark, d.pos = make([]byte, 0, keepBuf), 0, 0 // fewer reads
		}
		if err := d.Fill(); err != nil {
			return nil, err
		}
	}
	n := min(int64(len(d.buf)-d.pos), d.lit.Size)
	p := d.buf[d.pos : d.pos+int(n)]
	d.pos += int(n)
	d.mark = d.pos
	d.lit.Size -= n
	return p, nil
}

// WriteTo writes what is left of the literal to w. If w fails the rest is left
// unread.
func (r *LiteralReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		p, err := r.Next()
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		n, err := w.Write(p)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

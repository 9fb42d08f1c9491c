package cache

import "errors"

// LoadRecord reads one record instead of all of a message, and returns where that
// which it continues is, and its size.
func (r *Reader) LoadRecord(v *Values, offset uint32) (prev, size uint32, err error) {
	v.reset(r.f)
	prev, err = v.record(r.Fields, offset)
	if errors.Is(err, errFields) {
		err = damaged("record at %d has an unknown field", offset)
	}
	return prev, uint32(len(v.buf)), err
}

package index

// An Attribute is a change of a mailbox attribute (METADATA, RFC 5464). The log has
// only that it was changed; the value is kept elsewhere.
type Attribute struct {
	Key     string
	Set     bool // false: unset
	Private bool // /private, else /shared
	Time    uint32
	Size    uint32 // of the value
}

// Attributes records changes of attributes.
func (t *Tx) Attributes(list []Attribute) {
	start := t.begin(recAttribute | typeExternal)
	for i := range list {
		a := &list[i]
		op, kind := byte('-'), byte('s')
		if a.Set {
			op = '+'
		}
		if a.Private {
			kind = 'p'
		}
		t.buf = append(append(append(t.buf, op, kind), a.Key...), 0)
	}
	for len(t.buf)%4 != 0 {
		t.buf = append(t.buf, 0)
	}
	for i := range list {
		t.u32(list[i].Time)
		if list[i].Set {
			t.u32(list[i].Size)
		}
	}
	t.end(start)
}

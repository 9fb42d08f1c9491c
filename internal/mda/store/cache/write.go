package cache

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// An Add is values to be added for one message.
type Add struct {
	UID    uint32
	Values []byte // made by AppendValue
	Offset uint32 // what the index has of the message; then, what it is to have
}

// AppendValue appends a value to those of a message that are to be added. Values of the
// wrong size are left out.
func (c *Cache) AppendValue(b []byte, id ID, data []byte) []byte {
	size := uint32(variable)
	if id < firstHeader {
		size = standard[id].Size
	}
	if size != variable && int(size) != len(data) {
		return b
	}
	full := 8 + len(data) + 3
	if int64(recordHead+len(b)+full) > c.opt.Settings.RecordMax {
		return b // others may still have room
	}
	le := binary.LittleEndian
	b = le.AppendUint32(b, uint32(id))
	if size == variable {
		b = le.AppendUint32(b, uint32(len(data)))
	}
	return pad4(append(b, data...))
}

// AppendLines is AppendValue for header fields, which are at lines of the message and have
// text, with lines that end in LF.
func (c *Cache) AppendLines(b []byte, id ID, lines []uint32, text []byte) []byte {
	if len(lines) == 0 {
		return c.AppendValue(b, id, nil)
	}
	data := make([]byte, 0, 4*len(lines)+4+len(text))
	for _, n := range lines {
		data = binary.LittleEndian.AppendUint32(data, n)
	}
	data = append(data, 0, 0, 0, 0)
	return c.AppendValue(b, id, append(data, text...))
}

// ErrSkipped says that values were not added, since others use the file or it cannot be
// written. Nothing is wrong with the mailbox.
var ErrSkipped = errors.New("not cached")

// Write adds values, in one write. The index's lock is held; seq is the reset id that it has.
// If newSeq is another one, the file is new: the index must get that reset id, and all offsets of
// others are void.
func (c *Cache) Write(ctx context.Context, indexID, seq uint32, adds []Add) (newSeq uint32, err error) {
	c.acquire()
	defer c.mu.Unlock()
	if c.off || len(adds) == 0 {
		return seq, ErrSkipped
	}
	for i := range adds {
		c.eachID(adds[i].Values, func(id ID, _ []byte) { c.adding(id) })
	}
	f, size, err := c.lock(ctx, indexID, seq)
	if err == nil && f == nil {
		return c.create(indexID, seq, adds)
	}
	if err != nil {
		return seq, c.skipped(err)
	}
	defer c.unlock(f)
	return seq, c.skipped(c.append(f, size, adds))
}

// skipped logs an error, once for those that others may do something about.
func (c *Cache) skipped(err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, errBusy) && !errors.Is(err, context.Canceled) {
		c.opt.Log.Errorf("Mailbox %s: %s: %v", c.opt.Mailbox, index.CacheName, err)
	}
	return ErrSkipped
}

// eachID calls fn for each value, with the place of its field's number.
func (c *Cache) eachID(values []byte, fn func(id ID, number []byte)) {
	le := binary.LittleEndian
	for at := 0; at < len(values); {
		id := ID(le.Uint32(values[at:]))
		size := c.known[id].Size
		fn(id, values[at:at+4])
		at += 4
		if size == variable {
			size = le.Uint32(values[at:])
			at += 4
		}
		at += (int(size) + 3) &^ 3
	}
}

// append adds records at the end of f, after a field header if there are new fields. The
// file and mu are locked.
func (c *Cache) append(f *file, size int64, adds []Add) (err error) {
	begin := (size + 3) &^ 3
	fields, ids := c.missingFields(f, adds)
	b := make([]byte, 0, estimate(adds)+fieldHeaderHead+len(fields)*32)
	var fieldsAt uint32
	if fields != nil {
		fieldsAt = uint32(begin)
		b = appendFields(b, fields)
	} else {
		ids = f.ids
	}
	b, n := c.appendRecords(b, uint32(begin), numbersOf(ids, len(c.known)), adds)
	if begin+int64(len(b)) > c.opt.Settings.Max {
		c.why = "file is too large"
		return errBusy
	}
	if _, err := f.WriteAt(b, begin); err != nil {
		_ = f.Truncate(size)
		return err
	}
	c.counts.records += n.records
	c.counts.continued += n.continued
	if fieldsAt != 0 {
		if f, err = c.link(f, fieldsAt, fields, ids, b); err != nil {
			return err
		}
	}
	if c.counts.records+c.counts.continued >= countsKept || c.dirty {
		return c.writeHeaders(f)
	}
	return nil
}

// countsKept is how many records are written before their number is.
const countsKept = 128

func estimate(adds []Add) int {
	n := 0
	for i := range adds {
		n += recordHead + len(adds[i].Values)
	}
	return n
}

// missingFields returns the fields of f with those added that adds need; nil if there is
// nothing to add.
func (c *Cache) missingFields(f *file, adds []Add) (fields []Field, ids []ID) {
	has := numbersOf(f.ids, len(c.known))
	for i := range adds {
		c.eachID(adds[i].Values, func(id ID, _ []byte) {
			if has[id] != noNumber {
				return
			}
			if ids == nil {
				ids = append(ids, f.ids...)
			}
			has[id] = uint32(len(ids))
			ids = append(ids, id)
		})
	}
	if ids == nil {
		return nil, nil
	}
	return c.fieldsOf(ids), ids
}

// fieldsOf returns the fields as they are to be written.
func (c *Cache) fieldsOf(ids []ID) []Field {
	fields := make([]Field, len(ids))
	for n, id := range ids {
		fields[n] = c.known[id].Field
	}
	return fields
}

const noNumber = 1<<32 - 1

// numbersOf returns the numbers of fields by ID, of which there are known.
func numbersOf(ids []ID, known int) []uint32 {
	numbers := make([]uint32, known)
	for i := range numbers {
		numbers[i] = noNumber
	}
	for n, id := range ids {
		numbers[id] = uint32(n)
	}
	return numbers
}

// appendRecords appends the records of adds to b, which will be at the offset begin, and
// sets their offsets.
func (c *Cache) appendRecords(b []byte, begin uint32, numbers []uint32, adds []Add) ([]byte, counts) {
	le := binary.LittleEndian
	var n counts
	for i := range adds {
		a := &adds[i]
		at := begin + uint32(len(b))
		if a.Offset != 0 {
			n.continued++
		} else {
			n.records++
		}
		b = le.AppendUint32(b, a.Offset)
		b = le.AppendUint32(b, uint32(recordHead+len(a.Values)))
		from := len(b)
		b = append(b, a.Values...)
		c.eachID(b[from:], func(id ID, number []byte) { le.PutUint32(number, numbers[id]) })
		a.Offset = at
	}
	return b, n
}

// link makes a field header that was written the last of f.
func (c *Cache) link(f *file, at uint32, fields []Field, ids []ID, raw []byte) (*file, error) {
	next, where := appendOffset(nil, at), int64(f.at)
	if f.at == 0 {
		where = headerSize - 4
	}
	if _, err := f.WriteAt(next, where); err != nil {
		return f, err
	}
	g := *f
	if f.at == 0 {
		g.hdr.Fields = at
	}
	size := binary.LittleEndian.Uint32(raw[4:])
	g.at, g.raw, g.fields, g.ids = at, append([]byte(nil), raw[:size]...), fields, ids
	for _, id := range ids {
		c.known[id].dirty = false
	}
	c.dirty = false
	c.file.Store(&g)
	return &g, nil
}

// writeHeaders writes what changed in the headers. The file and mu are locked.
func (c *Cache) writeHeaders(f *file) error {
	if c.counts != (counts{}) {
		var b [headerSize]byte
		if err := readFull(f, b[:], 0); err != nil {
			return err
		}
		h, err := DecodeHeader(b[:])
		if err != nil {
			return err
		}
		h.Continued += c.counts.continued
		h.Records += c.counts.records
		h.Records -= min(h.Records, c.counts.deleted)
		h.Deleted += c.counts.deleted
		if _, err := f.WriteAt(h.append(b[:0]), 0); err != nil {
			return err
		}
		c.counts = counts{}
	}
	if !c.dirty || f.at == 0 {
		return nil
	}
	c.dirty = false
	fields := c.fieldsOf(f.ids)
	raw := appendFields(make([]byte, 0, len(f.raw)+3), fields)[:len(f.raw)]
	head := fieldHeaderHead
	if _, err := f.WriteAt(raw[head:head+fieldSize*len(fields)], int64(f.at)+int64(head)); err != nil {
		return err
	}
	copy(raw, f.raw[:head])
	for _, id := range f.ids {
		c.known[id].dirty = false
	}
	g := *f
	g.raw, g.fields = raw, fields
	c.file.Store(&g)
	return nil
}

// Note writes decisions and counts that changed, if there are any. No lock need be held.
func (c *Cache) Note() {
	c.acquire()
	pending := c.dirty || c.counts != counts{}
	c.mu.Unlock()
	if f := c.file.Load(); f != nil && pending {
		_ = c.note(f) // only numbers that purging goes by, and decisions that will be made again
	}
}

func (c *Cache) note(f *file) error {
	c.acquire()
	defer c.mu.Unlock()
	if err := c.lockFile(context.Background(), f); err != nil {
		return err
	}
	defer c.unlock(f)
	if _, ok := c.sizeOf(f); !ok {
		return nil
	}
	g, err := c.upToDate(f)
	if err != nil {
		return err
	}
	return c.writeHeaders(g)
}

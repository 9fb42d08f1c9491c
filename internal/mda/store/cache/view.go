package cache

import (
	"errors"
	"os"
)

// A View looks up values for one session. One goroutine at a time may use it.
type View struct {
	c    *Cache
	vals Values
	file *file
	off  uint32   // of the message in vals; 0 for none
	high []uint32 // highest uid looked up, by ID

	recording bool
	asked     []ID // while recording
}

// View returns a view of the cache.
func (c *Cache) View() *View { return &View{c: c} }

// Load reads what is cached of a message: sequence and offset are what the index says.
// It is false if there is nothing that can be used.
func (v *View) Load(indexID, seq, off uint32) bool {
	if off == 0 {
		v.off = 0
		return false
	}
	f := v.c.open(indexID, seq)
	if f == nil {
		v.off = 0
		return false
	}
	if v.file != nil && v.file.File == f.File && v.off == off {
		return true
	}
	v.file, v.off = f, off
	err := v.vals.load(f.File, f.fields, off)
	if errors.Is(err, errFields) {
		if v.file, err = v.c.refresh(f); err == nil {
			err = v.vals.load(f.File, v.file.fields, off)
		}
		if errors.Is(err, errFields) {
			err = damaged("record at %d has an unknown field", off)
		}
	}
	if err == nil {
		return true
	}
	v.off = 0
	if !errors.Is(err, os.ErrClosed) {
		v.c.drop(f, err)
	}
	return false
}

// Has tells whether the message loaded last has a value of the field.
func (v *View) Has(id ID) bool {
	if v.off == 0 {
		return false
	}
	n := v.file.number(id)
	if n < 0 {
		return false
	}
	_, ok := v.vals.Get(n)
	return ok
}

// Get returns the value of a field of the message loaded last, which has that uid. It is
// valid until the next Load. That it was asked for is noted. firstNew is the uid of the
// first message that is not old.
func (v *View) Get(id ID, uid, firstNew uint32) ([]byte, bool) {
	if v.recording {
		v.asked = append(v.asked, id)
	}
	v.Ask([]ID{id}, uid, firstNew)
	if v.off == 0 {
		return nil, false
	}
	n := v.file.number(id)
	if n < 0 {
		return nil, false
	}
	return v.vals.Get(n)
}

// Ask notes that fields of a message were asked for, as Get does, for who has the answer
// without looking it up.
func (v *View) Ask(ids []ID, uid, firstNew uint32) {
	now := uint32(v.c.opt.Now().Unix())
	v.c.acquire()
	defer v.c.mu.Unlock()
	for _, id := range ids {
		for int(id) >= len(v.high) {
			v.high = append(v.high, 0)
		}
		v.c.used(id, now, uid, firstNew, &v.high[id])
	}
}

// Record begins to remember what Get is asked for.
func (v *View) Record() { v.recording, v.asked = true, v.asked[:0] }

// Recorded ends what Record began, and returns the fields. They are valid until the next Record.
func (v *View) Recorded() []ID {
	v.recording = false
	return v.asked
}

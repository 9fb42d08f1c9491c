package cache

import (
	"context"
	"errors"
)

// ErrNoFile says that there is no file whose decisions could be told or changed.
var ErrNoFile = errors.New("Cache is unusable")

// Decide calls change with each field that is known, and writes what it changed of decisions
// and times of use to the file, at once: an administrator wants it so. What settings force
// stays. It returns the fields as change left them. The index's lock is held.
func (c *Cache) Decide(ctx context.Context, indexID, seq uint32, change func(*Field)) ([]Field, error) {
	c.acquire()
	defer c.mu.Unlock()
	f, size, err := c.lock(ctx, indexID, seq)
	if err == nil && f == nil {
		err = ErrNoFile
	}
	if err != nil {
		return nil, err
	}
	defer c.unlock(f)
	has := numbersOf(f.ids, len(c.known))
	ids := f.ids[:len(f.ids):len(f.ids)]
	fields := make([]Field, len(c.known))
	for id := range c.known {
		k := &c.known[id]
		fields[id] = k.Field
		change(&fields[id])
		if fields[id] == k.Field {
			continue
		}
		k.LastUsed = fields[id].LastUsed
		if !k.forced {
			k.Decision = fields[id].Decision
		}
		k.dirty = true
		c.changed()
		if has[id] == noNumber {
			ids = append(ids, ID(id))
		}
	}
	if len(ids) > len(f.ids) {
		return fields, c.addFields(f, size, ids)
	}
	return fields, c.writeHeaders(f)
}

// addFields writes a new header of fields at the end of the file. The file and mu are locked.
func (c *Cache) addFields(f *file, size int64, ids []ID) error {
	at := (size + 3) &^ 3
	fields := c.fieldsOf(ids)
	raw := appendFields(nil, fields)
	if _, err := f.WriteAt(raw, at); err != nil {
		_ = f.Truncate(size)
		return err
	}
	_, err := c.link(f, uint32(at), fields, ids, raw)
	return err
}

package cache

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Message is one that the index has, for [Cache.Purge].
type Message struct {
	UID    uint32
	Offset uint32 // what the index has; then, what it is to have
}

// purgeBuffer is what is gathered of a new file before it is written.
const purgeBuffer = 256 << 10

// NeedsPurge tells whether the file should be made anew, and why: it has too much that
// nobody will read, or fields that were not used for long. messages is how many the
// mailbox has, day the begin of the day on which the last came.
func (c *Cache) NeedsPurge(messages int, day uint32) (why string) {
	f := c.file.Load()
	if f == nil {
		return ""
	}
	c.acquire()
	defer c.mu.Unlock()
	if c.why != "" {
		return c.why
	}
	for _, id := range f.ids {
		if c.expired(id, day) != c.known[id].Decision {
			return fmt.Sprintf("field %s was not used for long", c.known[id].Name)
		}
	}
	var b [headerSize]byte
	if readFull(f, b[:], 0) != nil {
		return ""
	}
	h, err := DecodeHeader(b[:])
	if err != nil {
		return ""
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil || st.Size < c.opt.Settings.PurgeMin {
		return ""
	}
	return c.tooMany(&h, messages)
}

// tooMany compares the numbers of records as Dovecot does.
func (c *Cache) tooMany(h *Header, messages int) string {
	records := uint64(h.Records) + uint64(c.counts.records)
	if messages == 0 {
		records = 1
	} else if records == 0 || records > 2*uint64(messages) {
		records = uint64(messages)
	}
	continued := uint64(h.Continued) + uint64(c.counts.continued)
	deleted := uint64(h.Deleted) + uint64(c.counts.deleted)
	set := &c.opt.Settings
	switch {
	case set.PurgeContinued > 0 && continued*100/records >= uint64(set.PurgeContinued):
		return fmt.Sprintf("%d records continue %d others", continued, records)
	case set.PurgeDeleted > 0 && deleted*100/(records+deleted) >= uint64(set.PurgeDeleted):
		return fmt.Sprintf("%d records are of expunged messages, %d are not", deleted, records)
	}
	return ""
}

// expired returns the decision of a field after it was not used for long. mu is held.
func (c *Cache) expired(id ID, day uint32) Decision {
	k := &c.known[id]
	drop := int64(c.opt.Settings.FieldDrop.Seconds())
	switch used := int64(k.LastUsed); {
	case k.forced || day == 0 || k.Decision == No:
	case used < int64(day)-2*drop:
		return No
	case k.Decision == Yes && used < int64(day)-drop:
		return Temp
	}
	return k.Decision
}

// Purge makes the file anew, with what is still wanted of the messages, which are in the
// order of the mailbox. firstNew is the uid of the first that is not old. The index's lock is
// held. The index must get the new sequence as reset id and the messages' new offsets.
func (c *Cache) Purge(ctx context.Context, indexID, seq, firstNew, day uint32, msgs []Message) (newSeq uint32, err error) {
	c.acquire()
	defer c.mu.Unlock()
	f, _, err := c.lock(ctx, indexID, seq)
	if err != nil || f == nil {
		return seq, c.skipped(err)
	}
	defer c.unlock(f)
	var ids []ID
	for _, id := range f.ids {
		k := &c.known[id]
		if d := c.expired(id, day); d != k.Decision {
			k.Decision = d
			c.forgetPlans()
		}
		if k.Decision != No || id < firstHeader && !k.foreign {
			ids = append(ids, id)
		}
	}
	w := c.newWriter(indexID, c.nextSeq(seq), ids)
	if err = c.copy(w, f, firstNew, msgs); err == nil {
		err = c.replace(w)
	}
	if errors.Is(err, ErrDamaged) {
		c.file.Store(nil)
		c.failed(f, err)
		return seq, ErrSkipped
	}
	if err != nil {
		return seq, c.skipped(err)
	}
	return w.hdr.FileSeq, nil
}

// copy copies what is wanted of the messages in f to a new file.
func (c *Cache) copy(w *writer, f *file, firstNew uint32, msgs []Message) error {
	dir, err := c.opt.Dir(false)
	if err != nil {
		return err
	}
	var v Values
	for i := range msgs {
		m := &msgs[i]
		if m.Offset == 0 {
			continue
		}
		if err := v.load(f.File, f.fields, m.Offset); err != nil {
			if errors.Is(err, errFields) {
				err = damaged("record at %d has an unknown field", m.Offset)
			}
			return err
		}
		m.Offset = 0
		at := w.wrote + int64(len(w.buf))
		if at > c.opt.Settings.Max-c.opt.Settings.RecordMax {
			continue
		}
		if c.copyRecord(w, f, &v, m.UID >= firstNew) {
			m.Offset = uint32(at)
			w.n.records++
		}
		if len(w.buf) >= purgeBuffer {
			if err := w.flush(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyRecord appends what is wanted of one message.
func (c *Cache) copyRecord(w *writer, f *file, v *Values, isNew bool) bool {
	start := len(w.buf)
	w.buf = append(w.buf, make([]byte, recordHead)...)
	for n, data := range v.All() {
		id := f.ids[n]
		k := &c.known[id]
		number := w.numbers[id]
		if number == noNumber || k.Decision == No || k.Decision == Temp && !isNew {
			continue
		}
		w.buf = appendU32(w.buf, number)
		if k.Size == variable {
			w.buf = appendU32(w.buf, uint32(len(data)))
		}
		w.buf = pad4(append(w.buf, data...))
	}
	size := len(w.buf) - start
	if size == recordHead || int64(size) > c.opt.Settings.RecordMax {
		w.buf = w.buf[:start]
		return false
	}
	putU32(w.buf[start+4:], uint32(size))
	return true
}

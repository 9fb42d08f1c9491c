package cache

import (
	"encoding/binary"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// create makes a new file. mu is held, and the index's lock.
func (c *Cache) create(indexID, seq uint32, adds []Add) (uint32, error) {
	ids := make([]ID, 0, len(c.known))
	now := uint32(c.opt.Now().Unix())
	for i := range c.known {
		k := &c.known[i]
		if k.foreign || ID(i) >= firstHeader && k.Decision == No {
			continue
		}
		if k.Decision != No && k.LastUsed == 0 {
			k.LastUsed = now // else it would be dropped at once
		}
		ids = append(ids, ID(i))
	}
	for i := range adds {
		adds[i].Offset = 0 // a value's field is no longer undecided: see adding
	}
	w := c.newWriter(indexID, c.nextSeq(seq), ids)
	w.buf, w.n = c.appendRecords(w.buf, 0, w.numbers, adds)
	if err := c.replace(w); err != nil {
		return seq, c.skipped(err)
	}
	return w.hdr.FileSeq, nil
}

// nextSeq returns a sequence that no file of this mailbox had.
func (c *Cache) nextSeq(seq uint32) uint32 {
	next := seq + 1
	if seq == 0 {
		next = uint32(c.opt.Now().Unix())
	}
	if f := c.file.Load(); f != nil && next <= f.hdr.FileSeq {
		next = f.hdr.FileSeq + 1
	}
	return max(next, 1)
}

// A writer makes a new file, in memory up to a bound, then on disk.
type writer struct {
	hdr     Header
	ids     []ID
	numbers []uint32
	fields  []Field
	buf     []byte // what was not written yet
	wrote   int64
	n       counts
	fd      int
}

func (c *Cache) newWriter(indexID, seq uint32, ids []ID) *writer {
	w := &writer{
		hdr: Header{IndexID: indexID, FileSeq: seq, Fields: headerSize},
		ids: ids, numbers: numbersOf(ids, len(c.known)), fields: c.fieldsOf(ids), fd: -1,
	}
	w.buf = appendFields(make([]byte, headerSize, 4<<10), w.fields)
	return w
}

const tempName = index.CacheName + ".tmp"

// flush writes what is in memory.
func (w *writer) flush(dir *index.Dir) error {
	if w.fd < 0 {
		if err := dir.Remove(tempName); err != nil { // of one that was killed: we have the lock
			return err
		}
		fd, err := dir.Create(tempName)
		if err != nil {
			return err
		}
		w.fd = fd
	}
	if err := index.WriteAll(w.fd, w.buf); err != nil {
		return err
	}
	w.wrote += int64(len(w.buf))
	w.buf = w.buf[:0]
	return nil
}

// replace finishes the new file and puts it in the place of the old one. mu is held.
func (c *Cache) replace(w *writer) error {
	dir, err := c.opt.Dir(true)
	if err != nil {
		return err
	}
	raw, err := c.finish(w, dir)
	if err == nil {
		err = dir.Rename(tempName, index.CacheName)
	}
	if err != nil {
		if w.fd >= 0 {
			unix.Close(w.fd)
			_ = dir.Remove(tempName)
		}
		return err
	}
	f := &file{
		File: os.NewFile(uintptr(w.fd), dir.File(index.CacheName)), hdr: w.hdr,
		at: headerSize, raw: raw, fields: w.fields, ids: w.ids,
	}
	var st unix.Stat_t
	if err := unix.Fstat(w.fd, &st); err != nil {
		f.Close()
		return err
	}
	f.dev, f.ino = st.Dev, st.Ino
	for i := range c.known {
		c.known[i].dirty = false
	}
	c.dirty, c.why = false, ""
	c.use(f)
	return nil
}

// finish writes the rest of the file and its header, and returns its field header.
func (c *Cache) finish(w *writer, dir *index.Dir) (raw []byte, err error) {
	w.hdr.Records, w.hdr.UsedSize = w.n.records, uint32(w.wrote+int64(len(w.buf)))
	if w.fd < 0 { // all is in memory
		w.hdr.append(w.buf[:0])
	}
	all := w.fd >= 0
	if err := w.flush(dir); err != nil {
		return nil, err
	}
	if all {
		if _, err := unix.Pwrite(w.fd, w.hdr.append(nil), 0); err != nil {
			return nil, err
		}
	}
	if c.opt.Sync {
		if err := unix.Fdatasync(w.fd); err != nil {
			return nil, err
		}
	}
	raw = appendFields(nil, w.fields)
	return raw[:binary.LittleEndian.Uint32(raw[4:])], nil
}

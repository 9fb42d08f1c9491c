package maildir

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

const bufSize = 64 << 10

var bufPool = sync.Pool{New: func() any { b := make([]byte, 0, bufSize); return &b }}

var errWriter = errors.New("maildir: write after Finish or Abort")

// A Writer writes a message to tmp.
type Writer struct {
	b       *Box
	name    string // in tmp; "" before the file exists
	fd      int
	buf     *[]byte
	size    int64
	virtual int64                   // additional bytes with CRLF line ends
	cr      bool                    // a CR was read that may belong to a line end
	stored  byte                    // the last byte stored
	packer  io.WriteCloser          // compresses; nil for none
	head    [compress.HeadSize]byte // the first bytes
	err     error
}

// NewWriter begins a message. No file is made before there is more to write than a
// buffer holds.
func (b *Box) NewWriter() *Writer {
	w := &Writer{b: b, fd: -1, buf: bufPool.Get().(*[]byte)}
	*w.buf = (*w.buf)[:0]
	if b.opt.Method != nil {
		w.packer, w.err = b.opt.Method.NewWriter((*packed)(w), b.opt.Level)
	}
	return w
}

// A packed Writer takes compressed bytes.
type packed Writer

func (p *packed) Write(b []byte) (int, error) {
	w := (*Writer)(p)
	w.put(b)
	return len(b), w.err
}

// Write adds text. CRLF becomes LF; a CR elsewhere stays.
func (w *Writer) Write(p []byte) (int, error) {
	n := len(p)
	if w.buf == nil && w.err == nil {
		w.err = errWriter
	}
	if w.err != nil {
		return 0, w.err
	}
	if w.cr && n > 0 {
		w.cr = false
		if p[0] != '\n' {
			w.store([]byte{'\r'})
		}
	}
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\r')
		if i < 0 {
			w.store(p)
			break
		}
		if i+1 == len(p) {
			w.cr = true
			w.store(p[:i])
			break
		}
		end := i
		if p[i+1] != '\n' {
			end++
		}
		w.store(p[:end])
		p = p[i+1:]
	}
	return n, w.err
}

// store adds bytes as they are.
func (w *Writer) store(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.size < int64(len(w.head)) {
		copy(w.head[w.size:], p)
	}
	w.size += int64(len(p))
	w.virtual += int64(bytes.Count(p, []byte("\n")) - bytes.Count(p, []byte("\r\n")))
	if w.stored == '\r' && p[0] == '\n' {
		w.virtual--
	}
	w.stored = p[len(p)-1]
	if w.packer == nil {
		w.put(p)
	} else if w.err == nil {
		if _, err := w.packer.Write(p); w.err == nil {
			w.err = err
		}
	}
}

// put adds bytes to the file.
func (w *Writer) put(p []byte) {
	for len(p) > 0 && w.err == nil {
		n := min(len(p), bufSize-len(*w.buf))
		*w.buf = append(*w.buf, p[:n]...)
		p = p[n:]
		if len(*w.buf) == bufSize {
			w.flush()
		}
	}
}

func (w *Writer) flush() {
	if w.err != nil {
		return
	}
	d := w.b.tmp
	if w.fd < 0 {
		name := NewName(w.b.opt.Now())
		fd, err := d.Create(name)
		if err != nil {
			w.err = sysError("open", d.File(name), err)
			return
		}
		w.fd, w.name = fd, name
	}
	if err := index.WriteAll(w.fd, *w.buf); err != nil {
		w.err = sysError("write", d.File(w.name), err)
		return
	}
	*w.buf = (*w.buf)[:0]
}

// Size returns the size so far.
func (w *Writer) Size() int64 { return w.size }

// VirtualSize returns the size so far with every line end counted as CRLF.
func (w *Writer) VirtualSize() int64 { return w.size + w.virtual }

// Finish completes the file and has its content on disk.
func (w *Writer) Finish(received time.Time) error {
	if w.cr {
		w.cr = false
		w.store([]byte{'\r'})
	}
	w.finishPacking()
	w.flush()
	w.release()
	if w.err != nil {
		return w.err
	}
	t := unix.NsecToTimespec(received.UnixNano())
	if err := unix.UtimesNanoAt(w.b.tmp.FD, w.name, []unix.Timespec{t, t}, 0); err != nil {
		w.err = sysError("utimes", w.b.tmp.File(w.name), err)
	} else if err := w.b.opt.Flush(w.fd); err != nil {
		w.err = sysError("fdatasync", w.b.tmp.File(w.name), err)
	}
	return w.err
}

// finishPacking completes the compressed text. A text that is not, but would be taken for one,
// is refused.
func (w *Writer) finishPacking() {
	switch {
	case w.packer == nil && w.b.opt.Compressed && compress.Detect(w.head[:min(w.size, int64(len(w.head)))]) != nil:
		w.err = errors.Join(w.err, compress.ErrRefused)
	case w.packer != nil && w.err == nil:
		w.err = w.packer.Close()
		w.packer = nil
	}
}

func (w *Writer) release() {
	if w.buf != nil {
		bufPool.Put(w.buf)
		w.buf = nil
	}
}

// Close closes the finished file and leaves it where it is.
func (w *Writer) Close() {
	w.err = errWriter
	if w.packer != nil {
		_ = w.packer.Close() // only to give it back: with an error nothing is stored
		w.packer = nil
	}
	w.release()
	if w.fd >= 0 {
		unix.Close(w.fd)
		w.fd = -1
	}
}

// Abort closes and removes the file.
func (w *Writer) Abort() {
	w.Close()
	if w.name != "" {
		_ = w.b.tmp.Remove(w.name) // RemoveStale gets it later
		w.name = ""
	}
}

// base returns the base name that the finished file gets.
func (w *Writer) base() string { return appendSizes(w.name, w.size, w.VirtualSize()) }

// A link is a message of another mailbox that is to be one of this too.
type link struct {
	base   string // wanted
	fields string
}

// Link makes a name in tmp for a message of src, to be placed under another one. ok is false
// if the file system cannot.
func (b *Box) Link(src *Box, uid uint32, guess Info) (temp string, ok bool, err error) {
	temp = NewName(b.opt.Now())
	var l link
	err = src.with(uid, guess, func(e *Entry, path string) error {
		if err := unix.Linkat(src.opt.Dir.FD, path, b.tmp.FD, temp, 0); err != nil {
			return sysError("link", src.opt.Dir.File(path), err)
		}
		l = link{base: e.Base, fields: e.Fields}
		return nil
	})
	switch {
	case err == nil:
		b.mu.Lock()
		if b.links == nil {
			b.links = make(map[string]*link)
		}
		b.links[temp] = &l
		b.mu.Unlock()
		return temp, true, nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "", false, nil
	}
	return "", false, err
}

// Unlink gives up what Link made.
func (b *Box) Unlink(temp string) {
	b.mu.Lock()
	delete(b.links, temp)
	b.mu.Unlock()
	_ = b.tmp.Remove(temp) // RemoveStale gets it later
}

// A Placing is a message that gets its uid.
type Placing struct {
	Writer *Writer // finished, or nil for
	Link   string  // what [Box.Link] returned
	UID    uint32
	Info   Info
	GUID   string // "" for the base name
	UIDL   string

	path string // where it was placed
	temp string
}

// Place makes messages of files: moves them from tmp to where others see them, and
// writes their uids to the uidlist. All or none. Locked.
func (b *Box) Place(list []Placing) error {
	return b.own(func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		entries := make([]Entry, len(list))
		taken, err := b.takenNames(list)
		if err != nil {
			return err
		}
		for i := range list {
			err := b.placeOne(&list[i], &entries[i], taken)
			if err != nil {
				b.undo(list[:i])
				return err
			}
		}
		err = b.appendList(entries)
		if err != nil {
			b.undo(list)
		}
		return err
	})
}

// takenNames returns the base names of the mailbox if it has to be known whether
// there is one already.
func (b *Box) takenNames(list []Placing) (map[string]bool, error) {
	for i := range list {
		if list[i].Link == "" {
			continue
		}
		if err := b.whole(); err != nil {
			return nil, err
		}
		taken := make(map[string]bool, len(b.list.entries)+len(list))
		for k := range b.list.entries {
			taken[b.list.entries[k].Base] = true
		}
		return taken, nil
	}
	return nil, nil
}

func (b *Box) placeOne(p *Placing, e *Entry, taken map[string]bool) error {
	if p.Writer != nil {
		p.temp, e.Base = p.Writer.name, p.Writer.base()
		if p.GUID != "" && p.GUID != e.Base {
			e.Fields = addField(e.Fields, 'G', p.GUID)
		}
		if p.UIDL != "" {
			e.Fields = addField(e.Fields, 'P', p.UIDL)
		}
	} else {
		p.temp = p.Link
		b.placeLink(e, b.links[p.Link], taken)
	}
	e.UID = p.UID
	p.path = newName + "/" + e.Base
	if p.Info != (Info{}) {
		p.path = expected(e.Base, p.Info)
	}
	if err := renameNoReplace(b.opt.Dir.FD, tmpName+"/"+p.temp, p.path); err != nil {
		return sysError("rename", b.opt.Dir.File(p.path), err)
	}
	b.noteOne(e.Base, p.path)
	return nil
}

// placeLink names a shared message: as the original, so that the GUID is the same, or,
// if that is here already, with a name of its own and the GUID in the uidlist.
func (b *Box) placeLink(e *Entry, l *link, taken map[string]bool) {
	e.Base, e.Fields = l.base, l.fields
	if taken[e.Base] {
		guid := (&Entry{Base: l.base, Fields: l.fields}).GUID()
		_, sizes, ok := strings.Cut(l.base, ",")
		e.Base = NewName(b.opt.Now())
		if ok {
			e.Base += "," + sizes
		}
		if e.Get('G') == "" {
			e.Fields = addField(e.Fields, 'G', guid)
		}
	}
	taken[e.Base] = true
}

// addField adds a field to those of an entry. A value that a line cannot hold is left out.
func addField(fields string, key byte, value string) string {
	if strings.ContainsAny(value, " \n\r\x00") || len(value) > 1024 {
		return fields
	}
	if fields != "" {
		fields += " "
	}
	return fields + string(key) + value
}

// undo takes back what was placed. b.mu is held.
func (b *Box) undo(list []Placing) {
	if err := b.whole(); err != nil {
		b.opt.Log.Errorf("Mailbox %s: %v", b.opt.Name, err)
	}
	for i := range list {
		p := &list[i]
		if p.path == "" {
			continue
		}
		if err := unix.Renameat(b.opt.Dir.FD, p.path, b.opt.Dir.FD, tmpName+"/"+p.temp); err != nil {
			b.opt.Log.Errorf("Mailbox %s: rename(%s): %v", b.opt.Name, b.opt.Dir.File(p.path), err)
		}
		base := Base(p.path[4:])
		delete(b.odd, base)
		if k, ok := b.list.find(p.UID); ok && b.list.entries[k].Base == base {
			b.list.entries = append(b.list.entries[:k:k], b.list.entries[k+1:]...)
			b.rewrite = true
		}
		p.path = ""
	}
}

// Unplace undoes Place. Locked.
func (b *Box) Unplace(list []Placing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.undo(list)
	b.synced = false
	if b.rewrite {
		if err := b.writeList(); err != nil {
			b.opt.Log.Errorf("Mailbox %s: %v", b.opt.Name, err)
		}
	}
}

// Placed forgets what was kept for undoing Place.
func (b *Box) Placed(list []Placing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range list {
		delete(b.links, list[i].Link)
	}
}

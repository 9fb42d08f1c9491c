package cache

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Settings decide what is cached and when a file is made anew. A zero number means
// Dovecot's default, except for a percentage.
type Settings struct {
	Fields string // mail_cache_fields
	Always string // mail_always_cache_fields
	Never  string // mail_never_cache_fields

	FieldDrop      time.Duration // mail_cache_unaccessed_field_drop
	RecordMax      int64         // mail_cache_record_max_size
	Max            int64         // mail_cache_max_size
	PurgeMin       int64         // mail_cache_purge_min_size
	PurgeDeleted   uint          // mail_cache_purge_delete_percentage
	PurgeContinued uint          // mail_cache_purge_continued_percentage
	PurgeHeaders   uint          // mail_cache_purge_header_continue_count
}

func (s *Settings) setDefaults() {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&s.RecordMax, 64<<10)
	set(&s.Max, 1<<30)
	set(&s.PurgeMin, 32<<10)
	set((*int64)(&s.FieldDrop), int64(30*24*time.Hour))
	s.Max = min(s.Max, 1<<30) // more cannot be addressed
	s.RecordMax = min(s.RecordMax, maxRecord)
}

// Options say where a cache is and how it is kept.
type Options struct {
	// Dir returns the directory of the file. create asks for it to be made; else
	// it may be missing.
	Dir      func(create bool) (*index.Dir, error)
	Mailbox  string // for messages
	Log      *maillog.Logger
	Lock     index.LockMethod
	Sync     bool // mail_fsync=always
	Settings Settings
	Now      func() time.Time
}

// A Cache is the cache file of one mailbox. Its methods may be called by several
// goroutines.
type Cache struct {
	opt   Options
	off   bool // mail_never_cache_fields = *
	start *start

	plans [2]atomic.Pointer[Plan] // for old and new messages
	file  atomic.Pointer[file]    // nil until it is needed, and if there is none

	mu      sync.Mutex
	known   []known
	ids     map[string]ID // by name in lower case
	dirty   bool          // decisions or times of use are to be written
	missing uint32        // sequence of a file that was looked for in vain
	counts  counts        // to be added to those in the file
	busy    bool          // the lock was not to be had
	why     string        // the file should be made anew; empty if not
}

// counts are what is not in the header of the file yet.
type counts struct{ continued, records, deleted uint32 }

// A file is an open file as it was when its field header was read last.
type file struct {
	*os.File
	hdr      Header
	dev, ino uint64
	at       uint32 // of the last field header
	raw      []byte // it
	fields   []Field
	ids      []ID // by number
}

// number returns the number of a field in the file, -1 if it is not in it.
func (f *file) number(id ID) int {
	for n, x := range f.ids {
		if x == id {
			return n
		}
	}
	return -1
}

// New returns a cache. Its file is opened when it is needed.
func New(opt Options) *Cache {
	opt.Settings.setDefaults()
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := startOf(&opt.Settings, opt.Log)
	return &Cache{opt: opt, start: s, off: s.off}
}

// Close writes what is left to be noted in the file, and closes it.
func (c *Cache) Close() {
	f := c.file.Swap(nil)
	if f == nil {
		return
	}
	c.acquire()
	pending := c.dirty || c.counts != counts{}
	c.mu.Unlock()
	if pending {
		_ = c.note(f) // only numbers that purging goes by
	}
	f.Close()
}

// open returns the file with the sequence that the index has, nil if there is none.
func (c *Cache) open(indexID, seq uint32) *file {
	if f := c.file.Load(); f != nil && f.hdr.FileSeq == seq {
		return f
	}
	if seq == 0 || c.off {
		return nil
	}
	c.acquire()
	defer c.mu.Unlock()
	if f := c.file.Load(); f != nil && f.hdr.FileSeq == seq {
		return f
	}
	if c.missing == seq {
		return nil
	}
	f, err := c.openFile(indexID)
	if err != nil {
		c.missing = seq
		c.failed(f, err)
		return nil
	}
	if f != nil {
		c.use(f)
	}
	if f == nil || f.hdr.FileSeq != seq {
		c.missing = seq
		return nil
	}
	return f
}

// use makes f the file. mu is held.
func (c *Cache) use(f *file) {
	c.missing, c.counts = 0, counts{}
	if old := c.file.Swap(f); old != nil && old.File != f.File {
		old.Close()
	}
}

// openFile opens the file; nil if there is none, or one of another index. mu is held.
func (c *Cache) openFile(indexID uint32) (*file, error) {
	dir, err := c.opt.Dir(false)
	if err != nil {
		return nil, ignoreMissing(err)
	}
	fd, _, err := dir.OpenRegular(index.CacheName, unix.O_RDWR)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EROFS) {
		if n, rerr := dir.Open(index.CacheName, unix.O_RDONLY); rerr == nil {
			fd, err = n, nil
		}
	}
	if errors.Is(err, index.ErrDamaged) {
		return nil, c.clear(dir, err)
	}
	if err != nil {
		return nil, ignoreMissing(err)
	}
	f := &file{File: os.NewFile(uintptr(fd), dir.File(index.CacheName))}
	if err := c.read(f); err != nil {
		return f, err
	}
	if f.hdr.IndexID != indexID {
		f.Close()
		return nil, nil
	}
	return f, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, index.ErrNotExist) {
		return nil
	}
	return err
}

// read reads header and fields of f. mu is held.
func (c *Cache) read(f *file) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	f.dev, f.ino = st.Dev, st.Ino
	var b [headerSize]byte
	if err := readFull(f, b[:], 0); err != nil {
		return err
	}
	var err error
	if f.hdr, err = DecodeHeader(b[:]); err != nil {
		return err
	}
	return c.readFields(f)
}

// readFields reads the fields of f anew, from the last known field header on. mu is held.
func (c *Cache) readFields(f *file) error {
	from := f.at
	if from == 0 {
		from = f.hdr.Fields
	}
	if from == 0 {
		return nil // a file without fields
	}
	raw, at, hops, err := readFields(f, from)
	if err != nil {
		return err
	}
	fields, err := parseFields(raw)
	if err != nil {
		return err
	}
	ids, err := c.merge(fields)
	if err != nil {
		return err
	}
	f.raw, f.fields, f.ids, f.at = raw, fields, ids, at
	if f.at != f.hdr.Fields && hops > int(c.opt.Settings.PurgeHeaders) && c.opt.Settings.PurgeHeaders > 0 {
		c.why = "too many continued field headers"
	}
	return nil
}

// refresh returns f with its fields read anew.
func (c *Cache) refresh(f *file) (*file, error) {
	c.acquire()
	defer c.mu.Unlock()
	g := *f
	if err := c.readFields(&g); err != nil {
		return nil, err
	}
	c.file.CompareAndSwap(f, &g)
	return &g, nil
}

// failed says that the file cannot be used and, if it is damaged, removes it. mu is held.
func (c *Cache) failed(f *file, err error) {
	if !errors.Is(err, ErrDamaged) {
		c.opt.Log.Errorf("Mailbox %s: %s: %v", c.opt.Mailbox, index.CacheName, err)
		return
	}
	c.opt.Log.Errorf("Mailbox %s: Deleting corrupted cache: %v", c.opt.Mailbox, err)
	dir, err := c.opt.Dir(false)
	if err != nil {
		return
	}
	var st unix.Stat_t
	if dir.Stat(index.CacheName, &st) == nil && (f == nil || f.ino == 0 || st.Ino == f.ino && st.Dev == f.dev) {
		_ = dir.Remove(index.CacheName) // the next to write replaces it anyway
	}
	if f != nil {
		f.Close()
	}
}

// drop gives up the file because of err.
func (c *Cache) drop(f *file, err error) {
	c.acquire()
	defer c.mu.Unlock()
	if c.missing == f.hdr.FileSeq {
		return // another was first
	}
	c.missing = f.hdr.FileSeq
	if cur := c.file.Load(); cur != nil && cur.hdr.FileSeq == f.hdr.FileSeq {
		c.file.Store(nil)
	}
	c.failed(f, err)
}

// Plan returns what is to be cached of a new message, or of an old one that is read
// anyway. seq is the reset id that the index has; 0 if there is no file.
func (c *Cache) Plan(indexID, seq uint32, isNew bool) *Plan {
	c.open(indexID, seq)
	which := 0
	if isNew {
		which = 1
	}
	if p := c.plans[which].Load(); p != nil {
		return p
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.start.plans[which]
	if c.ids != nil {
		p = c.newPlan(isNew)
	}
	c.plans[which].Store(p)
	return p
}

// Dropped counts messages with cached values that were expunged.
func (c *Cache) Dropped(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.deleted += uint32(n)
}

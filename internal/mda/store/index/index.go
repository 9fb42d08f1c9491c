package index

import (
	"errors"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// Options say how an index is kept. The zero value is Dovecot's default, except
// that Sync must be set to have snapshots flushed.
type Options struct {
	Log         *maillog.Logger
	Name        string // of the mailbox, for messages
	Base        string // first part of the file names; "" for IndexName
	Tail        bool   // every commit ends with the log's tail at its end (mdbox map)
	LockMethod  LockMethod
	LockTimeout time.Duration
	NoSync      bool // mail_fsync=never

	RewriteMin   int64 // write dovecot.index after reading this much log at open
	RewriteMax   int64 // ... when this much log lies behind it
	RotateMin    int64 // start a new log at this size, if it is RotateMinAge old
	RotateMax    int64 // ... at this size
	RotateMinAge time.Duration
	Log2MaxAge   time.Duration

	Now func() time.Time
}

func (o *Options) setDefaults() {
	set := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.RewriteMin, 8<<10)
	set(&o.RewriteMax, 128<<10)
	set(&o.RotateMin, 32<<10)
	set(&o.RotateMax, 1<<20)
	if o.RotateMinAge == 0 {
		o.RotateMinAge = 5 * time.Minute
	}
	if o.Log2MaxAge == 0 {
		o.Log2MaxAge = 48 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// An Index is the index files of one mailbox. One goroutine at a time may use
// it; the States it returns are free.
type Index struct {
	dir     *Dir
	names   *names
	opt     Options
	log     *logFile
	st      *State
	locked  bool
	diskSeq uint32 // the position at which dovecot.index was written; 0 if there is none
	diskOff uint32

	diskSize int64 // of dovecot.index
	readLog  int64 // bytes of log read at open
	newLock  int   // descriptor of .newlock while it is claimed
	claimed  bool
	cut      bool // see WasCut
}

// Open reads the index in dir, which stays the caller's. The state is light
// until [Index.Load]. ErrNotExist if there are no index files at all,
// ErrDamaged if [Index.Repair] is needed.
func Open(dir *Dir, opt Options) (*Index, error) {
	x := newIndex(dir, opt)
	if err := x.open(true); err != nil {
		return x, err
	}
	return x, nil
}

func newIndex(dir *Dir, opt Options) *Index {
	opt.setDefaults()
	x := &Index{dir: dir, names: mailboxNames, opt: opt}
	if opt.Base != "" {
		x.names = namesFor(opt.Base)
	}
	return x
}

// State returns the newest state read.
func (x *Index) State() *State { return x.st }

// Dir returns the directory of the files.
func (x *Index) Dir() *Dir { return x.dir }

// Close closes the files.
func (x *Index) Close() {
	x.log.close()
	x.log = nil
}

// Load reads the messages, if the state is still light.
func (x *Index) Load() error {
	if x.st != nil && !x.st.light {
		return nil
	}
	return x.open(false)
}

// openTries bounds how often opening starts over because another process
// replaced a file meanwhile.
const openTries = 5

func (x *Index) open(light bool) (err error) {
	if x.locked {
		return x.readAll(x.log, light) // nobody else replaces files now
	}
	for range openTries {
		var l *logFile
		l, err = openLog(x.dir, x.names.log)
		if errors.Is(err, ErrNotExist) {
			return x.withoutLog(err)
		}
		if err == nil {
			if err = x.readAll(l, light); err == nil {
				return nil
			}
			l.close()
		}
		if !errors.Is(err, ErrDamaged) {
			return err
		}
	}
	return err
}

// withoutLog tells a mailbox without any index from one that lost its log.
func (x *Index) withoutLog(err error) error {
	var st unix.Stat_t
	if x.dir.Stat(x.names.index, &st) == nil {
		return damaged("%s is missing", x.names.log)
	}
	return err
}

// readAll makes a state from dovecot.index and the logs. On success the index
// uses l.
func (x *Index) readAll(l *logFile, light bool) error {
	s, err := x.readIndex(light)
	switch {
	case errors.Is(err, ErrNotExist):
		x.diskSeq, x.diskOff = 0, 0
	case err != nil:
		return err
	case s.Hdr.IndexID() != l.indexID:
		return damaged("%s has index id %d, the log %d", x.names.index, s.Hdr.IndexID(), l.indexID)
	default:
		x.diskSeq, x.diskOff = s.logSeq, s.logOff
	}
	if s != nil && l.prevSeq == 0 && s.logSeq < l.seq {
		s = nil // the log starts over
	}
	if s, err = x.replay(s, l, light); err != nil {
		return err
	}
	if x.log != l {
		x.log.close()
	}
	x.log, x.st = l, s
	return nil
}

// replay brings s, or an empty state, to the end of the log l.
func (x *Index) replay(s *State, l *logFile, light bool) (*State, error) {
	if s == nil {
		s = newState(newHeader(l.indexID), light)
		s.logSeq = l.seq
		if l.prevSeq != 0 {
			s.logSeq = l.prevSeq
		}
	}
	if s.logSeq == l.prevSeq && l.prevSeq != 0 && s.logOff < l.prevOff {
		if err := x.replayPrevious(s, l); err != nil {
			return nil, err
		}
	}
	if s.logSeq == l.prevSeq && l.prevSeq != 0 && s.logOff == l.prevOff {
		s.nextLog(l)
	}
	if s.logSeq != l.seq {
		return nil, damaged("state is at log %d:%d, the log is %d", s.logSeq, s.logOff, l.seq)
	}
	size, err := l.fileSize()
	if err != nil {
		return nil, err
	}
	if err := x.startAt(s, l); err != nil {
		return nil, err
	}
	x.readLog = size - int64(s.logOff)
	return s, x.applyLog(s, l, size)
}

// replayPrevious applies the rest of .log.2 to s.
func (x *Index) replayPrevious(s *State, l *logFile) error {
	prev, err := openLog(x.dir, x.names.log2)
	if errors.Is(err, ErrNotExist) {
		return damaged("log %d is missing", s.logSeq)
	}
	if err != nil {
		return err
	}
	defer prev.close()
	if prev.seq != s.logSeq || prev.indexID != l.indexID {
		return damaged("log %d is missing", s.logSeq)
	}
	if s.logOff == 0 && prev.prevSeq != 0 {
		return damaged("log %d is missing", prev.prevSeq)
	}
	if err := x.startAt(s, prev); err != nil {
		return err
	}
	if err := x.applyLog(s, prev, int64(l.prevOff)); err != nil {
		return err
	}
	if s.logOff != l.prevOff {
		return damaged("log %d ends at %d instead of %d", prev.seq, s.logOff, l.prevOff)
	}
	return nil
}

// startAt prepares s, whose position is in l, for applying the rest of l: finds
// the modseq at this position, which dovecot.index may know for an earlier one.
func (x *Index) startAt(s *State, l *logFile) error {
	from, modseq := int64(l.size), l.modseq
	s.logOff = max(s.logOff, uint32(l.size))
	if h := s.ExtHeader(extModSeq); len(h) >= 16 && le32(h[8:]) == l.seq && le32(h[12:]) <= s.logOff && int(le32(h[12:])) >= l.size {
		from, modseq = int64(le32(h[12:])), max(le64(h), 1)
	}
	if from < int64(s.logOff) {
		b, err := l.readFrom(from, int64(s.logOff))
		if err != nil {
			return err
		}
		modseq = modSeqAfter(modseq, b, l.minor)
	}
	s.modseq = max(s.modseq, modseq)
	if s.modseqExt < 0 {
		s.modseqZero = s.modseq
	}
	return x.readRequests(s, l)
}

// readRequests looks for expunges asked for between tail and head.
func (x *Index) readRequests(s *State, l *logFile) error {
	tail := max(int64(s.Hdr.u32(offLogTail)), int64(l.size))
	if s.Hdr.u32(offLogSeq) != l.seq || tail >= int64(s.logOff) {
		return nil
	}
	b, err := l.readFrom(tail, int64(s.logOff))
	if err != nil {
		return err
	}
	for len(b) > 0 {
		r, n, err := nextRecord(b)
		if err != nil || n == 0 {
			break // the tail need not be at the begin of a record
		}
		if r.typ == recExpungeGUID && !r.external {
			if err := s.applyExpunge(&r, 20); err != nil {
				return err
			}
		}
		s.noteUnsynced(&r)
		b = b[n:]
	}
	return nil
}

// applyLog applies what l contains from the state's position up to size.
func (x *Index) applyLog(s *State, l *logFile, size int64) error {
	if size < int64(s.logOff) {
		return damaged("log has %d bytes, %d were read", size, s.logOff)
	}
	if size == int64(s.logOff) {
		return nil
	}
	b, err := l.readFrom(int64(s.logOff), size)
	if err != nil {
		return err
	}
	return x.apply(s, l, b)
}

// apply applies b, which is or will be in log l at the state's position.
func (x *Index) apply(s *State, l *logFile, b []byte) error {
	from := int64(s.logOff)
	if err := s.applyAll(b, l.minor); err != nil {
		return err
	}
	if s.modSeqStart.pending {
		return x.startModSeq(s, l, b, from)
	}
	return nil
}

// applyAll applies the complete records and groups in b.
func (s *State) applyAll(b []byte, minor byte) error {
	n, err := complete(b)
	for b = b[:n]; len(b) > 0; {
		r, size, _ := nextRecord(b)
		if err := s.apply(&r, minor); err != nil {
			return err
		}
		s.logOff += uint32(size)
		b = b[size:]
	}
	return err
}

// nextLog moves s, which is at the end of the log before l, to the begin of l.
func (s *State) nextLog(l *logFile) {
	s.logSeq, s.logOff, s.curExt = l.seq, uint32(l.size), -1
	s.modseq = max(s.modseq, l.modseq)
	s.Hdr.setU32(offLogTail, 0)
}

// readIndex reads dovecot.index.
func (x *Index) readIndex(light bool) (*State, error) {
	return x.readIndexFile(x.names.index, &decoder{light: light})
}

func (x *Index) readIndexFile(name string, d *decoder) (*State, error) {
	fd, st, err := x.dir.OpenRegular(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if st.Size > maxIndexSize {
		return nil, damaged("%s has %d bytes", name, st.Size)
	}
	if name == x.names.index {
		x.diskSize = st.Size
	}
	want := st.Size
	if d.light {
		want = min(want, 4096)
	}
	b, err := readStart(fd, want)
	if err != nil {
		return nil, sysError("read", x.dir.File(name), err)
	}
	if size := int64(headerSizeOf(b)); d.light && size > want && size <= st.Size {
		if b, err = readStart(fd, size); err != nil {
			return nil, sysError("read", x.dir.File(name), err)
		}
	}
	return d.decode(b)
}

func readStart(fd int, n int64) ([]byte, error) {
	b := make([]byte, n)
	m, err := ReadAt(fd, b, 0)
	if err == io.EOF {
		err = nil
	}
	return b[:m], err
}

func headerSizeOf(b []byte) uint32 {
	if len(b) < headerSize {
		return 0
	}
	return le32(b[offHeaderSize:])
}

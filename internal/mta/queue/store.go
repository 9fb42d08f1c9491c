package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// The errors that callers tell apart. All but ErrNotFound are temporary.
var (
	ErrNoSpace  = errors.New("no space left in the mail queue")
	ErrSync     = errors.New("mail queue write error")
	ErrClosed   = errors.New("mail queue is closed")
	ErrLocked   = errors.New("mail queue is in use by another process")
	ErrNotFound = errors.New("no such message in the mail queue")
)

// Subdir is the directory of the store below queue_directory.
const Subdir = "segments"

// Settings are the choices an administrator has. The zero value is usable.
type Settings struct {
	LongIDs bool // enable_long_queue_ids
}

// limits are sizes that tests make small.
type limits struct {
	segment int64 // size of a segment
	inline  int64 // larger contents get a file of their own
	batch   int64 // bytes committed at once
	cache   int64 // bytes of contents kept in memory
	reserve int64 // end of a segment that only outcomes use
	spares  int   // segments kept for use again
	slack   int64 // dead bytes that are always accepted
}

var defaultLimits = limits{
	segment: 16 << 20,
	inline:  256 << 10,
	batch:   8 << 20,
	cache:   64 << 20,
	reserve: 256 << 10,
	spares:  4,
	slack:   256 << 20,
}

// An entry is what is kept in memory of a message.
type entry struct {
	id      string
	serial  uint64
	size    int64
	arrival int64 // microseconds
	queued  int64 // microseconds
	next    int64 // seconds
	at      place // the message record
	state   place // the last full state record
	partial []place
	head    uint32 // length of the head of the message record
	flags   entryFlags

	cached             *blob
	cacheNext, cachePr *entry
}

type entryFlags uint8

const (
	entryLarge entryFlags = 1 << iota // content has a file of its own
	entryHold
	entryWarned
	entryExpired
	entryDeferred
	entryActive
	entryDead
	entryTraced
)

func (e *entry) queue() Name {
	switch {
	case e.flags&entryHold != 0:
		return Held
	case e.flags&entryActive != 0:
		return Active
	case e.flags&entryDeferred != 0:
		return Waiting
	}
	return Incoming
}

func (e *entry) info() Info {
	inf := Info{
		ID:      e.id,
		Size:    e.size,
		Arrival: time.UnixMicro(e.arrival),
		Queue:   e.queue(),
		Expired: e.flags&entryExpired != 0,
	}
	if e.flags&entryDeferred != 0 {
		inf.Next = time.Unix(e.next, 0)
	}
	return inf
}

// Store is the mail queue. It is safe for concurrent use.
type Store struct {
	set     Settings
	lim     limits
	log     *maillog.Logger
	disk    disk
	closers []func() error

	arrival atomic.Pointer[func(*Message)]

	tail tail
	gate gate // what waits for the committer

	mu       sync.Mutex
	index    map[string]*entry
	segments []*segment // in order of their numbers
	serial   uint64     // of the next message
	cache    cache

	keep keeper
}

// Open opens the queue in directory dir, which must exist, and reads what is
// there. It returns ErrLocked if another process has it open.
func Open(dir string, set *Settings, log *maillog.Logger) (*Store, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open mail queue: %w", err)
	}
	unlock, err := lock(d)
	if err != nil {
		d.close()
		return nil, fmt.Errorf("open mail queue %s: %w", dir, err)
	}
	s, err := open(d, set, defaultLimits, log)
	if err != nil {
		unlock() //nolint:errcheck // the error that matters is returned
		d.close()
		return nil, fmt.Errorf("open mail queue %s: %w", dir, err)
	}
	s.closers = []func() error{unlock, d.close}
	return s, nil
}

// lock makes this process the only one that has the queue open.
func lock(d *dirDisk) (unlock func() error, err error) {
	f, err := d.root.OpenFile("lock", unix.O_RDWR|unix.O_CREAT, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f.Close, nil
	}
	f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, err
}

// open opens the queue on any disk.
func open(d disk, set *Settings, lim limits, log *maillog.Logger) (*Store, error) {
	if set == nil {
		set = new(Settings)
	}
	s := &Store{set: *set, lim: lim, log: log, disk: d, index: make(map[string]*entry)}
	s.cache.limit = lim.cache
	s.keep.init()
	s.gate.init()
	if err := s.replay(); err != nil {
		s.closeSegments()
		return nil, err
	}
	go s.commitLoop()
	go s.keepLoop()
	return s, nil
}

// Close waits for commits under way, makes recorded outcomes durable and
// closes the files.
func (s *Store) Close() error {
	if !s.gate.close() {
		return ErrClosed
	}
	<-s.gate.done
	s.keep.stop()
	err := errors.Join(s.flushOutcomes(), s.syncTail())
	s.mu.Lock()
	s.cache.clear()
	s.mu.Unlock()
	s.closeSegments()
	for _, fn := range s.closers {
		err = errors.Join(err, fn())
	}
	return err
}

func (s *Store) closeSegments() {
	for _, seg := range s.segments {
		seg.f.Close()
	}
	if s.tail.spare != nil {
		s.tail.spare.f.Close()
	}
}

// OnArrival names the function that takes each fresh message, once it is
// durable, in the goroutine of its session; it must return soon. A later call
// replaces the function. The function returned takes it back, if it was not
// replaced.
func (s *Store) OnArrival(fn func(*Message)) (cancel func()) {
	p := &fn
	s.arrival.Store(p)
	return func() { s.arrival.CompareAndSwap(p, nil) }
}

// announce gives a message to whoever takes fresh ones. Without one it stays
// where [Store.List] shows it.
func (s *Store) announce(m *Message) {
	if fn := s.arrival.Load(); fn != nil {
		(*fn)(m)
	}
}

// Free returns the bytes that are free for mail in the file system.
func (s *Store) Free() (int64, error) { return s.disk.free() }

// List returns all messages, in no order.
func (s *Store) List() []Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Info, 0, len(s.index))
	for _, e := range s.index {
		list = append(list, e.info())
	}
	return list
}

// Lookup returns what is known of one message.
func (s *Store) Lookup(id string) (Info, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.index[id]
	if e == nil {
		return Info{}, false
	}
	return e.info(), true
}

// Len returns the number of messages.
func (s *Store) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.index)
}

// Load reads the envelope of a message and what is known of its recipients.
func (s *Store) Load(id string) (*Message, error) {
	s.mu.Lock()
	e := s.index[id]
	if e == nil {
		s.mu.Unlock()
		return nil, ErrNotFound
	}
	view := *e
	places := append([]place{e.at, e.state}, e.partial...)
	s.pin(places)
	s.mu.Unlock()
	defer s.unpin(places)

	m, err := view.load(places)
	if err != nil {
		return nil, fmt.Errorf("mail queue: %s: %w", id, err)
	}
	m.e = e
	return m, nil
}

// load reads the records of an entry; places are its message record, its full
// state and the partial ones.
func (e *entry) load(places []place) (*Message, error) {
	_, b, err := places[0].read(nil, headerSize+int64(e.head))
	if err != nil {
		return nil, err
	}
	h, err := parseHead(b[headerSize:])
	if err != nil {
		return nil, err
	}
	m := e.message(h.env)
	for _, p := range places[1:] {
		if p.seg == nil {
			continue
		}
		hdr, b, err := p.read(nil, int64(p.len))
		if err != nil {
			return nil, err
		}
		if err := applyState(b[headerSize:headerSize+hdr.head], m.Outcomes); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// message makes the scheduler's view of e.
func (e *entry) message(env Envelope) *Message {
	m := &Message{
		ID:       e.id,
		Envelope: env,
		Outcomes: make([]Outcome, len(env.Recipients)),
		Size:     e.size,
		Queued:   time.UnixMicro(e.queued),
		Warned:   e.flags&entryWarned != 0,
		Traced:   e.flags&entryTraced != 0,
		Expired:  e.flags&entryExpired != 0,
	}
	m.Hold = e.flags&entryHold != 0
	if e.flags&entryDeferred != 0 {
		m.Next = time.Unix(e.next, 0)
	}
	return m
}

// pin keeps segments from being given up while they are read. The caller of
// pin holds the lock.
func (s *Store) pin(places []place) {
	for _, p := range places {
		if p.seg != nil {
			p.seg.readers++
		}
	}
}

func (s *Store) unpin(places []place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range places {
		if p.seg != nil {
			p.seg.readers--
		}
	}
}

// NewMessage begins a message, which gets its queue ID now.
func (s *Store) NewMessage(now time.Time) (*Writer, error) {
	if s.gate.isClosed() {
		return nil, ErrClosed
	}
	s.mu.Lock()
	serial := s.serial
	s.serial++
	id := s.newID(now, serial)
	s.mu.Unlock()
	return &Writer{s: s, id: id, serial: serial, created: now}, nil
}

// newID returns an ID that no other message has. The caller holds the lock.
func (s *Store) newID(now time.Time, serial uint64) string {
	for {
		id := ""
		if s.set.LongIDs {
			id = longID(now, serial)
		} else {
			id = shortID(now, serial)
		}
		if s.index[id] == nil {
			return id
		}
		now = now.Add(time.Microsecond)
	}
}

// wait returns why an operation should not be begun, if it should not.
func wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("mail queue: %w", context.Cause(ctx))
	}
	return nil
}

package mailbox

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A Location is where a mailbox lies on disk.
type Location struct {
	Format     string // "sdbox", "mdbox" or another that was registered
	Name       string // for log lines
	DiskName   string // below the directory of the mailboxes
	Dir        string // the message directory: .../dbox-Mails; of an mbox that of its index
	File       string // the file of an mbox
	IndexDir   string // of dovecot.index*; empty means Dir
	CacheDir   string // of dovecot.index.cache; empty means IndexDir
	ControlDir string // empty means Dir
	AltDir     string // second storage for mail files; empty for none
	TrashDir   string // where message directories go to be removed, on the same volume; empty for beside Dir
	PrivateDir string // of dovecot.index.pvt*, the flags that a user has for himself; empty for none
	Public     bool   // private flags of new messages begin as those that the shared index has
	OwnIndex   bool   // IndexDir is one user's, the messages may be of several
	Owner      string // user name, which mbox gives as sender of messages without one

	Storage *Storage // where formats keep what mailboxes share; nil for sdbox
}

// A Storage is where the mailboxes of a user that share something lie.
type Storage struct {
	Root     string // of the mail
	IndexDir string // root of index files; empty for Root
	AltDir   string // root of the second storage; empty for none
	// Boxes is the directory of the mailboxes below Root and IndexDir; that of
	// mailbox NAME is Boxes/NAME/DirName, its index in Boxes/NAME/IndexName.
	Boxes, DirName, IndexName string
}

func (l *Location) indexDir() string {
	if l.IndexDir == "" {
		return l.Dir
	}
	return l.IndexDir
}

// key tells mailboxes apart. Protocols may differ in what they have flushed.
func (l *Location) key(mode commit.Mode) string {
	return l.Dir + "\x00" + l.indexDir() + "\x00" + l.PrivateDir + "\x00" + string('0'+rune(mode))
}

func (b *box) key() string { return b.loc.key(b.mode) }

// An Identity is what a mailbox is created with. A zero GUID asks for a new one.
type Identity struct {
	UIDValidity uint32
	GUID        [16]byte
}

// idleTime and maxIdle bound the mailboxes that are kept ready after their last handle
// was closed, for the next delivery.
const idleTime = 10 * time.Second

// maxIdle leaves most descriptors to others: an mdbox needs up to eight.
var maxIdle = sync.OnceValue(func() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		limit.Cur = 0
	}
	return int(min(max(limit.Cur/16, 64), 2048))
})

// A Pool holds the mailboxes that are open in this process. State is shared by
// all handles of a mailbox and dropped soon after the last is closed.
type Pool struct {
	log      *maillog.Logger
	cache    *messageCache
	watch    watcher
	files    fileWatcher
	journals journals
	now      func() time.Time

	mu      sync.Mutex
	formats map[string]Format
	boxes   map[string]*box
	idle    list.List // of *box without users, oldest first
	timer   *time.Timer

	aloneMu sync.Mutex
	alone   map[string]chan struct{} // by key of [Pool.Alone]; closed on release
}

// NewPool returns an empty pool that logs to log.
func NewPool(log *maillog.Logger) *Pool {
	return &Pool{
		log: log, cache: newMessageCache(), watch: watcher{log: log}, files: fileWatcher{log: log}, now: time.Now, boxes: make(map[string]*box),
		formats: map[string]Format{"sdbox": sdbox{}, "mdbox": newMdbox(), "maildir": maildirFormat{}, "mbox": mboxFormat{}},
	}
}

// Register makes a format known by the name that a [Location] has for it.
func (p *Pool) Register(name string, f Format) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.formats[name] = f
}

func (p *Pool) format(loc *Location) (Format, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.formats[loc.Format]
	if f == nil {
		return nil, fmt.Errorf("mailbox %s: format %q is not supported", loc.Name, loc.Format)
	}
	return f, nil
}

// Create makes the directory and index of a new mailbox. ErrExists.
func (p *Pool) Create(ctx context.Context, loc Location, set *Settings, id Identity) error {
	format, err := p.format(&loc)
	if err != nil {
		return err
	}
	defer p.Alone(creating(&loc))()
	if m, ok := format.(DirMaker); ok {
		err = m.MakeDir(&loc)
	} else {
		err = makeDir(&loc)
	}
	if err != nil {
		return wrap("create mailbox "+loc.Name, err)
	}
	if err := os.MkdirAll(loc.indexDir(), 0o700); err != nil {
		return wrap("create mailbox "+loc.Name, err)
	}
	err = p.createIndex(ctx, format, &loc, set, id)
	if errors.Is(err, index.ErrExists) {
		if taken(format, &loc) {
			return nil // another process has found the directory, and made it a mailbox
		}
		// There was an index, but not the directory that makes a mailbox.
		if err = removeLeftovers(&loc); err == nil {
			err = p.createIndex(ctx, format, &loc, set, id)
		}
	}
	if err != nil {
		os.Remove(loc.Dir) // as far as empty
		return wrap("create mailbox "+loc.Name, err)
	}
	return nil
}

// creating is the key that whoever creates a mailbox holds, and whoever begins to use it: a directory
// that has no index yet would look damaged, and be mended while it is being made.
func creating(loc *Location) string { return "create\x00" + loc.Dir }

// taken tells whether somebody has put something into the message directory that was just made. Of
// formats that make it themselves nobody can say: theirs may have been there before.
func taken(format Format, loc *Location) bool {
	if _, own := format.(DirMaker); own {
		return false
	}
	entries, err := os.ReadDir(loc.Dir)
	return err != nil || len(entries) > 0
}

// makeDir makes the message directory.
func makeDir(loc *Location) error {
	if err := os.MkdirAll(filepath.Dir(loc.Dir), 0o700); err != nil {
		return err
	}
	err := os.Mkdir(loc.Dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return ErrExists
	}
	if st, err2 := os.Stat(filepath.Dir(loc.Dir)); err == nil && err2 == nil && st.Mode().Perm()|0o700 != 0o700 {
		err = os.Chmod(loc.Dir, st.Mode().Perm()|st.Mode()&os.ModeSetgid|0o700) // whatever the umask is
	}
	return err
}

func (p *Pool) createIndex(ctx context.Context, format Format, loc *Location, set *Settings, id Identity) error {
	dir, err := index.OpenDir(loc.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	indexDir, err := index.OpenDir(loc.indexDir())
	if err != nil {
		return err
	}
	defer indexDir.Close()
	if id.GUID == [16]byte{} {
		id.GUID = dbox.NewGUID()
	}
	if id.UIDValidity == 0 {
		id.UIDValidity = uint32(time.Now().Unix())
	}
	var tx index.Tx
	files := Files{Location: loc, Settings: set, Fsync: fsyncMode(set), Dir: dir, IndexDir: indexDir, Log: p.log}
	if files.Journal, err = p.journal(loc.journalRoot(), files.Fsync); err != nil {
		return err
	}
	if err := format.Create(ctx, &files, id, &tx); err != nil {
		return err
	}
	tx.Intro(&extHdrVsize)
	tx.Intro(&extVsize)
	tx.Intro(&extPOP3UIDL)
	tx.UIDValidity(id.UIDValidity)
	tx.TempScan(uint32(time.Now().Unix()))
	x, err := index.Create(indexDir, indexOptions(p.log, loc, set), &tx)
	if x != nil {
		x.Close()
	}
	if err == nil && files.Fsync.Saves() {
		err = unix.Fsync(indexDir.FD)
	}
	return err
}

// Open returns a handle of an existing mailbox. ErrNotExist.
func (p *Pool) Open(ctx context.Context, loc Location, set *Settings) (*Mailbox, error) {
	if _, err := p.format(&loc); err != nil {
		return nil, err
	}
	for {
		b := p.take(loc, set)
		err := b.open(ctx)
		if err == nil {
			return &Mailbox{b: b}, nil
		}
		p.release(b, err)
		if !errors.Is(err, errReplaced) {
			return nil, wrap("open mailbox "+loc.Name, err)
		}
	}
}

// take returns the state of the mailbox, with one more user.
func (p *Pool) take(loc Location, set *Settings) *box {
	p.mu.Lock()
	defer p.mu.Unlock()
	fresh := newBox(p, loc, set)
	b := p.boxes[fresh.key()]
	if b == nil {
		b = fresh
		p.boxes[b.key()] = b
	}
	b.users++
	if b.idle != nil {
		p.idle.Remove(b.idle)
		b.idle = nil
	}
	return b
}

// soleUser tells whether nobody else uses a mailbox than the one who asks.
func (p *Pool) soleUser(b *box) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return b.users == 1
}

// hold keeps a mailbox that somebody uses, or used a moment ago, from being closed
// until release.
func (p *Pool) hold(b *box) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.users == 0 && b.idle == nil {
		return false
	}
	b.users++
	if b.idle != nil {
		p.idle.Remove(b.idle)
		b.idle = nil
	}
	return true
}

// release gives back a user of the state, which failed to open if err is not
// nil.
func (p *Pool) release(b *box, err error) {
	p.mu.Lock()
	b.users--
	if err != nil {
		p.forget(b)
	}
	var drop []*box
	if b.users == 0 {
		if p.boxes[b.key()] == b {
			b.idleSince = time.Now()
			b.idle = p.idle.PushBack(b)
			drop = p.expire(b.idleSince)
		} else {
			drop = []*box{b}
		}
	}
	p.mu.Unlock()
	closeAll(drop)
}

// forget has the next Open start anew. The pool's lock is held.
func (p *Pool) forget(b *box) {
	if p.boxes[b.key()] == b {
		delete(p.boxes, b.key())
	}
}

// expire takes the mailboxes out of the pool that were not used for a while.
// The pool's lock is held.
func (p *Pool) expire(now time.Time) (drop []*box) {
	for e := p.idle.Front(); e != nil; e = p.idle.Front() {
		b := e.Value.(*box)
		if p.idle.Len() <= maxIdle() && now.Sub(b.idleSince) < idleTime {
			break
		}
		p.idle.Remove(e)
		b.idle = nil
		p.forget(b)
		drop = append(drop, b)
	}
	if p.idle.Len() > 0 && p.timer == nil {
		p.timer = time.AfterFunc(idleTime, p.tick)
	}
	return drop
}

func (p *Pool) tick() {
	p.mu.Lock()
	p.timer = nil
	drop := p.expire(time.Now())
	p.mu.Unlock()
	closeAll(drop)
}

func closeAll(boxes []*box) {
	for _, b := range boxes {
		b.close()
	}
}

// Renamed tells that the directories of a mailbox were renamed. Open handles go
// on working, they hold the directories and not their names; handles opened from
// now on share nothing with them but the files.
func (p *Pool) Renamed(old, new Location) {
	p.mu.Lock()
	moved := p.detach(old, new)
	p.mu.Unlock()
	for _, b := range moved {
		b.moved.Store(true)
		b.wake()
	}
}

// detach forgets the mailboxes at the given places and returns those that handles are open of.
func (p *Pool) detach(old, new Location) (used []*box) {
	for _, loc := range []Location{old, new} {
		for mode := range commit.Never + 1 {
			b := p.boxes[loc.key(mode)]
			if b == nil {
				continue
			}
			p.forget(b)
			if b.idle != nil {
				p.idle.Remove(b.idle)
				b.idle = nil
				go b.close()
				continue
			}
			used = append(used, b)
		}
	}
	return used
}

// Close drops what is kept of closed mailboxes. Handles still open stay usable.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
	drop := p.expire(time.Now().Add(2 * idleTime))
	p.mu.Unlock()
	closeAll(drop)
	p.closeJournals()
	p.watch.close()
	p.files.close()
	return nil
}

package maildir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dotlock"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Errors that callers tell apart.
var (
	ErrNotExist = errors.New("mail file does not exist")
	// ErrLocked says that another program holds the uidlist's lock for too long.
	ErrLocked = dotlock.ErrTimeout
)

// lockOptions are the times of Dovecot's lock on the uidlist.
var lockOptions = dotlock.Options{Timeout: 120 * time.Second, Stale: 120 * time.Second}

// The directories of a mailbox.
const (
	curName = "cur"
	newName = "new"
	tmpName = "tmp"
)

var subdirs = [...]string{curName, newName, tmpName}

// Options say how a mailbox is kept.
type Options struct {
	Name    string     // for log lines
	Dir     *index.Dir // has cur, new and tmp
	Control *index.Dir // has the uidlist and the keywords; may be Dir
	Log     *maillog.Logger
	Flush   func(fd int) error // has a file's content on disk, as far as mail_fsync asks for it
	Now     func() time.Time

	VeryDirty   bool // maildir_very_dirty_syncs: do not look for changes in cur
	IgnoreSizes bool // maildir_broken_filename_sizes: sizes in names may be wrong
	EmptyNew    bool // maildir_empty_new: move messages from new to cur as soon as they are seen

	Compressed bool             // the zlib plugin: messages may be compressed
	Method     *compress.Method // new ones are, with Level; nil for not
	Level      int
	Temp       string // directory for temporary files
}

// A Box is the files of an open mailbox. Methods that say "locked" may only be called between
// [Box.Lock] and the end of the lock; all others at any time.
type Box struct {
	opt Options
	cur *index.Dir
	new *index.Dir
	tmp *index.Dir

	mu       sync.Mutex
	list     uidlist
	listFile fileID // list is what this file says
	headOnly bool   // of list the entries are not read: nobody has asked for them
	rewrite  bool   // the file must be written anew
	keywords Keywords
	keysFile fileID
	times    Times // what the index agrees with
	synced   bool  // times are known
	locked   bool
	want     bool              // list the directories though their times have not changed
	hot      time.Time         // when the directories were listed, if in the moment of a change
	odd      map[string]string // by base name: paths of files not named as the index would have it
	links    map[string]*link  // by name in tmp: messages that are to be shared
	restored bool              // list has entries that the file lacks
	keysLost bool              // the keywords must be written anew
	unusable map[string]bool   // files that something else has the name of, or that may not be read
}

// A fileID is one version of a file.
type fileID struct {
	dev, ino  uint64
	sec, nsec int64
	size      int64
}

func idOf(st *unix.Stat_t) fileID {
	return fileID{st.Dev, st.Ino, st.Mtim.Sec, st.Mtim.Nsec, st.Size} //nolint:unconvert // not int64 everywhere
}

// Exists reports whether path is a mailbox: has a directory cur.
func Exists(path string) (bool, error) {
	st, err := os.Stat(path + "/" + curName)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && st.IsDir(), err
}

// Make makes the directories of a mailbox, as far as they are missing, with the
// mode of the one they are in.
func Make(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return err
	}
	for _, name := range [...]string{tmpName, newName, curName} { // cur last: it makes the mailbox
		err := os.Mkdir(path+"/"+name, st.Mode().Perm())
		if err == nil && st.Mode().Perm()|0o700 != 0o700 {
			err = os.Chmod(path+"/"+name, st.Mode().Perm()|st.Mode()&os.ModeSetgid|0o700) // whatever the umask is
		}
		if err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// Open opens a mailbox. index.ErrNotExist if there is none. Without a lock it changes nothing.
func Open(opt Options) (*Box, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	b := &Box{opt: opt, headOnly: true}
	for i, dst := range [...]**index.Dir{&b.cur, &b.new, &b.tmp} {
		path := opt.Dir.File(subdirs[i])
		d, err := index.OpenDir(path)
		if errors.Is(err, index.ErrNotExist) && subdirs[i] != curName {
			// Some programs remove empty directories.
			if err = unix.Mkdirat(opt.Dir.FD, subdirs[i], 0o700); err == nil || errors.Is(err, unix.EEXIST) {
				d, err = index.OpenDir(path)
			}
		}
		if err != nil {
			b.Close()
			return nil, err
		}
		*dst = d
	}
	if err := b.refresh(); err != nil {
		b.Close()
		return nil, err
	}
	if b.list.guid == [16]byte{} {
		b.list.guid, b.rewrite = dbox.NewGUID(), true
	}
	return b, nil
}

// Close closes the directories.
func (b *Box) Close() {
	for _, d := range [...]*index.Dir{b.cur, b.new, b.tmp} {
		if d != nil {
			d.Close()
		}
	}
	b.cur, b.new, b.tmp = nil, nil, nil
}

// Dirs returns the directories that files come into, to be flushed or watched.
func (b *Box) Dirs() []*index.Dir { return []*index.Dir{b.new, b.cur} }

// GUID returns the mailbox's GUID, zero if it has none yet.
func (b *Box) GUID() [16]byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list.guid
}

// UIDValidity returns that of the uidlist, 0 if there is none yet.
func (b *Box) UIDValidity() uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list.validity
}

// Entry returns what the uidlist has of a message.
func (b *Box) Entry(uid uint32) (e Entry, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.whole(); err != nil {
		b.opt.Log.Errorf("Mailbox %s: %v", b.opt.Name, err)
		return e, false
	}
	i, ok := b.list.find(uid)
	if !ok {
		return e, false
	}
	return b.list.entries[i], true
}

// Keywords returns the keywords that have letters.
func (b *Box) Keywords() Keywords {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.keywords
}

// Lock takes the lock of the uidlist and reads what others have written.
func (b *Box) Lock(ctx context.Context) (unlock func(), err error) {
	// Through the descriptor the path stays right when the mailbox is renamed.
	l, err := dotlock.Take(ctx, "/proc/self/fd/"+strconv.Itoa(b.opt.Control.FD)+"/"+uidlistName, lockOptions)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", b.opt.Control.File(uidlistName), err)
	}
	if err := b.refresh(); err != nil {
		l.Release()
		return nil, err
	}
	b.mu.Lock()
	b.locked = true
	b.mu.Unlock()
	return func() {
		b.mu.Lock()
		b.locked = false
		b.mu.Unlock()
		l.Release()
	}, nil
}

// refresh reads the files that others have changed.
func (b *Box) refresh() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.refreshList(); err != nil {
		return err
	}
	return b.refreshKeywords()
}

func (b *Box) refreshList() error {
	if b.headOnly && b.refreshHead() {
		return nil
	}
	if b.headOnly {
		b.headOnly, b.listFile = false, fileID{}
	}
	text, id, err := b.read(uidlistName, b.listFile, maxUIDList)
	switch {
	case errors.Is(err, errUnchanged):
		return nil
	case errors.Is(err, unix.ENOENT):
		if b.listFile != (fileID{}) {
			b.opt.Log.Errorf("Mailbox %s: %s is gone; writing it again from memory", b.opt.Name, b.opt.Control.File(uidlistName))
		}
		b.rewrite, b.listFile = true, fileID{}
		return nil
	case err != nil:
		return err
	}
	list, err := parseUIDList(text)
	if err != nil {
		b.opt.Log.Errorf("Mailbox %s: %s: %v; keeping what can be read", b.opt.Name, b.opt.Control.File(uidlistName), err)
		list.addLost(&b.list)
		b.rewrite = true
	} else {
		b.rewrite = list.guid == [16]byte{}
		if list.validity == b.list.validity {
			list.next = max(list.next, b.list.next)
			if list.addLost(&b.list) {
				// Whoever wrote the file has found them gone, or has put back an old one.
				b.want, b.restored = true, true
			}
		}
	}
	if list.guid == [16]byte{} {
		list.guid = b.list.guid
	}
	b.list, b.listFile = list, id
	return nil
}

// addLost adds to a list what memory has of it besides. It reports whether there was anything.
func (l *uidlist) addLost(memory *uidlist) (lost bool) {
	if memory.validity == 0 || l.validity != 0 && l.validity != memory.validity {
		return false
	}
	l.validity, l.next = memory.validity, max(l.next, memory.next)
	if l.extra == "" {
		l.extra = memory.extra
	}
	have := make(map[string]bool, len(l.entries))
	for i := range l.entries {
		have[l.entries[i].Base] = true
	}
	for _, e := range memory.entries {
		if have[e.Base] {
			continue
		}
		lost = true
		if i, ok := l.find(e.UID); !ok {
			l.entries = slices.Insert(l.entries, i, e)
		}
	}
	return lost
}

func (b *Box) refreshKeywords() error {
	text, id, err := b.read(keywordsName, b.keysFile, maxKeywordsFile)
	switch {
	case errors.Is(err, errUnchanged):
		return nil
	case errors.Is(err, unix.ENOENT):
		if b.keysFile != (fileID{}) {
			b.opt.Log.Errorf("Mailbox %s: %s is gone; writing it again from memory", b.opt.Name, b.opt.Control.File(keywordsName))
			b.keysFile, b.keysLost = fileID{}, true
		}
		return nil
	case err != nil:
		return err
	}
	b.keywords, b.keysFile, b.keysLost = parseKeywords(text), id, false
	return nil
}

var errUnchanged = errors.New("file was not changed")

// read reads a file of the control directory that is not the version known.
func (b *Box) read(name string, known fileID, limit int64) (text string, id fileID, err error) {
	var st unix.Stat_t
	err = b.opt.Control.Stat(name, &st)
	if err != nil && !errors.Is(err, unix.ELOOP) {
		return "", id, fmt.Errorf("stat(%s): %w", b.opt.Control.File(name), err)
	}
	if err == nil && idOf(&st) == known {
		return "", id, errUnchanged
	}
	fd, st, err := b.opt.Control.OpenRegular(name, unix.O_RDONLY)
	if errors.Is(err, index.ErrDamaged) {
		b.reportUnusable(name, err)
		return "", id, unix.ENOENT
	}
	if err != nil {
		return "", id, err
	}
	defer unix.Close(fd)
	if st.Size > limit {
		return "", id, fmt.Errorf("%s: %d bytes are more than the %d allowed", b.opt.Control.File(name), st.Size, limit)
	}
	var text1 strings.Builder
	text1.Grow(int(st.Size))
	buf := make([]byte, min(st.Size, 64<<10))
	for off := int64(0); off < st.Size; {
		n, err := index.ReadAt(fd, buf[:min(int64(len(buf)), st.Size-off)], off)
		if n == 0 {
			return "", id, fmt.Errorf("read(%s): %w", b.opt.Control.File(name), err)
		}
		text1.Write(buf[:n])
		off += int64(n)
	}
	return text1.String(), idOf(&st), nil
}

// writeList writes the uidlist anew. b.mu and the lock are held.
func (b *Box) writeList() error {
	if b.list.guid == [16]byte{} {
		b.list.guid = dbox.NewGUID()
	}
	id, err := b.replace(uidlistName, uidlistName+".tmp", b.list.append(nil), nil)
	if err == nil {
		b.rewrite, b.restored, b.listFile = false, false, id
	}
	return err
}

// writeKeywords writes the keywords anew. b.mu and the uidlist's lock are held.
func (b *Box) writeKeywords() error {
	l, err := dotlock.Take(context.Background(), "/proc/self/fd/"+strconv.Itoa(b.opt.Control.FD)+"/"+keywordsName,
		dotlock.Options{Timeout: 122 * time.Second, Stale: 60 * time.Second})
	if err != nil {
		return fmt.Errorf("lock %s: %w", b.opt.Control.File(keywordsName), err)
	}
	defer l.Release()
	// Dovecot reads the file again only if its time has changed, in whole seconds.
	var st unix.Stat_t
	later := func(fd int) error {
		if b.opt.Control.Stat(keywordsName, &st) != nil {
			return nil // there was none
		}
		was := st.Mtim.Sec
		if err := unix.Fstat(fd, &st); err != nil || st.Mtim.Sec > was {
			return err
		}
		t := unix.Timeval{Sec: was + 1}
		return unix.Futimes(fd, []unix.Timeval{t, t})
	}
	id, err := b.replace(keywordsName, keywordsName+".tmp", b.keywords.append(nil), later)
	if err == nil {
		b.keysFile, b.keysLost = id, false
	}
	return err
}

// replace writes a file of the control directory. finish, if there is one, is called before
// the new file gets its name.
func (b *Box) replace(name, temp string, data []byte, finish func(fd int) error) (id fileID, err error) {
	d := b.opt.Control
	if err := d.Remove(temp); err != nil { // of a killed process
		return id, err
	}
	if err := b.clearWay(name); err != nil {
		return id, err
	}
	fd, err := d.Create(temp)
	if err != nil {
		return id, sysError("open", d.File(temp), err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = index.WriteAll(fd, data)
	if err == nil && finish != nil {
		err = finish(fd)
	}
	if err == nil {
		err = b.opt.Flush(fd)
	}
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		_ = d.Remove(temp)
		return id, sysError("write", d.File(temp), err)
	}
	return idOf(&st), d.Rename(temp, name)
}

// appendList appends lines for messages to the uidlist. It does not flush them. b.mu and the
// lock are held.
func (b *Box) appendList(entries []Entry) error {
	if b.rewrite {
		if err := b.whole(); err != nil {
			return err
		}
	}
	if !b.headOnly {
		b.list.entries = append(b.list.entries, entries...)
	}
	b.list.next = max(b.list.next, entries[len(entries)-1].UID+1)
	if b.rewrite {
		return b.writeList()
	}
	d := b.opt.Control
	fd, err := d.Open(uidlistName, unix.O_WRONLY|unix.O_APPEND)
	if err != nil {
		b.rewrite = true
		if b.headOnly {
			return sysError("open", d.File(uidlistName), err)
		}
		return b.writeList()
	}
	defer unix.Close(fd)
	err = index.WriteAll(fd, appendEntries(nil, entries))
	var st unix.Stat_t
	if err == nil {
		err = unix.Fstat(fd, &st)
	}
	if err != nil {
		b.rewrite = true // what was written may be a part of a line
		return sysError("write", d.File(uidlistName), err)
	}
	b.listFile = idOf(&st)
	return nil
}

// FlushList has the uidlist on disk.
func (b *Box) FlushList() error {
	fd, err := b.opt.Control.Open(uidlistName, unix.O_WRONLY)
	if errors.Is(err, unix.ENOENT) {
		return nil // it will be written again
	}
	if err == nil {
		err = b.opt.Flush(fd)
		unix.Close(fd)
	}
	if err != nil {
		return sysError("fdatasync", b.opt.Control.File(uidlistName), err)
	}
	return nil
}

func sysError(op, path string, err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%s(%s): %w (%w)", op, path, index.ErrNoSpace, err)
	}
	return fmt.Errorf("%s(%s): %w", op, path, err)
}

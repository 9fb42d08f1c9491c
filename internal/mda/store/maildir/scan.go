package maildir

import (
	"errors"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
)

// A View is what the index says, for [Box.Scan].
type View struct {
	UIDValidity uint32 // 0 for none yet
	Next        uint32
	Has         func(uid uint32) bool
	// NewValidity returns the uid validity of a mailbox that has none.
	NewValidity func() (uint32, error)
}

// A Message is one that exists.
type Message struct {
	UID   uint32
	Path  string // such as cur/BASE:2,S
	Info  Info
	InNew bool // nobody has seen it
	// VirtualSize is the size with CRLF line ends, -1 if it is not known without reading
	// the file; only of messages that the index does not have.
	VirtualSize int64
}

// A Result is what [Box.Scan] found.
type Result struct {
	UIDValidity uint32
	Reset       bool      // all messages are others than those of the index
	Messages    []Message // by uid
	Next        uint32
}

// Stale reports whether files may have changed since the index was brought up to date.
func (b *Box) Stale() bool {
	var n, c, l unix.Stat_t
	if unix.Fstat(b.new.FD, &n) != nil || unix.Fstat(b.cur.FD, &c) != nil {
		return true
	}
	listErr := b.opt.Control.Stat(uidlistName, &l)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.synced || b.want || b.rewrite || listErr != nil || idOf(&l) != b.listFile {
		return true
	}
	if b.times.New.changed(&n) || !b.opt.VeryDirty && b.times.Cur.changed(&c) {
		return true
	}
	if b.locked {
		return false // not now: somebody waits for something else
	}
	now := b.opt.Now()
	if !b.hot.IsZero() && now.Sub(b.hot) > tick {
		b.want = true
		return true
	}
	b.want = b.times.New.unsure(now) || !b.opt.VeryDirty && b.times.Cur.unsure(now)
	return b.want
}

// Times returns what the index agrees with, once it does.
func (b *Box) Times() Times {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.times
}

// Adopt takes the times that the index has, and reports whether nothing has changed since.
// Locked.
func (b *Box) Adopt(t Times, next uint32) bool {
	var n, c, l unix.Stat_t
	if unix.Fstat(b.new.FD, &n) != nil || unix.Fstat(b.cur.FD, &c) != nil || b.opt.Control.Stat(uidlistName, &l) != nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.opt.Now()
	if b.want || b.rewrite || b.list.next > next || t.New.changed(&n) || t.Cur.changed(&c) || !t.sameList(&l) ||
		t.New.unsure(now) || t.Cur.unsure(now) {
		return false
	}
	b.times, b.synced = t, true
	return true
}

// Distrust has the next scan look at all files.
func (b *Box) Distrust() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.synced, b.want = false, true
}

// own runs fn, which changes files. If nobody else has, as far as can be seen, the times
// are brought up to date. Locked.
func (b *Box) own(fn func() error) error {
	var before, after Times
	b.mu.Lock()
	known := b.synced && b.stat(&before) && before.New.same(&b.times.New) && (b.opt.VeryDirty || before.Cur.same(&b.times.Cur))
	b.mu.Unlock()
	err := fn()
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil || !known || !b.stat(&after) {
		b.synced = false
		return err
	}
	if !after.New.same(&b.times.New) {
		b.times.New = after.New
	}
	if !after.Cur.same(&b.times.Cur) {
		b.times.Cur = after.Cur
	}
	b.times.ListSec, b.times.ListNsec, b.times.ListSize = after.ListSec, after.ListNsec, after.ListSize
	return nil
}

func (d *DirTime) same(e *DirTime) bool { return d.Sec == e.Sec && d.Nsec == e.Nsec }

// stat reads the times as they are now.
func (b *Box) stat(t *Times) bool {
	var st unix.Stat_t
	now := b.opt.Now()
	if unix.Fstat(b.new.FD, &st) != nil {
		return false
	}
	t.New.set(&st, now)
	if unix.Fstat(b.cur.FD, &st) != nil {
		return false
	}
	t.Cur.set(&st, now)
	if b.opt.Control.Stat(uidlistName, &st) == nil {
		t.setList(&st)
	}
	return true
}

// Scan lists the files and gives uids to those without. It writes the uidlist.
// Locked.
func (b *Box) Scan(v View) (*Result, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.whole(); err != nil {
		return nil, err
	}
	l, err := b.readDirs()
	if err != nil {
		return nil, err
	}
	if b.listFile == (fileID{}) && len(b.list.entries) == 0 && v.Next > 1 && len(l.paths) > 0 {
		b.opt.Log.Warningf("Mailbox %s: %s is missing; all messages get new uids", b.opt.Name, b.opt.Control.File(uidlistName))
	}
	if b.mend(l) {
		if l, err = b.readDirs(); err != nil {
			return nil, err
		}
	}
	for try := 1; try < listTries && b.misses(l, v); try++ {
		again, err := b.readDirs()
		if err != nil {
			return nil, err
		}
		l.join(again, b.exists)
	}
	if b.opt.EmptyNew {
		b.emptyNew(l)
	}
	r, err := b.assign(l, v)
	if err != nil {
		return nil, err
	}
	b.measure(r, v)
	b.noteOdd(l)
	b.times, b.synced, b.want, b.hot = l.times, true, false, l.hot
	var st unix.Stat_t
	if b.opt.Control.Stat(uidlistName, &st) == nil {
		b.times.setList(&st)
	}
	return r, nil
}

// misses tells whether a message of the index has no file.
func (b *Box) misses(l *listing, v View) bool {
	for i := range b.list.entries {
		e := &b.list.entries[i]
		if l.paths[e.Base] == "" && v.Has(e.UID) {
			return true
		}
	}
	return false
}

// assign finds the uids of files.
func (b *Box) assign(l *listing, v View) (*Result, error) {
	list := &b.list
	r := &Result{}
	b.rewrite = b.rewrite || b.restored
	if err := b.validity(v); err != nil {
		return nil, err
	}
	r.UIDValidity = list.validity
	r.Reset = v.UIDValidity != 0 && v.UIDValidity != list.validity
	if r.Reset {
		b.opt.Log.Warningf("Mailbox %s: UIDVALIDITY changed (%d -> %d)", b.opt.Name, v.UIDValidity, list.validity)
	}
	list.next = max(list.next, v.Next)

	fields := make(map[string]string) // of messages that get a new uid
	dead := 0
	kept := make([]Entry, 0, len(list.entries))
	left := len(l.paths)
	known := make(map[string]bool, len(l.paths))
	for _, e := range list.entries {
		path := l.paths[e.Base]
		switch {
		case path == "":
			dead++
			kept = append(kept, e)
			continue
		case r.Reset:
			fields[e.Base] = e.Fields
			continue
		case e.UID < v.Next && !v.Has(e.UID):
			b.opt.Log.Warningf("Mailbox %s: Expunged message reappeared, giving a new UID (old uid=%d, file=%s)", b.opt.Name, e.UID, path)
			fields[e.Base] = e.Fields
			continue
		}
		known[e.Base] = true
		left--
		kept = append(kept, e)
		r.Messages = append(r.Messages, message(e.UID, path, l))
	}
	if len(kept) < len(list.entries) {
		b.rewrite = true
	}
	if dead*4 > len(kept) && dead > 8 {
		b.rewrite = true
	}
	list.entries = kept
	err := b.addNew(l, r, known, left, fields)
	r.Next = list.next
	return r, err
}

// validity makes sure that there is a uid validity.
func (b *Box) validity(v View) (err error) {
	if b.list.validity != 0 {
		return nil
	}
	b.rewrite = true
	b.list.next = max(b.list.next, 1)
	if b.list.validity = v.UIDValidity; b.list.validity == 0 {
		b.list.validity, err = v.NewValidity()
	}
	return err
}

// addNew gives uids to files without and writes the uidlist.
func (b *Box) addNew(l *listing, r *Result, known map[string]bool, left int, fields map[string]string) error {
	names := make([]string, 0, max(left, 0))
	for base := range l.paths {
		if !known[base] && len(base) <= 255 {
			names = append(names, base)
		}
	}
	slices.SortFunc(names, compareNames)
	list := &b.list
	added := make([]Entry, len(names))
	for i, base := range names {
		if list.next+uint32(i) < list.next || list.next+uint32(i) == 1<<32-1 {
			return errors.New("mailbox has no uids left")
		}
		added[i] = Entry{UID: list.next + uint32(i), Base: base, Fields: fields[base]}
		r.Messages = append(r.Messages, message(added[i].UID, l.paths[base], l))
	}
	if b.rewrite {
		// Also drop the lines of messages that are gone.
		list.entries = slices.DeleteFunc(list.entries, func(e Entry) bool { return l.paths[e.Base] == "" })
		list.entries = append(list.entries, added...)
		list.next += uint32(len(added))
		return b.writeList()
	}
	if len(added) == 0 {
		return nil
	}
	// Clients see these uids before anything else is flushed.
	if err := b.appendList(added); err != nil {
		return err
	}
	return b.FlushList()
}

func message(uid uint32, path string, l *listing) Message {
	inNew := strings.HasPrefix(path, newName+"/") || l.moved[Base(path[4:])]
	return Message{UID: uid, Path: path, Info: ParseInfo(path[4:]), InNew: inNew, VirtualSize: -1}
}

// measure notes the sizes of messages that the index does not have.
func (b *Box) measure(r *Result, v View) {
	if b.opt.IgnoreSizes {
		return
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		if !r.Reset && m.UID < v.Next {
			continue
		}
		k, ok := b.list.find(m.UID)
		var st unix.Stat_t
		if !ok || b.opt.Dir.Stat(m.Path, &st) != nil {
			continue
		}
		if size, ok := b.list.entries[k].virtualSize(st.Size); ok {
			m.VirtualSize = size
		}
	}
}

// noteOdd remembers where files are that are not where the index would look first. b.mu is held.
func (b *Box) noteOdd(l *listing) {
	b.odd = nil
	for base, path := range l.paths {
		b.noteOne(base, path)
	}
}

func (b *Box) noteOne(base, path string) {
	if path == expected(base, ParseInfo(path[4:])) {
		delete(b.odd, base)
		return
	}
	if b.odd == nil {
		b.odd = make(map[string]string)
	}
	b.odd[base] = path
}

// expected is where the file of a message is normally.
func expected(base string, i Info) string { return curName + "/" + WithInfo(base, i) }

// emptyNew moves the messages in new to cur. b.mu is held.
func (b *Box) emptyNew(l *listing) {
	moved := false
	for base, path := range l.paths {
		name, ok := strings.CutPrefix(path, newName+"/")
		if !ok {
			continue
		}
		to := curName + "/" + name
		if !strings.Contains(name, ":") {
			to += infoPrefix
		}
		if err := renameNoReplace(b.opt.Dir.FD, path, to); err == nil {
			if l.moved == nil {
				l.moved = make(map[string]bool)
			}
			l.paths[base], l.moved[base], moved = to, true, true
		}
	}
	if moved {
		b.stat(&l.times)
	}
}

// EmptyNew moves the messages in new to cur: a client has seen that they are there. Locked.
func (b *Box) EmptyNew() error {
	return b.own(func() error {
		b.mu.Lock()
		defer b.mu.Unlock()
		l := &listing{paths: make(map[string]string)}
		if err := b.readDir(l, newName); err != nil {
			return err
		}
		b.emptyNew(l)
		for base, path := range l.paths {
			b.noteOne(base, path)
		}
		return nil
	})
}

// Setup makes the uidlist of a new mailbox. Locked.
func (b *Box) Setup(validity uint32, guid [16]byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.whole(); err != nil {
		return err
	}
	if guid == [16]byte{} {
		guid = dbox.NewGUID()
	}
	b.list.validity, b.list.guid, b.list.next = validity, guid, max(b.list.next, 1)
	return b.writeList()
}

// UIDs returns, ascending, those that the uidlist has of files that exist.
func (b *Box) UIDs() ([]uint32, error) {
	l, err := b.readDirs()
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.whole(); err != nil {
		return nil, err
	}
	var uids []uint32
	for i := range b.list.entries {
		if e := &b.list.entries[i]; l.paths[e.Base] != "" {
			uids = append(uids, e.UID)
		}
	}
	return uids, nil
}

package listindex

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Options say how a list index is kept.
type Options struct {
	Index index.Options // of the files; the name is made of the path
	// Authoritative says that the names are nowhere else (LAYOUT=index).
	Authoritative bool
}

// A List is the list index of one namespace. It may be used by several goroutines.
type List struct {
	path string
	opt  Options

	mu   sync.Mutex
	dir  *index.Dir
	ix   *index.Index
	tree *Tree
	lost bool // something may have been lost; the caller shall look for mailboxes that are missing
}

// Limits on the log, which only need last as long as a session lags behind.
const (
	rotateMin    = 8 << 10
	rotateMax    = 64 << 10
	rotateMinAge = 5 * time.Minute
	log2MaxAge   = 10 * time.Minute
)

// New returns the list index of that path. It touches no file.
func New(path string, opt Options) *List {
	opt.Index.Base, opt.Index.Name = filepath.Base(path), path
	opt.Index.RotateMin, opt.Index.RotateMax, opt.Index.RotateMinAge = rotateMin, rotateMax, rotateMinAge
	opt.Index.Log2MaxAge = log2MaxAge
	return &List{path: path, opt: opt}
}

// Close closes the files.
func (l *List) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
}

func (l *List) close() {
	if l.ix != nil {
		l.ix.Close()
	}
	if l.dir != nil {
		l.dir.Close()
	}
	l.ix, l.dir, l.tree = nil, nil, nil
}

// ErrNotExist says that there is no list index.
var ErrNotExist = index.ErrNotExist

// View calls fn with the newest tree. ErrNotExist if there is none yet.
func (l *List) View(ctx context.Context, fn func(*Tree) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refresh(ctx); err != nil {
		return err
	}
	return fn(l.tree)
}

// refresh reads what is new.
func (l *List) refresh(ctx context.Context) error {
	if l.ix == nil {
		if err := l.open(); err != nil {
			return l.mend(ctx, err)
		}
	} else if _, err := l.ix.Refresh(); err != nil {
		if errors.Is(err, index.ErrNotExist) || errors.Is(err, index.ErrDamaged) {
			l.close() // the files may be others now
			if err = l.open(); err == nil {
				return l.read()
			}
		}
		return l.mend(ctx, err)
	}
	return l.read()
}

// mend makes new files of what can be read of damaged ones.
func (l *List) mend(ctx context.Context, err error) error {
	if !errors.Is(err, index.ErrDamaged) {
		if err != nil && l.ix != nil && l.tree == nil {
			l.close()
		}
		return err
	}
	if l.ix == nil {
		return err
	}
	if err := l.repair(ctx); err != nil {
		l.close()
		return err
	}
	return l.read()
}

// repair has the index rebuilt.
func (l *List) repair(ctx context.Context) error {
	why, err := l.ix.Repair(ctx, l.rebuild())
	if err != nil {
		return err
	}
	if why == nil { // another process was faster
		l.close()
		return l.open()
	}
	l.opt.Index.Log.Errorf("%s: %v; rebuilt", l.path, why)
	l.tree, l.lost = nil, true
	return nil
}

// rebuild says how: what can be found again is forgotten.
func (l *List) rebuild() index.Rebuild {
	return index.Rebuild{
		Files: func(old *index.State) (uids []uint32, err error) {
			if !l.opt.Authoritative {
				return nil, nil
			}
			for i := range old.Len() {
				uids = append(uids, old.UID(i))
			}
			return uids, nil
		},
		UIDValidity: func() uint32 { return uint32(time.Now().Unix()) },
		Finish: func(old *index.State, tx *index.Tx) {
			header := old.ExtHeader(extList.Name)
			if !l.opt.Authoritative || len(header) == 0 {
				header = make([]byte, roomFor(0))
			}
			introList(tx, len(header))
			tx.ExtHeader32(0, header)
		},
	}
}

func introList(tx *index.Tx, size int) {
	def := extList
	def.HdrSize = uint32(size)
	tx.Intro(&def)
}

// open opens the files.
func (l *List) open() error {
	dir, err := index.OpenDir(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	x, err := index.Open(dir, l.opt.Index)
	if err == nil {
		err = x.Load()
	}
	if err != nil && !errors.Is(err, index.ErrDamaged) {
		x.Close()
		dir.Close()
		return err
	}
	l.dir, l.ix, l.tree = dir, x, nil
	// A log that was cut looks like one in which less was written.
	l.lost = l.lost || l.opt.Authoritative
	return err
}

// read makes the tree of the index's state.
func (l *List) read() error {
	if err := l.ix.Load(); err != nil {
		return err
	}
	st := l.ix.State()
	if l.tree != nil && l.tree.st == st {
		return nil
	}
	tree, problem := parse(st)
	if problem != nil && l.tree == nil {
		l.opt.Index.Log.Errorf("%s: %v", l.path, problem)
	}
	if problem != nil || st.Hdr.Fsckd() {
		l.lost = true
	}
	l.tree = tree
	return nil
}

// Lost reports whether the files were opened or found damaged since it was last asked, so that
// mailboxes may be missing.
func (l *List) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.lost
	l.lost = false
	return lost
}

// Change has fn change the tree and writes what it did. The files are made if missing.
func (l *List) Change(ctx context.Context, fn func(*Change) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer l.ix.Unlock()
	c := Change{Tree: l.tree, list: l}
	if err = fn(&c); err == nil {
		err = c.commit()
	}
	if err != nil {
		l.tree = nil // what fn did to it is not so
	}
	return err
}

// lock locks the log and reads what is new.
func (l *List) lock(ctx context.Context) error {
	for try := 0; ; try++ {
		err := l.refresh(ctx)
		if errors.Is(err, index.ErrNotExist) {
			err = l.create()
		}
		if err != nil {
			return err
		}
		_, err = l.ix.Lock(ctx)
		if err == nil {
			if err = l.read(); err == nil {
				return nil
			}
			l.ix.Abandon()
		}
		if try > 0 || !errors.Is(err, index.ErrDamaged) && !errors.Is(err, index.ErrNotExist) && !errors.Is(err, index.ErrDeleted) {
			return err
		}
		if err := l.mend(ctx, err); err != nil && !errors.Is(err, index.ErrNotExist) && !errors.Is(err, index.ErrDeleted) {
			return err
		}
	}
}

// create makes the files.
func (l *List) create() error {
	l.close()
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return err
	}
	dir, err := index.OpenDir(filepath.Dir(l.path))
	if err != nil {
		return err
	}
	var tx index.Tx
	header := make([]byte, roomFor(0))
	introList(&tx, len(header))
	tx.ExtHeader32(0, header)
	tx.UIDValidity(uint32(time.Now().Unix()))
	x, err := index.Create(dir, l.opt.Index, &tx)
	if x != nil {
		x.Close()
	}
	dir.Close()
	if err != nil && !errors.Is(err, index.ErrExists) {
		return err
	}
	if err := l.open(); err != nil {
		return err
	}
	return l.read()
}

package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/acl"
)

// aclFile is the list of a mailbox.
const aclFile = "dovecot-acl"

// maxACL bounds the size of a list that is read.
const maxACL = 1 << 20

// aclFiles are lists that were read. They are read again when the file has changed.
type aclFiles struct {
	mu    sync.Mutex
	lists map[string]*cachedACL
}

type cachedACL struct {
	stamp  aclStamp
	list   acl.List
	global *acl.Global
}

// An aclStamp tells one state of a file from another.
type aclStamp struct {
	ino   uint64
	size  int64
	mtime time.Time
}

// maxACLs bounds the lists that are kept.
const maxACLs = 10000

// racy is how long a file may change again without its time changing.
const racy = 2 * time.Second

// read returns a mailbox's list. There is none if there is no file; if the file may not be read nobody has
// rights; if it cannot be understood nobody knows.
func (c *aclFiles) read(path string) (acl.List, error) {
	f, err := c.load(path, func(text string) (*cachedACL, error) {
		l, err := acl.Parse(text)
		return &cachedACL{list: l}, err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, fs.ErrPermission):
		return acl.Locked(), nil
	case err != nil:
		return nil, fmt.Errorf("ACL file %w", err)
	}
	return f.list, nil
}

// load returns what parse makes of a file, now or before.
func (c *aclFiles) load(path string, parse func(string) (*cachedACL, error)) (*cachedACL, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		if err == unix.ENOTDIR {
			err = unix.ENOENT
		}
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	c.mu.Lock()
	have := c.lists[path]
	c.mu.Unlock()
	if have != nil && have.stamp == aclStampOf(&st) {
		return have, nil
	}
	text, at, err := readACL(path)
	if err != nil {
		return nil, err
	}
	f, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s %w", path, err)
	}
	if f.stamp = at; time.Since(at.mtime) > racy {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.lists == nil || len(c.lists) >= maxACLs {
			c.lists = map[string]*cachedACL{}
		}
		c.lists[path] = f
	}
	return f, nil
}

func aclStampOf(st *unix.Stat_t) aclStamp {
	return aclStamp{st.Ino, st.Size, time.Unix(st.Mtim.Unix())}
}

// readACL reads a list. In the place of a directory it is the file .DEFAULT in it.
func readACL(path string) (string, aclStamp, error) {
	for range 2 {
		f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if errors.Is(err, unix.ENOTDIR) {
			err = fs.ErrNotExist
		}
		if err != nil {
			return "", aclStamp{}, err
		}
		defer f.Close()
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err != nil {
			return "", aclStamp{}, err
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			path = filepath.Join(path, ".DEFAULT")
			continue
		case unix.S_IFREG:
		default:
			return "", aclStamp{}, fmt.Errorf("%s is not a regular file", path)
		}
		text, err := io.ReadAll(io.LimitReader(f, maxACL+1))
		if err == nil && len(text) > maxACL {
			err = fmt.Errorf("%s is larger than %d bytes", path, maxACL)
		}
		return string(text), aclStampOf(&st), err
	}
	return "", aclStamp{}, fmt.Errorf("%s is a directory", path)
}

// globals returns what the administrator says of a mailbox.
func (a *access) globals(name string) (acl.List, error) {
	if a.global == "" {
		return nil, nil
	}
	st, err := os.Stat(a.global)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // as Dovecot, which takes it for an empty directory
	case err != nil:
		return nil, err
	case st.IsDir():
		return a.globalDir(name)
	}
	f, err := a.files.load(a.global, func(text string) (*cachedACL, error) {
		g, err := acl.ParseGlobal(text)
		return &cachedACL{global: g}, err
	})
	if err != nil {
		return nil, fmt.Errorf("Global ACL file %w", err)
	}
	return f.global.For(name), nil
}

// globalDir is the older form: a file for each mailbox.
func (a *access) globalDir(name string) (acl.List, error) {
	if name != "" && !filepath.IsLocal(name) {
		return nil, fmt.Errorf("%s has no global ACL: its name leads out of %s", name, a.global)
	}
	l, err := a.files.read(filepath.Join(a.global, name))
	for i := range l {
		l[i].Global = true
	}
	return l, err
}

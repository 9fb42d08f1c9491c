package recordfs

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A node is a file, directory or symbolic link. Its data is replaced, never changed, so
// that states can share it.
type node struct {
	id       uint64
	mode     uint32
	uid, gid uint32
	links    uint32
	mtime    time.Time
	data     []byte // of a link: where it leads
	names    map[string]*node
}

func (n *node) isDir() bool { return n.mode&unix.S_IFMT == unix.S_IFDIR }

// A State is all that was on the file system at some moment.
type State struct {
	After string // what was done last
	Torn  bool   // it is a write, of which only the beginning is there
	files map[string]entry
}

// An entry is a file as it was.
type entry struct {
	id    uint64
	mode  uint32
	mtime time.Time
	data  string
}

// snapshot returns all files.
func (f *FS) snapshot() map[string]entry {
	all := make(map[string]entry)
	var walk func(dir string, n *node)
	walk = func(dir string, n *node) {
		for name, child := range n.names {
			path := filepath.Join(dir, name)
			all[path] = entry{child.id, child.mode, child.mtime, string(child.data)}
			walk(path, child)
		}
	}
	walk("", f.nodes[rootID])
	return all
}

// noted keeps the state after a change.
func (f *FS) noted(what string, torn bool) {
	if f.recording {
		f.states = append(f.states, &State{what, torn, f.snapshot()})
	}
}

// path returns a name of a node, for people.
func (f *FS) path(n *node) string {
	var find func(dir string, in *node) string
	find = func(dir string, in *node) string {
		for name, child := range in.names {
			if child == n {
				return dir + name
			}
			if found := find(dir+name+"/", child); found != "" {
				return found
			}
		}
		return ""
	}
	return find("", f.nodes[rootID])
}

// Equal tells whether two states have the same files.
func (s *State) Equal(o *State) bool {
	return maps.EqualFunc(s.files, o.files, func(a, b entry) bool { return a.mode == b.mode && a.data == b.data })
}

// Write makes the files below an existing directory, with the owner given, their times, and hard
// links as links.
func (s *State) Write(root string, uid int) error {
	first := make(map[uint64]string)
	var errs []error
	names := slices.Sorted(maps.Keys(s.files))
	for _, name := range names {
		e := s.files[name]
		path := filepath.Join(root, name)
		other, linked := first[e.id]
		switch {
		case e.mode&unix.S_IFMT == unix.S_IFDIR:
			errs = append(errs, os.Mkdir(path, os.FileMode(e.mode&0o777)))
		case e.mode&unix.S_IFMT == unix.S_IFLNK:
			errs = append(errs, os.Symlink(e.data, path))
		case linked:
			errs = append(errs, os.Link(other, path))
		default:
			first[e.id] = path
			errs = append(errs, os.WriteFile(path, []byte(e.data), os.FileMode(e.mode&0o777)))
		}
		errs = append(errs, os.Lchown(path, uid, uid))
	}
	slices.Reverse(names) // files before their directories
	for _, name := range names {
		if e := s.files[name]; e.mode&unix.S_IFMT != unix.S_IFLNK {
			errs = append(errs, os.Chtimes(filepath.Join(root, name), e.mtime, e.mtime))
		}
	}
	return errors.Join(errs...)
}

// Has tells whether a file is there whose name contains a text.
func (s *State) Has(part string) bool {
	for name := range s.files {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

package maildir

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// listTries bounds how often the directories are listed because a message seems
// to be gone: one that is renamed meanwhile may be missed.
const listTries = 3

// A listing is the files that exist, by base name.
type listing struct {
	paths map[string]string
	dups  []string        // paths of files whose base name another one has
	empty []string        // paths of files without base name
	moved map[string]bool // base names of those that were moved from new
	times Times
	hot   time.Time // when they were listed, if that was in the moment of a change; or zero
}

// readDirs lists the directories.
func (b *Box) readDirs() (*listing, error) {
	l := &listing{paths: make(map[string]string)}
	if !b.stat(&l.times) {
		return nil, fmt.Errorf("fstat(%s) failed", b.opt.Dir.Path)
	}
	if now := b.opt.Now(); l.times.New.within(tick, now) || l.times.Cur.within(tick, now) {
		l.hot = now
	}
	// First new: what is moved meanwhile is seen again in cur.
	for _, dir := range [...]string{newName, curName} {
		if err := b.readDir(l, dir); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (b *Box) readDir(l *listing, dir string) error {
	fd, err := b.opt.Dir.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return fmt.Errorf("open(%s): %w", b.opt.Dir.File(dir), err)
	}
	f := os.NewFile(uintptr(fd), b.opt.Dir.File(dir))
	defer f.Close()
	for {
		names, err := f.Readdirnames(4096)
		for _, name := range names {
			b.addFile(l, dir, name)
		}
		if len(names) == 0 || err != nil {
			if len(names) == 0 {
				return nil // at the end
			}
			return err
		}
	}
}

func (b *Box) addFile(l *listing, dir, name string) {
	if name[0] == '.' {
		return
	}
	path := dir + "/" + name
	base := Base(name)
	if base == "" {
		l.empty = append(l.empty, path)
		return
	}
	other, ok := l.paths[base]
	switch {
	case !ok || other == path:
		l.paths[base] = path
	case strings.HasPrefix(other, newName+"/") && dir == curName:
		l.paths[base] = path
		l.dups = append(l.dups, other)
	default:
		l.dups = append(l.dups, path)
	}
}

// join takes over another listing. Files that only the first has seen count if they are there:
// the second may have missed them.
func (l *listing) join(again *listing, exists func(path string) bool) {
	for base, path := range l.paths {
		if again.paths[base] == "" && exists(path) {
			again.paths[base] = path
		}
	}
	l.paths, l.times = again.paths, again.times
}

func (b *Box) exists(path string) bool {
	return unix.Faccessat(b.opt.Dir.FD, path, unix.F_OK, 0) == nil
}

// mend gives files names of their own that share one or have none. It tells whether there were
// any.
func (b *Box) mend(l *listing) (changed bool) {
	for _, path := range l.empty {
		changed = b.rename(path, "Fixed broken filename") || changed
	}
	for _, path := range l.dups {
		changed = b.mendDuplicate(path, l.paths[Base(path[4:])]) || changed
	}
	return changed
}

// linkAge is for how long two names of one file must have been there until they are
// no race.
const linkAge = 30 * time.Second

func (b *Box) mendDuplicate(path, other string) bool {
	var st1, st2 unix.Stat_t
	d := b.opt.Dir
	if d.Stat(other, &st1) != nil || d.Stat(path, &st2) != nil {
		return true // renamed while it was listed
	}
	if st1.Ino != st2.Ino || st1.Dev != st2.Dev {
		return b.rename(path, "Fixed a duplicate")
	}
	if st1.Nlink < 2 || b.opt.Now().Unix()-st1.Ctim.Sec < int64(linkAge/time.Second) {
		return false
	}
	if err := unix.Unlinkat(d.FD, path, 0); err != nil {
		return false
	}
	b.opt.Log.Warningf("Mailbox %s: Unlinked a duplicate: %s", b.opt.Name, d.File(path))
	return true
}

// rename gives a file a new base name, in new.
func (b *Box) rename(path, why string) bool {
	base := NewName(b.opt.Now())
	for _, key := range []byte{KeySize, KeyVirtualSize} {
		if v, ok := SizeIn(path[4:], key); ok {
			base += fmt.Sprintf(",%c=%d", key, v)
		}
	}
	if err := unix.Renameat(b.opt.Dir.FD, path, b.opt.Dir.FD, newName+"/"+base); err != nil {
		if !errors.Is(err, unix.ENOENT) {
			b.opt.Log.Errorf("Mailbox %s: rename(%s, %s): %v", b.opt.Name, b.opt.Dir.File(path), base, err)
		}
		return false
	}
	b.opt.Log.Warningf("Mailbox %s: %s: %s -> %s", b.opt.Name, why, b.opt.Dir.File(path), base)
	return true
}

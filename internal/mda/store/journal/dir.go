package journal

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
)

// DirName is the name of the directories with journals.
const DirName = ".dovetail-journal"

// Top returns the directory in which the journal of the mail in dir belongs: the highest above
// it on the same file system that belongs to the user of this process. ok is false where there is none,
// or the file system is not one on which a process can rely on what it has written being
// there for others (a local one).
func Top(dir string) (top string, ok bool) {
	top, owner, ok := topOfOwner(dir)
	return top, ok && owner == uint32(unix.Geteuid())
}

// Foreign returns where the journal of mail in dir is that belongs to another user, whose process alone can
// recover it. ok is false where there is none.
func Foreign(dir string) (top string, ok bool) {
	top, owner, ok := topOfOwner(dir)
	if !ok || owner == uint32(unix.Geteuid()) {
		return "", false
	}
	var st unix.Stat_t
	if unix.Lstat(filepath.Join(top, DirName), &st) != nil {
		return "", false
	}
	return top, st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Uid == owner
}

// Owner returns whose the journal is below top, which another user's process gave as the name of a directory.
func Owner(top string) (uid, gid int, err error) {
	if len(top) > unix.PathMax || !filepath.IsAbs(top) || filepath.Clean(top) != top {
		return 0, 0, errors.New("not the path of a directory")
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(top, DirName), &st); err != nil {
		return 0, 0, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return 0, 0, errors.New(DirName + " is no directory")
	}
	return int(st.Uid), int(st.Gid), nil
}

// topOfOwner returns the highest directory above dir on its file system that belongs to its owner.
func topOfOwner(dir string) (top string, owner uint32, ok bool) {
	var st unix.Stat_t
	if !filepath.IsAbs(dir) || unix.Stat(dir, &st) != nil || !local(dir) {
		return "", 0, false
	}
	dev, owner := st.Dev, st.Uid
	for {
		up := filepath.Dir(dir)
		if up == dir || unix.Stat(up, &st) != nil || st.Dev != dev || st.Uid != owner {
			return dir, owner, true
		}
		dir = up
	}
}

// local tells whether a directory is on a file system for which package journal is right.
func local(dir string) bool {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return false
	}
	switch int64(fs.Type) { //nolint:unconvert // not int64 everywhere
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC: // ext4's is also that of ext2 and ext3
		return true
	}
	return false
}

// Open recovers what processes left behind that are gone, and begins the journal of this
// process below top.
func Open(top string, log *maillog.Logger) (*Journal, error) {
	path := filepath.Join(top, DirName)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	var j *Journal
	err := locked(path, func(dir *os.File) error {
		last, err := recoverIn(dir, log)
		if err == nil {
			j, err = open(dir, log, last)
		}
		return err
	})
	return j, err
}

// Recover recovers what processes left behind below top.
func Recover(top string, log *maillog.Logger) error {
	path := filepath.Join(top, DirName)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return locked(path, func(dir *os.File) error {
		defer dir.Close()
		_, err := recoverIn(dir, log)
		return err
	})
}

// locked calls fn with the directory, which is fn's, as the only process.
func locked(path string, fn func(dir *os.File) error) error {
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(dir.Fd()), &st); err == nil && (st.Uid != uint32(unix.Geteuid()) || st.Mode&0o022 != 0) {
		err = fmt.Errorf("%s belongs to uid %d with mode %o: it must be this user's alone", path, st.Uid, st.Mode&0o7777)
	}
	if err != nil {
		dir.Close()
		return err
	}
	lk, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		dir.Close()
		return err
	}
	defer lk.Close()
	if err := lock(lk, true); err != nil {
		dir.Close()
		return err
	}
	return fn(dir)
}

// A leftover is a file of a process that is gone.
type leftover struct {
	f *os.File
	header
}

// leftovers opens the files that nobody has locked, in the order of their use, and returns the
// highest generation of all.
func leftovers(dir *os.File) (list []leftover, last uint64, err error) {
	names, err := os.ReadDir(dir.Name())
	if err != nil {
		return nil, 0, err
	}
	for _, e := range names {
		if !strings.HasSuffix(e.Name(), ".0") && !strings.HasSuffix(e.Name(), ".1") {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir.Name(), e.Name()), os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			closeAll(list)
			return nil, 0, err
		}
		b := make([]byte, headerSize)
		n, _ := f.ReadAt(b, 0)
		h, ok := decodeHeader(b[:n])
		if ok {
			last = max(last, h.generation)
		}
		if lock(f, false) != nil {
			f.Close()
			continue
		}
		list = append(list, leftover{f, h})
	}
	slices.SortFunc(list, func(a, b leftover) int { return cmp.Compare(a.generation, b.generation) })
	return list, last, nil
}

func closeAll(list []leftover) {
	for i := range list {
		list[i].f.Close()
	}
}

// Settle has everything on disk that a journal below top may have.
func Settle(top string) error {
	dir, err := os.Open(filepath.Join(top, DirName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return commit.All(int(dir.Fd()))
}

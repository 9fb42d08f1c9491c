package commit

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Volume is a file system, with what is known of how it orders changes. All
// mailboxes on it share one. A nil Volume is one of which nothing is known.
type Volume struct {
	ordered atomic.Bool
	flushes atomic.Int32 // complete ones, until they are enough to decide
	decide  func() bool  // whether it is ordered, once they are; nil if that is known
}

// Ordered reports whether the file system has one journal that takes every
// change of names and sizes in the order in which they are made, so that flushing
// a file that has just grown makes everything durable that was done before on this
// volume. The package comment tells what follows from that.
func (v *Volume) Ordered() bool { return v != nil && v.ordered.Load() }

// enough is how many complete flushes it takes until ext4 has counted a fast
// commit, if it makes any: the first ones after a mount are never fast.
const enough = 8

// Flushed tells the volume of a complete flush: file, log and directories.
func (v *Volume) Flushed() {
	if v != nil && v.decide != nil && v.flushes.Load() < enough && v.flushes.Add(1) == enough {
		v.ordered.Store(v.decide())
	}
}

// A volumeKey tells mounted file systems apart. The device number alone does not
// when one file system after the other is mounted from it.
type volumeKey struct {
	dev uint64
	typ int64
	id  unix.Fsid
}

var volumes sync.Map // volumeKey -> *Volume

// VolumeOf returns the volume that the open directories are on. It is nil if they
// are on several, or it cannot be found out.
func VolumeOf(fds ...int) *Volume {
	var key volumeKey
	for i, fd := range fds {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || i > 0 && st.Dev != key.dev {
			return nil
		}
		key.dev = st.Dev
	}
	var fs unix.Statfs_t
	if unix.Fstatfs(fds[0], &fs) != nil {
		return nil
	}
	key.typ, key.id = int64(fs.Type), fs.Fsid //nolint:unconvert // not int64 everywhere
	if v, ok := volumes.Load(key); ok {
		return v.(*Volume)
	}
	v, _ := volumes.LoadOrStore(key, newVolume(key.typ, key.dev))
	return v.(*Volume)
}

func newVolume(typ int64, dev uint64) *Volume {
	v := new(Volume)
	if typ != unix.EXT4_SUPER_MAGIC { // ext2 and ext3 have it too
		return v
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(dev), unix.Minor(dev)))
	if err != nil {
		return v
	}
	proc := "/proc/fs/ext4/" + filepath.Base(link)
	options, err := os.ReadFile(proc + "/options")
	if err != nil || !ext4Ordered(options) {
		return v
	}
	v.decide = func() bool {
		info, err := os.ReadFile(proc + "/fc_info")
		return os.IsNotExist(err) || err == nil && noFastCommits(info)
	}
	return v
}

// ext4Ordered reads the options in effect. A file system without journal, such as
// ext2, has no line about data; with journal_async_commit a commit may get ahead of
// the data written before it.
func ext4Ordered(options []byte) bool {
	ordered := false
	for line := range bytes.Lines(options) {
		switch string(bytes.TrimSpace(line)) {
		case "data=ordered":
			ordered = true
		case "journal_async_commit", "fc_debug_force":
			return false
		}
	}
	return ordered
}

// noFastCommits reads the statistics of fast commits: since the mount there were
// none, nor attempts. A fast commit need not hold all that was done before it.
func noFastCommits(info []byte) bool {
	counted := 0
	for line := range bytes.Lines(info) {
		number, what, _ := bytes.Cut(bytes.TrimSpace(line), []byte{' '})
		if string(what) != "commits" && string(what) != "ineligible" {
			continue
		}
		n, err := strconv.ParseUint(string(number), 10, 64)
		if err != nil || n > 0 {
			return false
		}
		counted++
	}
	return counted == 2
}

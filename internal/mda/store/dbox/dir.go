package dbox

import (
	"errors"
	"io"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A Listing is what a message directory contains.
type Listing struct {
	UIDs  []uint32 // of mail files, ascending
	Temps []string // left-over temporary files
}

// List reads a message directory.
func List(dir *index.Dir) (*Listing, error) {
	fd, err := unix.Openat(dir.FD, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, sysError("open", dir.Path, err)
	}
	f := os.NewFile(uintptr(fd), dir.Path)
	defer f.Close()
	l := &Listing{}
	for {
		names, err := f.Readdirnames(4096)
		for _, name := range names {
			if uid, ok := ParseName(name); ok {
				l.UIDs = append(l.UIDs, uid)
			} else if IsTemp(name) {
				l.Temps = append(l.Temps, name)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, sysError("readdir", dir.Path, err)
		}
	}
	slices.Sort(l.UIDs)
	return l, nil
}

// StaleAge is how long a temporary file must not have changed before it counts
// as left behind.
const StaleAge = 36 * time.Hour

// RemoveStale removes the temporary files that nobody has touched for StaleAge.
func (l *Listing) RemoveStale(dir *index.Dir, now time.Time) error {
	var errs []error
	for _, name := range l.Temps {
		var st unix.Stat_t
		if dir.Stat(name, &st) != nil {
			continue
		}
		newest := max(st.Mtim.Sec, st.Ctim.Sec)
		if now.Unix()-newest > int64(StaleAge/time.Second) {
			errs = append(errs, dir.Remove(name))
		}
	}
	return errors.Join(errs...)
}

package takeover

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// stagingName is the directory, below that of the queue, in which queue files are
// made. It has a directory for each of exported and logNames; all files in it
// have the ID of their message in our queue.
const stagingName = "export"

// exported are the directories that messages go to.
var exported = []string{"incoming", "deferred", "hold"}

// A layout says how Postfix names its files.
type layout struct {
	dir    string         // queue_directory
	long   bool           // enable_long_queue_ids
	depths map[string]int // levels of directories in a queue: hash_queue_names, hash_queue_depth
}

func (l *layout) staged(name, id string) string {
	return filepath.Join(l.dir, queue.Subdir, stagingName, name, id)
}

// name returns the queue ID that a file must have: with its inode, or postsuper(1)
// renames it when Postfix starts. The time in it stays that of our ID. Long IDs
// need no inode and stay as they are.
func (l *layout) name(id string, file *os.File) (string, error) {
	if l.long && queuefile.Long(id) {
		return id, nil
	}
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	inode := info.Sys().(*syscall.Stat_t).Ino
	at, ok := queuefile.Time(id)
	if ok && !l.long {
		return queuefile.ShortName(at, inode), nil
	}
	m, err := queuefile.Parse(file, info.Size())
	if err != nil {
		return "", fmt.Errorf("%s: %w", file.Name(), err)
	}
	switch {
	case !l.long:
		return queuefile.ShortName(m.Arrival, inode), nil
	case ok:
		return queuefile.LongName(time.Unix(m.Arrival.Unix(), int64(at.Nanosecond())), inode), nil
	}
	return queuefile.LongName(m.Arrival, inode), nil
}

// path returns where a file of a queue belongs.
func (l *layout) path(queue, name string) string {
	return filepath.Join(l.dir, queuefile.Path(queue, name, l.depths[queue]))
}

// clear removes logs that others left under the name of a file that is being
// made: they would be taken for its own.
func (l *layout) clear(id string, file *os.File) error {
	name, err := l.name(id, file)
	if err != nil {
		return err
	}
	for _, log := range logNames {
		if err := removeStale(l.path(log, name)); err != nil {
			return err
		}
	}
	return nil
}

// place puts a finished file, and the logs beside it, where Postfix finds them,
// and notes the directories to be synced. The logs go first: Postfix ignores
// those without a queue file.
func (l *layout) place(queue, id string, touched map[string]bool) error {
	f, err := os.Open(l.staged(queue, id))
	if err != nil {
		return err
	}
	defer f.Close()
	name, err := l.name(id, f)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(l.path(queue, name)); err == nil {
		return fmt.Errorf("%s is there already", l.path(queue, name))
	}
	for _, log := range logNames {
		step()
		if err := l.move(log, id, name, touched); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	step()
	return l.move(queue, id, name, touched)
}

// move renames one file, into a directory that is made if it is not there.
func (l *layout) move(queue, id, name string, touched map[string]bool) error {
	from, to := l.staged(queue, id), l.path(queue, name)
	if _, err := os.Lstat(from); err != nil {
		return err
	}
	dir := filepath.Dir(to)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	for d := dir; d != l.dir; d = filepath.Dir(d) {
		touched[d] = true
	}
	touched[filepath.Dir(from)] = true
	return nil
}

func removeStale(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// finish ends what an export began that was killed. A file whose message is in
// our queue is dropped; one whose message is not is the message, and complete.
func (l *layout) finish(store *queue.Store) (placed int, err error) {
	touched := make(map[string]bool)
	for _, q := range exported {
		ids, err := names(l.staged(q, ""))
		if err != nil {
			return placed, err
		}
		for _, id := range ids {
			if _, there := store.Lookup(id); there {
				if err := l.drop(q, id); err != nil {
					return placed, err
				}
				continue
			}
			if err := l.place(q, id, touched); err != nil {
				return placed, err
			}
			placed++
		}
	}
	for _, log := range logNames {
		// Of messages whose file was not begun.
		ids, err := names(l.staged(log, ""))
		if err != nil {
			return placed, err
		}
		for _, id := range ids {
			if err := os.Remove(l.staged(log, id)); err != nil {
				return placed, err
			}
		}
	}
	return placed, syncDirs(touched)
}

// drop removes what was begun for a message.
func (l *layout) drop(queue, id string) error {
	for _, q := range append([]string{queue}, logNames...) {
		step()
		if err := removeStale(l.staged(q, id)); err != nil {
			return err
		}
	}
	return nil
}

// names lists a directory that may not be there.
func names(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

// finish is the layout's for a service that starts: it takes the files over right
// after, wherever they are.
func finish(dir string, store *queue.Store, log *maillog.Logger) error {
	l := &layout{dir: dir, long: true}
	n, err := l.finish(store)
	if err != nil {
		return fmt.Errorf("finish an export that was interrupted: %w", err)
	}
	if n > 0 {
		log.Infof("takeover: an export was interrupted, %d messages come back", n)
	}
	return nil
}

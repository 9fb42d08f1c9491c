package mailbox

import (
	"context"
	"encoding/binary"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A watcher tells mailboxes that others have changed their log or [Directories]. There is one
// inotify descriptor for all of a pool, and one goroutine that reads it while
// anything is watched.
type watcher struct {
	log *maillog.Logger

	mu    sync.Mutex
	file  *os.File
	boxes map[int32][]*box // by watch descriptor; users with private flags have a box each
	wds   map[*box][]int32
}

// What happens to the log: appended to, or replaced (the link count changes).
const watchMask = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF

// What other programs do to files in a directory.
const watchDirMask = unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM | unix.IN_DELETE

// add watches the log of a mailbox; again after it was replaced.
func (w *watcher) add(b *box, log index.Log, dirs []*index.Dir, file string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil && !w.start() {
		return
	}
	// The descriptor names the file whatever its name is meanwhile.
	wds := w.watch(nil, b, procPath(log.FD()), watchMask)
	for _, d := range dirs {
		wds = w.watch(wds, b, procPath(d.FD), watchDirMask)
	}
	if file != "" {
		wds = w.watch(wds, b, file, watchMask)
	}
	for _, old := range w.wds[b] {
		if !slices.Contains(wds, old) {
			w.forget(b, old)
		}
	}
	w.wds[b] = wds
}

// watch adds a watch of a file to those of a mailbox.
func (w *watcher) watch(wds []int32, b *box, path string, mask uint32) []int32 {
	wd, err := unix.InotifyAddWatch(int(w.file.Fd()), path, mask)
	if err != nil {
		// Changes are still seen at the next Sync.
		w.log.Warningf("Mailbox %s: inotify_add_watch: %v", b.loc.Name, err)
		return wds
	}
	if !slices.Contains(w.boxes[int32(wd)], b) {
		w.boxes[int32(wd)] = append(w.boxes[int32(wd)], b)
	}
	return append(wds, int32(wd))
}

// remove ends watching.
func (w *watcher) remove(b *box) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wd := range w.wds[b] {
		w.forget(b, wd)
	}
	delete(w.wds, b)
}

func (w *watcher) forget(b *box, wd int32) {
	i := slices.Index(w.boxes[wd], b)
	if i < 0 {
		return
	}
	w.boxes[wd] = slices.Delete(w.boxes[wd], i, i+1)
	if len(w.boxes[wd]) == 0 {
		delete(w.boxes, wd)
		// It fails if the file is gone, and the watch with it.
		_, _ = unix.InotifyRmWatch(int(w.file.Fd()), uint32(wd))
	}
}

func (w *watcher) start() bool {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		w.log.Warningf("inotify_init: %v; changes by other processes are seen late", err)
		return false
	}
	w.file = os.NewFile(uintptr(fd), "inotify")
	w.boxes, w.wds = make(map[int32][]*box), make(map[*box][]int32)
	go w.read(w.file)
	return true
}

func (w *watcher) read(file *os.File) {
	buf := make([]byte, 16<<10)
	for {
		n, err := file.Read(buf)
		if err != nil {
			return // closed
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, size := int32(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[12:])
			w.event(wd)
			b = b[unix.SizeofInotifyEvent+size:]
		}
	}
}

func (w *watcher) event(wd int32) {
	w.mu.Lock()
	boxes := slices.Clone(w.boxes[wd])
	w.mu.Unlock()
	for _, b := range boxes {
		if !b.waking.Swap(true) {
			go b.lookAtChange()
		}
	}
}

func (w *watcher) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

// lookAgain is after what time a Scanner is asked once more: a change within the same
// tick of the clock as the one before cannot be seen by the time of the directory.
const lookAgain = 2500 * time.Millisecond

// lookAtChange reads what another process did, unless the box is closed.
func (b *box) lookAtChange() {
	b.waking.Store(false)
	if b.look() && !b.again.Swap(true) {
		time.AfterFunc(lookAgain, func() {
			b.again.Store(false)
			b.look()
		})
	}
}

// look reads what another process did. It reports whether to look once more.
func (b *box) look() (again bool) {
	if !b.pool.hold(b) {
		return false
	}
	defer b.pool.release(b, nil)
	if err := b.sync(context.Background()); err != nil && !isGone(err) {
		b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
	}
	_, again = b.store.(Scanner)
	return again
}

// subscribe has fn called after changes. While anybody is subscribed, changes of
// other processes are looked for.
func (b *box) subscribe(fn func()) (cancel func()) {
	b.subMu.Lock()
	if b.subs == nil {
		b.subs = make(map[*func()]struct{})
	}
	b.subs[&fn] = struct{}{}
	b.subMu.Unlock()
	b.rewatch()
	return func() {
		b.subMu.Lock()
		defer b.subMu.Unlock()
		delete(b.subs, &fn)
		if len(b.subs) == 0 {
			b.pool.watch.remove(b)
		}
	}
}

// rewatch watches the log that is now in use, if anybody wants to know.
func (b *box) rewatch() {
	b.subMu.Lock()
	defer b.subMu.Unlock()
	if len(b.subs) == 0 {
		return
	}
	var dirs []*index.Dir
	if d, ok := b.store.(Directories); ok {
		dirs = d.Dirs()
	}
	file := ""
	if f, ok := b.store.(FileWatched); ok {
		file = f.WatchedFile()
	}
	b.logMu.Lock()
	defer b.logMu.Unlock()
	b.pool.watch.add(b, b.log, dirs, file)
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

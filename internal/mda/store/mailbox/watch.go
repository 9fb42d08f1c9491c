package mailbox

import (
	"context"
	"encoding/binary"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A watcher tells mailboxes that others have changed their log. There is one
// inotify descriptor for all of a pool, and one goroutine that reads it while
// anything is watched.
type watcher struct {
	log *maillog.Logger

	mu    sync.Mutex
	file  *os.File
	boxes map[int32]*box // by watch descriptor
	wds   map[*box]int32
}

// What happens to the log: appended to, or replaced (the link count changes).
const watchMask = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_MOVE_SELF | unix.IN_DELETE_SELF

// add watches the log of a mailbox; again after it was replaced.
func (w *watcher) add(b *box, log index.Log) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil && !w.start() {
		return
	}
	// The descriptor names the file whatever its name is meanwhile.
	wd, err := unix.InotifyAddWatch(int(w.file.Fd()), procPath(log.FD()), watchMask)
	if err != nil {
		// Changes are still seen at the next Sync.
		w.log.Warningf("Mailbox %s: inotify_add_watch: %v", b.loc.Name, err)
		return
	}
	if old, ok := w.wds[b]; ok && old != int32(wd) {
		w.forget(b, old)
	}
	w.boxes[int32(wd)], w.wds[b] = b, int32(wd)
}

// remove ends watching.
func (w *watcher) remove(b *box) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if wd, ok := w.wds[b]; ok {
		w.forget(b, wd)
	}
}

func (w *watcher) forget(b *box, wd int32) {
	delete(w.wds, b)
	if w.boxes[wd] == b {
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
	w.boxes, w.wds = make(map[int32]*box), make(map[*box]int32)
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
	b := w.boxes[wd]
	w.mu.Unlock()
	if b != nil && !b.waking.Swap(true) {
		go b.lookAtChange()
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

// lookAtChange reads what another process did, unless the box is closed.
func (b *box) lookAtChange() {
	b.mu.Lock()
	b.waking.Store(false)
	ready := b.ready
	b.mu.Unlock()
	if !ready {
		return
	}
	if err := b.sync(context.Background()); err != nil {
		b.pool.log.Errorf("Mailbox %s: %v", b.loc.Name, err)
	}
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
	b.logMu.Lock()
	defer b.logMu.Unlock()
	b.pool.watch.add(b, b.log)
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

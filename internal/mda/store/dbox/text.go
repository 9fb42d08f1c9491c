package dbox

import (
	"fmt"
	"io"

	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
)

// headOf returns those of the bytes read that tell how a body of that size is stored.
func headOf(b []byte, size int64) []byte {
	return b[:min(int64(len(b)), size, int64(compress.HeadSize))]
}

// A View says how the text of messages may be stored.
type View struct {
	// Compressed messages are recognized by how they begin. Otherwise only those are
	// decompressed whose metadata say that something was done to them.
	Compressed  bool
	Attachments *attachment.Store // nil for none
	Suffix      string            // of the names of the message's attachments
	Temp        string            // directory for temporary files
}

// A Text is a message as it was before it was stored. Where it lies in its file as it is, it
// is a [File].
type Text interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Text returns the text of a message, which closes the file. It closes the file too when it
// fails. [ErrCorrupt], [compress.ErrDamaged], [attachment.ErrDamaged].
func (f *File) Text(v *View) (Text, error) {
	m, err := f.Metadata()
	if err != nil {
		f.Close()
		return nil, err
	}
	physical, changed := m.Hex(KeyPhysicalSize)
	refs := m.Get(KeyAttachments)
	method := compress.Detect(f.head)
	if method != nil && !v.Compressed && (!changed || physical == f.size) {
		method = nil
	}
	if method == nil && refs == "" {
		return f, nil
	}
	return f.restore(v, method, refs, physical, changed)
}

// restore undoes what was done to the text.
func (f *File) restore(v *View, method *compress.Method, value string, physical int64, known bool) (Text, error) {
	if !known {
		physical = -1
	}
	var refs []attachment.Ref
	if value != "" {
		var err error
		if v.Attachments == nil {
			err = fmt.Errorf("%s has attachments elsewhere, but mail_attachment_dir is unset", f.path)
		} else if refs, err = attachment.ParseRefs(value); err != nil {
			err = fmt.Errorf("%s: %w", f.path, err)
		}
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	var t Text = f
	if method != nil {
		size := physical
		if known {
			size = physical - attachment.Sum(refs)
		}
		if known && size < 0 {
			f.Close()
			return nil, fmt.Errorf("%s: %w: %d bytes of attachments in a message of %d", f.path, attachment.ErrDamaged, attachment.Sum(refs), physical)
		}
		b, err := method.Open(f, size, v.Temp)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.path, err)
		}
		t = b
	}
	if len(refs) == 0 {
		return t, nil
	}
	b, err := v.Attachments.Open(t, refs, v.Suffix)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return b, nil
}

// Attachments returns what was cut out of the message.
func (f *File) Attachments() ([]attachment.Ref, error) {
	m, err := f.Metadata()
	if err != nil {
		return nil, err
	}
	value := m.Get(KeyAttachments)
	if value == "" {
		return nil, nil
	}
	refs, err := attachment.ParseRefs(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.path, err)
	}
	return refs, nil
}

// VirtualSize computes the size of a text with every line end counted as CRLF, for a message
// that does not say it.
func VirtualSize(t Text) (int64, error) {
	buf := make([]byte, bufSize)
	size, last := t.Size(), byte(0)
	for off, end := int64(0), t.Size(); off < end; {
		n, err := t.ReadAt(buf, off)
		if n == 0 {
			return 0, err
		}
		size += virtualSize(buf[:n]) - int64(n)
		if last == '\r' && buf[0] == '\n' {
			size--
		}
		last = buf[n-1]
		off += int64(n)
	}
	return size, nil
}

package maildir

import (
	"fmt"
	"io"

	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
)

// A Text is a message as it was before it was compressed. Where it was not, it is a [File].
type Text interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Text returns the text of the message. Closing it closes the file, as failing does.
// [compress.ErrDamaged].
//
// Dovecot gives the sizes of a compressed message in the file's name and decompresses whatever
// begins like a compressed file if the zlib plugin is loaded. Without it only those are
// decompressed here whose name has another size than the file: Dovecot cannot read them at all.
func (f *File) Text() (Text, error) {
	size, known := f.declaredSize()
	if !f.opt.Compressed && (!known || size == f.st.Size) {
		return f, nil
	}
	head := make([]byte, compress.HeadSize)
	n, err := f.f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		f.Close()
		return nil, err
	}
	method := compress.Detect(head[:n])
	if method == nil {
		return f, nil
	}
	if !known || size == f.st.Size {
		size = -1 // or somebody compressed it without telling
	}
	t, err := method.Open(f, size, f.opt.Temp)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.f.Name(), err)
	}
	return t, nil
}

// declaredSize returns the size of the message that its name or the uidlist tell.
func (f *File) declaredSize() (int64, bool) {
	if !f.sizes {
		return 0, false
	}
	if size, ok := SizeIn(f.entry.Base, KeySize); ok {
		return size, true
	}
	return f.entry.number(KeySize)
}

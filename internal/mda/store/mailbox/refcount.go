package mailbox

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A RefCounter is a Store in which messages may share their text with others that
// it knows of.
type RefCounter interface {
	Reference(ctx context.Context, st *index.State, i int) (Reference, error)
}

// A Namer is a Store that has a name of its own for each message.
type Namer interface {
	StorageID(st *index.State, i int) string
}

var (
	_ RefCounter = (*mdboxStore)(nil)
	_ Namer      = (*maildirStore)(nil)
)

// A Reference is a stored text: what tells it from others, and how many messages share it.
type Reference struct {
	Count int
	ID    uint64 // map uid of mdbox, otherwise inode of the file; 0 if nothing is shared
}

// Reference returns that of the message.
func (msg *Message) Reference(ctx context.Context) (Reference, error) {
	if c, ok := msg.b.store.(RefCounter); ok {
		return c.Reference(ctx, msg.st, msg.i)
	}
	f, err := msg.open()
	if err != nil {
		return Reference{}, err
	}
	defer f.Close()
	var file *os.File
	switch f := f.(type) {
	case plainFile:
		file, _ = f.File.File()
	case maildirFile:
		file, _ = f.File.File()
	default:
		return Reference{Count: 1}, nil // it is not stored as it is read
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return Reference{}, err
	}
	return Reference{int(st.Nlink), st.Ino}, nil
}

// StorageID returns what the format calls the message: of Maildir the name of the
// file without flags. It is empty for all others.
func (msg *Message) StorageID() string {
	if n, ok := msg.b.store.(Namer); ok {
		return n.StorageID(msg.st, msg.i)
	}
	return ""
}

// Reference implements [RefCounter].
func (s *mdboxStore) Reference(ctx context.Context, st *index.State, i int) (Reference, error) {
	m, ok := mdboxMail(st, i)
	if !ok {
		return Reference{}, ErrMissing
	}
	n, err := s.storage.RefCount(ctx, m.MapUID)
	return Reference{n, uint64(m.MapUID)}, err
}

// StorageID implements [Namer].
func (s *maildirStore) StorageID(st *index.State, i int) string {
	e, _ := s.box.Entry(st.UID(i))
	return e.Base
}

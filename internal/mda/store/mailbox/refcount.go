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
	RefCount(ctx context.Context, st *index.State, i int) (int, error)
}

// A Namer is a Store that has a name of its own for each message.
type Namer interface {
	StorageID(st *index.State, i int) string
}

var (
	_ RefCounter = (*mdboxStore)(nil)
	_ Namer      = (*maildirStore)(nil)
)

// RefCount returns how many messages share the stored text, this one included:
// references of mdbox, otherwise names of the file.
func (msg *Message) RefCount(ctx context.Context) (int, error) {
	if c, ok := msg.b.store.(RefCounter); ok {
		return c.RefCount(ctx, msg.st, msg.i)
	}
	f, err := msg.open()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var file *os.File
	switch f := f.(type) {
	case plainFile:
		file, _ = f.File.File()
	case maildirFile:
		file, _ = f.File.File()
	default:
		return 1, nil // it is not stored as it is read
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return 0, err
	}
	return int(st.Nlink), nil
}

// StorageID returns what the format calls the message: of Maildir the name of the
// file without flags. It is empty for all others.
func (msg *Message) StorageID() string {
	if n, ok := msg.b.store.(Namer); ok {
		return n.StorageID(msg.st, msg.i)
	}
	return ""
}

// RefCount implements [RefCounter].
func (s *mdboxStore) RefCount(ctx context.Context, st *index.State, i int) (int, error) {
	m, ok := mdboxMail(st, i)
	if !ok {
		return 0, ErrMissing
	}
	return s.storage.RefCount(ctx, m.MapUID)
}

// StorageID implements [Namer].
func (s *maildirStore) StorageID(st *index.State, i int) string {
	e, _ := s.box.Entry(st.UID(i))
	return e.Base
}

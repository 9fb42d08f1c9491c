package mailbox

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A Message is one message of a mailbox. Its methods belong to one goroutine.
// It keeps no file open.
type Message struct {
	b   *box
	uid uint32
}

// Message returns the message with the uid. ErrExpunged if it is gone. Nothing
// is read before a method needs it.
func (m *Mailbox) Message(uid uint32) (*Message, error) {
	if _, ok := m.Snapshot().Find(uid); !ok {
		return nil, ErrExpunged
	}
	return &Message{b: m.b, uid: uid}, nil
}

// UID returns the message's uid.
func (msg *Message) UID() uint32 { return msg.uid }

// A details is what the mail file says of a message besides its text.
type details struct {
	received time.Time
	saved    time.Time
	guid     string
	physical int64
	virtual  int64
	uidl     string
}

// Received returns the INTERNALDATE.
func (msg *Message) Received() (time.Time, error) {
	d, err := msg.details()
	if err != nil {
		return time.Time{}, err
	}
	return d.received, nil
}

// Saved returns when the message came into this mailbox (SAVEDATE).
func (msg *Message) Saved() (time.Time, error) {
	d, err := msg.details()
	if err != nil {
		return time.Time{}, err
	}
	return d.saved, nil
}

// GUID returns the message's GUID; copies share it.
func (msg *Message) GUID() (string, error) {
	d, err := msg.details()
	if err != nil {
		return "", err
	}
	return d.guid, nil
}

// PhysicalSize returns the size of what [Message.Open] reads.
func (msg *Message) PhysicalSize() (int64, error) {
	d, err := msg.details()
	if err != nil {
		return 0, err
	}
	return d.physical, nil
}

// VirtualSize returns the size with every line end counted as CRLF
// (RFC822.SIZE). Mostly the index knows it.
func (msg *Message) VirtualSize() (int64, error) {
	if s := msg.b.snap.Load(); s != nil {
		if i, ok := s.Find(msg.uid); ok {
			if size, ok := s.VirtualSize(i); ok {
				return size, nil
			}
		}
	}
	d, err := msg.details()
	if err != nil {
		return 0, err
	}
	return d.virtual, nil
}

// POP3UIDL returns the UIDL stored with the message, or "".
func (msg *Message) POP3UIDL() (string, error) {
	s := msg.b.snap.Load()
	if s == nil || binaryU32(s.st.ExtHeader(extPOP3UIDL.Name)) < msg.uid && s.st.ExtNumber(extPOP3UIDL.Name) >= 0 {
		return "", nil
	}
	d, err := msg.details()
	if err != nil {
		return "", err
	}
	return d.uidl, nil
}

// A Body is the stored text of a message, lines ending in LF usually. Where it
// lies in a file as it is, it also has the method
//
//	File() (f *os.File, offset int64)
//
// for sendfile(2).
type Body interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Open opens the stored text.
func (msg *Message) Open() (Body, error) {
	f, err := msg.open()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Structure returns the parsed header and MIME structure, from memory if it was
// computed before.
func (msg *Message) Structure(ctx context.Context) (*message.Structure, error) {
	if s := msg.b.pool.cache.structure(msg.b, msg.uid); s != nil {
		return s, nil
	}
	f, err := msg.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	s, err := message.Parse(io.NewSectionReader(f, 0, f.Size()), message.Limits{})
	if err != nil {
		return nil, wrap("read message "+strconv.Itoa(int(msg.uid))+" of "+msg.b.loc.Name, err)
	}
	msg.b.pool.cache.putStructure(msg.b, msg.uid, s)
	return s, nil
}

// details reads the metadata, once.
func (msg *Message) details() (*details, error) {
	if d := msg.b.pool.cache.details(msg.b, msg.uid); d != nil {
		return d, nil
	}
	d, err := msg.readDetails()
	if errors.Is(err, dbox.ErrCorrupt) {
		if err = msg.b.fixFile(msg.uid, err); err == nil {
			d, err = msg.readDetails()
		}
	}
	if err != nil {
		return nil, err
	}
	msg.b.pool.cache.putDetails(msg.b, msg.uid, d)
	return d, nil
}

func (msg *Message) readDetails() (*details, error) {
	f, err := msg.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return detailsOf(f)
}

// guid is GUID for a message that may be about to go: it repairs nothing.
func (msg *Message) guid() (string, error) {
	f, err := msg.b.openFile(msg.uid)
	if err != nil {
		return "", err
	}
	defer f.Close()
	d, err := detailsOf(f)
	if err != nil {
		return "", err
	}
	return d.guid, nil
}

func detailsOf(f *dbox.File) (*details, error) {
	meta, err := f.Metadata()
	if err != nil {
		return nil, err
	}
	d := &details{saved: f.ChangeTime(), guid: meta.Get(dbox.KeyGUID), uidl: meta.Get(dbox.KeyPOP3UIDL), physical: f.Size()}
	if v, ok := meta.Hex(dbox.KeyPhysicalSize); ok {
		d.physical = v
	}
	var ok bool
	if d.received, ok = meta.Received(); !ok {
		d.received = d.saved
	}
	if d.virtual, ok = meta.Hex(dbox.KeyVirtualSize); !ok {
		d.virtual, err = f.VirtualSize()
	}
	return d, err
}

// open opens the mail file. If it is missing or damaged, what can be done is
// done: the message is gone from the mailbox or its file repaired.
func (msg *Message) open() (*dbox.File, error) {
	b := msg.b
	f, err := b.openFile(msg.uid)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, dbox.ErrNotExist):
		if err := b.dropMissing(msg.uid); err != nil {
			return nil, wrap("open message in "+b.loc.Name, err)
		}
		return nil, ErrExpunged
	case errors.Is(err, dbox.ErrCorrupt):
		if err := b.fixFile(msg.uid, err); err != nil {
			return nil, wrap("repair message in "+b.loc.Name, err)
		}
		return b.openFile(msg.uid)
	}
	return nil, wrap("open message in "+b.loc.Name, err)
}

// openFile opens the file of a message in either storage.
func (b *box) openFile(uid uint32) (*dbox.File, error) {
	name := dbox.FileName(uid)
	f, err := dbox.Open(b.dir, name)
	if errors.Is(err, dbox.ErrNotExist) && b.alt != nil {
		return dbox.Open(b.alt, name)
	}
	return f, err
}

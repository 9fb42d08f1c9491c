package mailbox

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// A Message is one message of a mailbox. Its methods belong to one goroutine.
// It keeps no file open.
type Message struct {
	b   *box
	m   *Mailbox // of the session that asks; nil if nothing is to be cached
	uid uint32
	st  *index.State // in which it is
	i   int          // number i

	onlyCached bool // it must not be opened
}

// Message returns the message with the uid. ErrExpunged if it is gone. Nothing
// is read before a method needs it.
func (m *Mailbox) Message(uid uint32) (*Message, error) {
	s := m.Snapshot()
	i, ok := s.Find(uid)
	if !ok {
		return nil, ErrExpunged
	}
	return &Message{b: m.b, m: m, uid: uid, st: s.st, i: i}, nil
}

// UID returns the message's uid.
func (msg *Message) UID() uint32 { return msg.uid }

// Received returns the INTERNALDATE.
func (msg *Message) Received() (time.Time, error) {
	if sec, ok := msg.lookupU32(cache.ReceivedDate); ok {
		return time.Unix(int64(sec), 0), nil
	}
	d, err := msg.details()
	if err != nil {
		return time.Time{}, err
	}
	msg.addU32(cache.ReceivedDate, d.Received.Unix())
	return d.Received, nil
}

// Saved returns when the message came into this mailbox (SAVEDATE).
func (msg *Message) Saved() (time.Time, error) {
	inIndex := msg.b.loc.Format == "mdbox"
	if !inIndex {
		if sec, ok := msg.lookupU32(cache.SaveDate); ok {
			return time.Unix(int64(sec), 0), nil
		}
	}
	d, err := msg.details()
	if err != nil {
		return time.Time{}, err
	}
	if !inIndex {
		msg.addU32(cache.SaveDate, d.Saved.Unix())
	}
	return d.Saved, nil
}

// GUID returns the message's GUID; copies share it.
func (msg *Message) GUID() (guid string, err error) {
	if msg.b.loc.Format != "mdbox" && msg.lookup(cache.GUID, func(data []byte) bool {
		guid = string(data)
		return guid != ""
	}) {
		return guid, nil
	}
	d, err := msg.details()
	if err != nil {
		return "", err
	}
	return d.GUID, nil
}

// PhysicalSize returns the size of what [Message.Open] reads.
func (msg *Message) PhysicalSize() (int64, error) {
	if size, ok := msg.lookupU64(cache.PhysicalSize); ok {
		return size, nil
	}
	d, err := msg.details()
	if err != nil {
		return 0, err
	}
	msg.addValue(cache.PhysicalSize, binary.LittleEndian.AppendUint64(nil, uint64(d.Physical)))
	return d.Physical, nil
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
	if size, ok := msg.lookupU64(cache.VirtualSize); ok {
		return size, nil
	}
	d, err := msg.details()
	if err != nil {
		return 0, err
	}
	msg.addValue(cache.VirtualSize, binary.LittleEndian.AppendUint64(nil, uint64(d.Virtual)))
	return d.Virtual, nil
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
	return d.UIDL, nil
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
func (msg *Message) details() (*Details, error) {
	if d := msg.b.pool.cache.details(msg.b, msg.uid); d != nil {
		return d, nil
	}
	d, err := msg.readDetails()
	if errors.Is(err, ErrCorrupt) {
		if err = msg.b.mend(msg.uid, err); err == nil {
			d, err = msg.readDetails()
		}
	}
	if err != nil {
		return nil, err
	}
	msg.b.pool.cache.putDetails(msg.b, msg.uid, d)
	return d, nil
}

func (msg *Message) readDetails() (*Details, error) {
	f, err := msg.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Details()
}

// open opens the mail file. If it is missing or damaged, what can be done is
// done: the message is gone from the mailbox or its file repaired.
func (msg *Message) open() (File, error) {
	if msg.onlyCached {
		return nil, errNotCached
	}
	b := msg.b
	f, err := b.store.Open(context.Background(), msg.st, msg.i)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, ErrMissing), errors.Is(err, mdbox.ErrExpunged):
		if err := b.lookForMissing(msg.uid, err); err != nil {
			return nil, wrap("open message in "+b.loc.Name, err)
		}
		return msg.openAgain(ErrExpunged)
	case errors.Is(err, ErrCorrupt):
		if err := b.mend(msg.uid, err); err != nil {
			return nil, wrap("repair message in "+b.loc.Name, err)
		}
		return msg.openAgain(err)
	}
	return nil, wrap("open message in "+b.loc.Name, err)
}

// openAgain opens the message after something was done about why it could not be
// opened, if that makes it another file.
func (msg *Message) openAgain(why error) (File, error) {
	b := msg.b
	b.mu.Lock()
	st := b.ix.State()
	b.mu.Unlock()
	if st.Light() {
		st = msg.st
	}
	i, ok := st.Find(msg.uid)
	if !ok {
		return nil, ErrExpunged
	}
	f, err := b.store.Open(context.Background(), st, i)
	if err != nil {
		return nil, wrap("open message in "+b.loc.Name, errors.Join(why, err))
	}
	return f, nil
}

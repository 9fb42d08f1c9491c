package mdbox

import (
	"encoding/binary"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// Errors that callers tell apart.
var (
	// ErrExpunged means that the map has no such message any more.
	ErrExpunged = errors.New("message is not in the mdbox map")
	// ErrTooManyRefs means that no more copies of a message may share it.
	ErrTooManyRefs = errors.New("message has too many references in the mdbox map")
	// ErrNoAlt means that a message may be in the second storage, which is not there.
	ErrNoAlt = errors.New("the second storage (ALT) does not exist")
)

// The map's extensions.
var (
	extMap = index.ExtDef{Name: "map", HdrSize: mapHeaderSize, RecordSize: mapRecordSize, RecordAlign: 4}
	extRef = index.ExtDef{Name: "ref", RecordSize: refRecordSize, RecordAlign: 2}
)

// The extensions of a mailbox's index.
var (
	ExtHeader = index.ExtDef{Name: "mdbox-hdr", HdrSize: HeaderSize}
	ExtMail   = index.ExtDef{Name: "mdbox", RecordSize: MailRecordSize, RecordAlign: 4}
	ExtGUID   = index.ExtDef{Name: "guid", RecordSize: 16, RecordAlign: 1}
)

// Sizes of header and record data.
const (
	HeaderSize     = 24
	MailRecordSize = 8

	mapHeaderSize = 8
	mapRecordSize = 12
	refRecordSize = 2

	// maxRefs is where Dovecot stores a message again instead of referring to it
	// once more.
	maxRefs = 32768
)

// mapName is the first part of the map's file names.
const mapName = "dovecot.map.index"

const mapLogName = mapName + ".log"

// A Header is what mdbox-hdr of a mailbox's index contains.
type Header struct {
	MapValidity uint32 // uid validity of the map that the mailbox refers to
	GUID        [16]byte
	Flags       byte
}

// Append appends the header's bytes.
func (h *Header) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, h.MapValidity)
	b = append(b, h.GUID[:]...)
	return append(b, h.Flags, 0, 0, 0)
}

// DecodeHeader reads the header data of mdbox-hdr; ok is false if there is none
// with a mailbox GUID.
func DecodeHeader(b []byte) (h Header, ok bool) {
	if len(b) < 20 {
		return h, false
	}
	h.MapValidity = binary.LittleEndian.Uint32(b)
	copy(h.GUID[:], b[4:])
	if len(b) > 20 {
		h.Flags = b[20]
	}
	return h, h.GUID != [16]byte{}
}

// A Mail is what the index of a mailbox says of one message.
type Mail struct {
	MapUID uint32
	Saved  uint32 // Unix time
}

// Append appends the record's bytes.
func (m *Mail) Append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, m.MapUID), m.Saved)
}

// DecodeMail reads the record of extension mdbox; ok is false if there is none.
func DecodeMail(b []byte) (m Mail, ok bool) {
	if len(b) < MailRecordSize {
		return m, false
	}
	m = Mail{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
	return m, m.MapUID != 0
}

// A place is where a message lies.
type place struct{ file, offset, size uint32 }

func (p *place) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, p.file)
	b = binary.LittleEndian.AppendUint32(b, p.offset)
	return binary.LittleEndian.AppendUint32(b, p.size)
}

func (p *place) end() int64 { return int64(p.offset) + int64(p.size) }

// An entry is a message of the map.
type entry struct {
	uid  uint32
	at   place
	refs uint16
}

// A table reads the entries of one state of the map.
type table struct {
	st       *index.State
	ext, ref int
}

func tableOf(st *index.State) table {
	return table{st, st.ExtNumber(extMap.Name), st.ExtNumber(extRef.Name)}
}

// entry returns number i.
func (t *table) entry(i int) entry {
	e := entry{uid: t.st.UID(i)}
	if b := t.st.ExtRecord(i, t.ext); len(b) >= mapRecordSize {
		e.at = place{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:]), binary.LittleEndian.Uint32(b[8:])}
	}
	if b := t.st.ExtRecord(i, t.ref); len(b) >= refRecordSize {
		e.refs = binary.LittleEndian.Uint16(b)
	}
	return e
}

// find returns the entry with the map uid.
func (t *table) find(uid uint32) (e entry, ok bool) {
	i, ok := t.st.Find(uid)
	if !ok {
		return e, false
	}
	e = t.entry(i)
	return e, e.at.file != 0
}

// A mapHeader is the header data of extension map.
type mapHeader struct{ highest, rebuilds uint32 }

func mapHeaderOf(st *index.State) (h mapHeader) {
	if b := st.ExtHeader(extMap.Name); len(b) >= mapHeaderSize {
		h.highest, h.rebuilds = binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	}
	return h
}

func (h *mapHeader) encode() []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, h.highest), h.rebuilds)
}

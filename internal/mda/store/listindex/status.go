package listindex

import (
	"encoding/binary"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// A Status is what STATUS tells of a mailbox, and of which files it is right.
type Status struct {
	Messages, Unseen, Recent, UIDNext uint32
	HighestModSeq                     uint64
	// Size is the sum of the sizes of SizeCount messages with uids up to SizeUID.
	Size               uint64
	SizeUID, SizeCount uint32
	// Log is the state of dovecot.index.log, Files that of the files of the format.
	Log, Files Stamp
}

// A Stamp is two numbers that change when a file does.
type Stamp [2]uint32

// The extensions with what STATUS tells.
var (
	extMsgs    = index.ExtDef{Name: "msgs", RecordSize: 16, RecordAlign: 4}
	extModSeq  = index.ExtDef{Name: "hmodseq", RecordSize: 8, RecordAlign: 8}
	extVsize   = index.ExtDef{Name: "vsize", RecordSize: 16, RecordAlign: 8}
	extSync    = index.ExtDef{Name: "index sync", RecordSize: 8, RecordAlign: 4}
	extMaildir = index.ExtDef{Name: "maildir", RecordSize: 8, RecordAlign: 4}
	extMbox    = index.ExtDef{Name: "mbox", RecordSize: 8, RecordAlign: 4}
	extSubs    = index.ExtDef{Name: "subs", HdrSize: 4, RecordAlign: 4}
)

// filesExt is the extension for the files of a format, nil if nobody but the owner of
// the index changes those.
func filesExt(format string) *index.ExtDef {
	switch format {
	case "maildir":
		return &extMaildir
	case "mbox":
		return &extMbox
	}
	return nil
}

// Status returns what is known of a mailbox. ok is false for nothing.
func (t *Tree) Status(n *Node, format string) (s Status, ok bool) {
	i, ok := t.st.Find(n.UID)
	if !ok {
		return s, false
	}
	record := func(e *index.ExtDef) []byte {
		b := make([]byte, e.RecordSize)
		copy(b, t.st.ExtRecord(i, t.st.ExtNumber(e.Name)))
		return b
	}
	u32, u64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	stamp := func(e *index.ExtDef) Stamp { b := record(e); return Stamp{u32(b), u32(b[4:])} }
	b := record(&extMsgs)
	s.Messages, s.Unseen, s.Recent, s.UIDNext = u32(b), u32(b[4:]), u32(b[8:]), u32(b[12:])
	s.HighestModSeq = u64(record(&extModSeq))
	b = record(&extVsize)
	s.Size, s.SizeUID, s.SizeCount = u64(b), u32(b[8:]), u32(b[12:])
	s.Log = stamp(&extSync)
	if e := filesExt(format); e != nil {
		s.Files = stamp(e)
	}
	return s, s.UIDNext != 0
}

// appendStatus appends the records of a status, by extension.
func (s *Status) records(format string) []record {
	le := binary.LittleEndian
	msgs := le.AppendUint32(le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, s.Messages), s.Unseen), s.Recent), s.UIDNext)
	size := le.AppendUint32(le.AppendUint32(le.AppendUint64(nil, s.Size), s.SizeUID), s.SizeCount)
	list := []record{
		{&extMsgs, msgs},
		{&extModSeq, le.AppendUint64(nil, s.HighestModSeq)},
		{&extVsize, size},
		{&extSync, s.Log.bytes()},
	}
	if e := filesExt(format); e != nil {
		list = append(list, record{e, s.Files.bytes()})
	}
	return list
}

// A record is data of one extension.
type record struct {
	ext  *index.ExtDef
	data []byte
}

func (s Stamp) bytes() []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, s[0]), s[1])
}

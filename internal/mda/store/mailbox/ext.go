package mailbox

import (
	"encoding/binary"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// The index extensions of an sdbox mailbox. The virtual size of each message is
// kept in vsize, which Dovecot heeds where hdr-vsize exists; its sums are left
// to Dovecot, which sees by the counts how far they go.
var (
	extDboxHdr  = index.ExtDef{Name: "dbox-hdr", HdrSize: 24}
	extHdrVsize = index.ExtDef{Name: "hdr-vsize", HdrSize: 16, RecordAlign: 8}
	extVsize    = index.ExtDef{Name: "vsize", RecordSize: 4, RecordAlign: 4}
	extPOP3UIDL = index.ExtDef{Name: "hdr-pop3-uidl", HdrSize: 4}
)

// dboxHdrSize is the size of what dbox-hdr contains: rebuild count, mailbox
// GUID, flags.
const dboxHdrSize = 24

// Flags in dbox-hdr.
const dboxHasPOP3UIDL = 1

func encodeDboxHdr(rebuilds uint32, guid [16]byte, flags byte) []byte {
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, dboxHdrSize), rebuilds)
	b = append(b, guid[:]...)
	return append(b, flags, 0, 0, 0)
}

// decodeDboxHdr accepts the shorter form of old versions. ok is false if there
// is no mailbox GUID, which means that the index needs a rebuild.
func decodeDboxHdr(b []byte) (rebuilds uint32, guid [16]byte, flags byte, ok bool) {
	if len(b) < 20 {
		return 0, guid, 0, false
	}
	copy(guid[:], b[4:])
	if len(b) > 20 {
		flags = b[20]
	}
	return binary.LittleEndian.Uint32(b), guid, flags, guid != [16]byte{}
}

// vsizeOf returns the virtual size that the index knows of message i.
func vsizeOf(st *index.State, ext, i int) (size int64, ok bool) {
	d := st.ExtRecord(i, ext)
	if len(d) < 4 {
		return 0, false
	}
	v := binary.LittleEndian.Uint32(d)
	return int64(v) - 1, v != 0
}

// vsizeRecord is the reverse of vsizeOf; 0 if it does not fit.
func vsizeRecord(size int64) uint32 {
	if size < 0 || size >= 1<<32-1 {
		return 0
	}
	return uint32(size) + 1
}

func indexOptions(log *maillog.Logger, loc *Location, set *Settings) index.Options {
	return index.Options{
		Log: log, Name: loc.Name, LockMethod: index.LockMethod(set.LockMethod), LockTimeout: set.MaxLockTimeout,
		NoSync:     fsyncMode(set) == commit.Never,
		RewriteMin: int64(set.RewriteMin), RewriteMax: int64(set.RewriteMax),
		RotateMin: int64(set.RotateMin), RotateMax: int64(set.RotateMax), RotateMinAge: set.RotateMinAge, Log2MaxAge: set.Log2MaxAge,
	}
}

func fsyncMode(set *Settings) commit.Mode {
	// An unknown value cannot pass the configuration's check.
	mode, _ := commit.ParseMode(set.Fsync)
	return mode
}

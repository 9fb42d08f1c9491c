package index

import (
	"context"
	"time"
)

// ExtReset gives the extension introduced last, whose records are offsets into another
// file, the reset id of a new file. All its records become zero.
func (t *Tx) ExtReset(resetID uint32) {
	start := t.begin(recExtReset | typeExternal)
	t.u32(resetID)
	t.u32(0) // do not preserve
	t.end(start)
}

// ResetID returns the reset id of the extension with the number; 0 for none.
func (s *State) ResetID(ext int) uint32 {
	if ext < 0 || ext >= len(s.Exts) {
		return 0
	}
	return s.Exts[ext].ResetID
}

// LockFile takes a write lock on the whole of an open file, as it is taken on the log.
// ErrLocked if another has it for too long.
func LockFile(ctx context.Context, fd int, method LockMethod, timeout time.Duration) error {
	return lockFile(ctx, fd, method, timeout)
}

// UnlockFile gives the lock of [LockFile] back.
func UnlockFile(fd int, method LockMethod) { unlockFile(fd, method) }

// FirstNewUID returns the uid of the first message of the last week or so in which
// messages came; what is older is not cached without being asked for. 0 if all are
// new.
func (h *Header) FirstNewUID() uint32 { return h.u32(offDayFirstUID + 4*(dayFirstUIDCount-1)) }

// DayStamp is the begin of the day, in local time, on which the last message came.
func (h *Header) DayStamp() uint32 { return h.u32(offDayStamp) }

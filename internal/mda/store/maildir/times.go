package maildir

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"
)

// A DirTime is when a directory was last changed and listed.
type DirTime struct{ Check, Sec, Nsec uint32 }

// Times are those of the directories and the uidlist that the index agrees with.
type Times struct {
	New, Cur          DirTime
	ListSec, ListNsec uint32 // dovecot-uidlist
	ListSize          uint32
}

// TimesSize is the size of Times in the index.
const TimesSize = 36

// racy is how many seconds after a change another one may have left the same
// modification time.
const racy = 1

// tick is how long a modification time of today's file systems stays the same at most: they take it from
// the kernel's last clock tick, of which there are at least 100 a second.
const tick = 20 * time.Millisecond

// Append appends the times as the index has them.
func (t *Times) Append(b []byte) []byte {
	for _, v := range [...]uint32{
		t.New.Check, t.New.Sec, t.New.Nsec, t.Cur.Check, t.Cur.Sec, t.Cur.Nsec, t.ListSec, t.ListNsec, t.ListSize,
	} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

// DecodeTimes reads what [Times.Append] wrote; zero times if it is something else.
func DecodeTimes(b []byte) (t Times) {
	if len(b) < TimesSize {
		return t
	}
	for i, p := range []*uint32{
		&t.New.Check, &t.New.Sec, &t.New.Nsec, &t.Cur.Check, &t.Cur.Sec, &t.Cur.Nsec, &t.ListSec, &t.ListNsec, &t.ListSize,
	} {
		*p = binary.LittleEndian.Uint32(b[4*i:])
	}
	return t
}

// changed tells whether the directory was changed since, as far as its time tells.
func (d *DirTime) changed(st *unix.Stat_t) bool {
	return d.Sec != uint32(st.Mtim.Sec) || d.Nsec != uint32(st.Mtim.Nsec)
}

// unsure tells whether it was listed so soon after a change that another one
// may have been missed, and that time is over.
func (d *DirTime) unsure(now time.Time) bool {
	return d.Check <= d.Sec+racy && int64(d.Check) < now.Unix()-racy
}

// within tells whether the directory was changed in the time before now.
func (d *DirTime) within(limit time.Duration, now time.Time) bool {
	return now.Sub(time.Unix(int64(d.Sec), int64(d.Nsec))) <= limit
}

// set notes the time of a directory that was listed then.
func (d *DirTime) set(st *unix.Stat_t, now time.Time) {
	d.Check, d.Sec, d.Nsec = uint32(now.Unix()), uint32(st.Mtim.Sec), uint32(st.Mtim.Nsec)
}

func (t *Times) setList(st *unix.Stat_t) {
	t.ListSec, t.ListNsec, t.ListSize = uint32(st.Mtim.Sec), uint32(st.Mtim.Nsec), uint32(st.Size)
}

func (t *Times) sameList(st *unix.Stat_t) bool {
	return t.ListSec == uint32(st.Mtim.Sec) && t.ListNsec == uint32(st.Mtim.Nsec) && t.ListSize == uint32(st.Size)
}

package maildir

import (
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// headSize is how much of a uidlist is read at its begin and at its end to append to it.
const headSize = 4 << 10

// refreshHead reads of the uidlist what has to be known to append to it, however long
// it is: the header, and that the last line is whole, which has the highest uid. It reports whether
// that was to be found. b.mu is held.
func (b *Box) refreshHead() bool {
	var st unix.Stat_t
	if b.opt.Control.Stat(uidlistName, &st) != nil {
		return false
	}
	if idOf(&st) == b.listFile {
		return true
	}
	fd, st, err := b.opt.Control.OpenRegular(uidlistName, unix.O_RDONLY)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	begin, end := make([]byte, min(st.Size, headSize)), make([]byte, min(st.Size, headSize))
	if len(begin) == 0 {
		return false
	}
	if _, err := index.ReadAt(fd, begin, 0); err != nil {
		return false
	}
	if _, err := index.ReadAt(fd, end, st.Size-int64(len(end))); err != nil {
		return false
	}
	list, ok := parseHead(string(begin), string(end))
	if !ok || list.validity == b.list.validity && list.next < b.list.next {
		return false
	}
	b.list, b.listFile = list, idOf(&st)
	return true
}

// parseHead reads a uidlist of which only begin and end are known.
func parseHead(begin, end string) (l uidlist, ok bool) {
	header, _, whole := strings.Cut(begin, "\n")
	if version, err := l.parseHeader(header); !whole || err != nil || version != 3 || l.guid == [16]byte{} {
		return l, false
	}
	lines, ok := strings.CutSuffix(end, "\n")
	if !ok {
		return l, false
	}
	at := strings.LastIndexByte(lines, '\n')
	if at < 0 {
		return l, lines == header // there is no message
	}
	ok = l.parseLine(lines[at+1:], 3) == ""
	l.entries = nil
	return l, ok
}

// whole reads the messages of the uidlist, if only the head is known. b.mu is held.
func (b *Box) whole() error {
	if !b.headOnly {
		return nil
	}
	b.headOnly, b.listFile = false, fileID{}
	return b.refreshList()
}

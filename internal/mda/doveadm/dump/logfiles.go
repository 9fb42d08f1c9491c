package dump

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

const maxFile = 1 << 30 // of an index or log

// readFile reads a file of bounded size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s is longer than %d bytes", path, maxFile)
	}
	return b, err
}

// A position is one in the sequence of logs.
type position struct {
	seq uint32
	off int
}

func (p position) before(q position) bool { return p.seq < q.seq || p.seq == q.seq && p.off < q.off }

// A logFile is a dovecot.index.log that was read.
type logFile struct {
	b       []byte // the complete records and groups of it
	indexID uint32
	seq     uint32
	prev    position // the end of the log before; seq is 0 if the state begins here
	modseq  uint64   // at the begin
	start   int      // of the records
	minor   byte
}

func openLogFile(path string) (*logFile, error) {
	b, err := readFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < logOldHeaderSize || b[0] != 1 || le32(b[4:]) == 0 || le32(b[8:]) == 0 {
		return nil, fmt.Errorf("%s has no valid header", path)
	}
	l := &logFile{
		minor: b[1], start: int(le16(b[2:])), indexID: le32(b[4:]), seq: le32(b[8:]),
		prev: position{le32(b[12:]), int(le32(b[16:]))},
	}
	if l.start < logOldHeaderSize || l.start > len(b) {
		return nil, fmt.Errorf("%s has a header of %d bytes", path, l.start)
	}
	if l.start >= 32 {
		l.modseq = le64(b[24:])
	}
	l.b = b[:l.start]
	for at := l.start; ; {
		r, ok := l.recordAt(b, at)
		if !ok || r.kind() == recBoundary && len(r.payload) >= 4 && int64(at)+int64(le32(r.payload)) > int64(len(b)) {
			return l, nil
		}
		at += r.size
		l.b = b[:at]
	}
}

// recordAt returns the record at an offset of b, false if none is complete there.
func (l *logFile) recordAt(b []byte, at int) (r record, ok bool) {
	if len(b)-at <= recordHeader {
		return r, false
	}
	size := encodedSize(b[at:])
	if size <= recordHeader || size > len(b)-at {
		return r, false
	}
	return record{typ: le32(b[at+4:]), size: size, payload: b[at+recordHeader : at+size]}, true
}

func (l *logFile) end() int { return len(l.b) }

// modSeqAt returns the highest modseq at an offset. known is a place where it is known,
// of this or another log.
func (l *logFile) modSeqAt(off int, known position, modseq uint64) uint64 {
	at := l.start
	if known.seq == l.seq && known.off >= l.start && known.off <= off {
		at = known.off
	} else {
		modseq = l.modseq
	}
	for at < off {
		r, ok := l.recordAt(l.b, at)
		if !ok {
			break
		}
		modseq = r.modSeqAfter(modseq, l.minor)
		at += r.size
	}
	return modseq
}

// tail returns up to where all changes have been carried out, as far as this log
// tells: some records say so, and those behind them need not be.
func (l *logFile) tail() int {
	tail, last := 0, 0
	for off := l.start; ; {
		r, ok := l.recordAt(l.b, off)
		if !ok {
			return tail
		}
		end := off + r.size
		if r.external() {
			if v, ok := tailUpdate(&r); ok && v >= last && v <= end {
				last, tail = v, max(tail, v)
			} else if !ok && tail == off {
				tail = end
			}
		}
		off = end
	}
}

// tailUpdate returns the new tail if the record is about that.
func tailUpdate(r *record) (tail int, ok bool) {
	if p := r.payload; r.kind() == recHeaderUpdate && len(p) >= 4 {
		off, size := int(le16(p)), int(le16(p[2:]))
		if size <= len(p)-4 && off <= hdrLogTail && off+size >= hdrLogTail+4 {
			return int(le32(p[4+hdrLogTail-off:])), true
		}
	}
	return 0, false
}

// logs are the logs of one index, oldest first.
type logs struct {
	path  string // of the newest
	files []*logFile
}

func openLogs(path string) (*logs, error) {
	l, err := openLogFile(path)
	if err != nil {
		return nil, err
	}
	return &logs{path: path, files: []*logFile{l}}, nil
}

func (ls *logs) head() *logFile { return ls.files[len(ls.files)-1] }

// find returns the log with the sequence; the second last is opened when it is
// needed.
func (ls *logs) find(seq uint32) (*logFile, error) {
	for _, l := range ls.files {
		if l.seq == seq {
			return l, nil
		}
		if l.seq > seq && l.prev.seq == 0 {
			return nil, fmt.Errorf("log %d begins anew", l.seq)
		}
	}
	if len(ls.files) == 1 && seq < ls.head().seq {
		l, err := openLogFile(ls.path + ".2")
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case l.seq < ls.head().seq:
			ls.files = []*logFile{l, ls.head()}
			if l.seq == seq {
				return l, nil
			}
		}
	}
	return nil, fmt.Errorf("log %d is missing", seq)
}

// A logView reads the logs from one position to another.
type logView struct {
	logs   []*logFile
	end    position
	at     position // behind the record read last
	modseq uint64   // there
	anew   bool     // the state begins here, whatever was before
}

// view returns a view from a position to end; end.seq 0 stands for all there is.
// known is where the modseq is known.
func (ls *logs) view(from, end position, known position, modseq uint64) (*logView, error) {
	for _, l := range ls.files {
		if l.prev == from {
			from = position{l.seq, l.start}
		}
	}
	if end.seq == 0 {
		end = position{ls.head().seq, ls.head().end()}
	}
	v := &logView{end: end}
	for seq := from.seq; seq <= end.seq; seq++ {
		l, err := ls.find(seq)
		if err != nil {
			if l = ls.beginningAfter(seq, end.seq); l == nil {
				return nil, err
			}
			seq, v.logs = l.seq, nil
		}
		v.logs = append(v.logs, l)
	}
	if len(v.logs) == 0 {
		return nil, fmt.Errorf("log %d is missing", from.seq)
	}
	v.start(from)
	l := v.logs[0]
	if v.at.off < l.start || v.at.off > l.end() {
		return nil, fmt.Errorf("offset %d is not in log %d", v.at.off, l.seq)
	}
	v.modseq = l.modSeqAt(v.at.off, known, modseq)
	return v, nil
}

// beginningAfter returns a log that does not depend on those before.
func (ls *logs) beginningAfter(seq, last uint32) *logFile {
	for _, l := range ls.files {
		if l.seq >= seq && l.seq <= last && l.prev.seq == 0 {
			return l
		}
	}
	return nil
}

// start sets the view to its first record.
func (v *logView) start(from position) {
	l := v.logs[0]
	v.at = position{l.seq, l.start}
	if l.seq == from.seq && from.off != 0 {
		v.at.off = from.off
	}
	for i := len(v.logs) - 1; i >= 0; i-- {
		if l := v.logs[i]; l.prev.seq == 0 && (i > 0 || v.at.off == l.start) {
			v.logs, v.at, v.anew = v.logs[i:], position{l.seq, l.start}, true
			return
		}
	}
}

// next returns the next record.
func (v *logView) next() (r record, ok bool) {
	for {
		l := v.logs[0]
		if v.at.before(v.end) {
			if r, ok = l.recordAt(l.b, v.at.off); ok {
				v.at.off += r.size
				v.modseq = r.modSeqAfter(v.modseq, l.minor)
				return r, true
			}
		}
		if len(v.logs) == 1 {
			return r, false
		}
		v.logs = v.logs[1:]
		l = v.logs[0]
		v.at, v.modseq = position{l.seq, l.start}, max(v.modseq, l.modseq)
	}
}

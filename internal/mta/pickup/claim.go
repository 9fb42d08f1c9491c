package pickup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// claimMark is at the end of the name of a file that was claimed. Queue IDs may have it
// there, so pickup(8) of Postfix takes such a file as any other; no program makes an ID
// that does.
const claimMark = "_"

// step is called before and after each thing that must not be done by halves; tests
// stop there.
var step = func() {}

// claim renames a file to the queue ID of the message that it becomes, and has it
// removed when the message is durable, before that can be delivered. Should the process
// die between the two, the next one sees by the name that the message is in the queue:
// see [Claimed]. If it cannot be renamed, it stays what it is.
func (p *Pickup) claim(s *submission, env *queue.Envelope, id string) {
	step()
	path := filepath.Join(p.dir, id+claimMark)
	if unix.Renameat2(unix.AT_FDCWD, s.path, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE) == nil {
		s.path = path
	}
	step()
	env.Durable = func() { p.remove(s) }
}

// Claimed says of a file in the maildrop whether it was brought into the queue
// already, by a process that died before it could remove the file: its name is the
// queue ID of a message that arrived when the file did, to the microsecond.
func Claimed(store *queue.Store, path string) (bool, error) {
	id, ok := strings.CutSuffix(filepath.Base(path), claimMark)
	if !ok || !queue.ValidID(id) {
		return false, nil
	}
	info, ok := store.Lookup(id)
	if !ok {
		return false, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return false, err
	}
	m, err := queuefile.Parse(f, st.Size())
	if errors.Is(err, queuefile.ErrCorrupt) {
		return false, nil // it would not have been claimed
	}
	if err != nil {
		return false, err
	}
	return info.Arrival.UnixMicro() == arrival(m, st.ModTime()).UnixMicro(), nil
}

// arrival is when a submission arrived: what the file says, or when it was written.
func arrival(m *queuefile.Message, modified time.Time) time.Time {
	if m.Arrival.IsZero() {
		return modified
	}
	return m.Arrival
}

package doveadm

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// recoverForeign recovers the journal below top, of another user of the system than the one this process has become:
// after a power failure, what that user's mailboxes were acknowledged to have may be there alone. It is for processes
// that have kept root as their saved uid.
func (r *mailRun) recoverForeign(top string, log *maillog.Logger) error {
	uid, gid, err := journal.Owner(top)
	if err != nil {
		return err
	}
	owner := &store.UserInfo{UID: uid, GID: gid}
	if _, err := r.permit(owner); err != nil {
		return err
	}
	// The thread alone becomes the owner, unlike with the functions of package syscall, and journal.Recover stays on it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	uid, gid = os.Geteuid(), os.Getegid()
	defer func() {
		if err := becomeHere(uid, gid); err != nil {
			panic("doveadm: cannot become the user again: " + err.Error())
		}
	}()
	if err := becomeHere(owner.UID, owner.GID); err != nil {
		return err
	}
	return journal.Recover(top, log)
}

// becomeHere sets the effective user and group of the present thread.
func becomeHere(uid, gid int) error {
	const keep = ^uintptr(0)
	for _, call := range []struct {
		name   string
		number uintptr
		id     int
	}{
		{"seteuid(0)", unix.SYS_SETRESUID, 0},
		{"setegid", unix.SYS_SETRESGID, gid},
		{"seteuid", unix.SYS_SETRESUID, uid},
	} {
		if _, _, errno := unix.RawSyscall(call.number, keep, uintptr(call.id), keep); errno != 0 {
			return fmt.Errorf("%s failed: %w", call.name, errno)
		}
	}
	return nil
}

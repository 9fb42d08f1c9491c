package mailbox

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
)

// The conditions that callers tell apart. They are wrapped with what failed and
// where; use errors.Is.
var (
	ErrNotExist = errors.New("mailbox does not exist")
	ErrExists   = errors.New("mailbox already exists")
	ErrExpunged = errors.New("message was expunged")
	ErrReadOnly = errors.New("mailbox is read-only")
	ErrNoSpace  = errors.New("not enough disk space")
	ErrDeleted  = errors.New("mailbox was deleted")
	ErrLocked   = errors.New("timeout while waiting for lock")
	ErrNotEmpty = errors.New("mailbox has messages")

	// errReplaced has Open start anew: the directory is not the one that was
	// opened before.
	errReplaced = errors.New("mailbox was replaced")
	errClosed   = errors.New("save was committed or aborted before")

	// errUnknownFile says that a mail file has the uid that the next message would get: the index
	// lost its end, or a writer was killed before it wrote there.
	errUnknownFile = errors.New("mail file is missing in the index")
)

// isGone reports whether another has deleted or renamed the mailbox.
func isGone(err error) bool {
	return errors.Is(err, ErrDeleted) || errors.Is(err, index.ErrDeleted) || errors.Is(err, os.ErrNotExist)
}

// wrap adds what was done, and one of the conditions if err is one.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	for _, c := range conditions {
		if errors.Is(err, c.cause) && !errors.Is(err, c.is) {
			return fmt.Errorf("%s: %w (%w)", what, c.is, err)
		}
	}
	return fmt.Errorf("%s: %w", what, err)
}

var conditions = []struct{ cause, is error }{
	{index.ErrNoSpace, ErrNoSpace},
	{unix.ENOSPC, ErrNoSpace},
	{unix.EDQUOT, ErrNoSpace},
	{index.ErrNotExist, ErrNotExist},
	{os.ErrNotExist, ErrNotExist},
	{index.ErrExists, ErrExists},
	{index.ErrLocked, ErrLocked},
	{index.ErrDeleted, ErrDeleted},
	{mdbox.ErrExpunged, ErrExpunged},
	{unix.EROFS, ErrReadOnly},
	{unix.EACCES, ErrReadOnly},
}

// sysError says what failed on which file.
func sysError(op, path string, err error) error { return fmt.Errorf("%s(%s): %w", op, path, err) }

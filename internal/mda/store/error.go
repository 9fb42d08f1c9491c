package store

import (
	"context"
	"errors"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// An Error is a failure that the client is told about.
type Error struct {
	Code string // RFC 5530 response code such as NONEXISTENT, or ""
	Text string // Dovecot's text
	Err  error  // what happened inside, for the log; may be nil
}

// Error returns the text for the client.
func (e *Error) Error() string { return e.Text }

// Unwrap returns the inner error.
func (e *Error) Unwrap() error { return e.Err }

// Response codes of RFC 5530 and RFC 3501 used by this package.
const (
	CodeNonExistent   = "NONEXISTENT"
	CodeAlreadyExists = "ALREADYEXISTS"
	CodeCannot        = "CANNOT"
	CodeTryCreate     = "TRYCREATE"
	CodeNoPerm        = "NOPERM"
	CodeServerBug     = "SERVERBUG"
	CodeInUse         = "INUSE"
	CodeOverQuota     = "OVERQUOTA"
	CodeLimit         = "LIMIT"
)

// The errors that need no detail.
var (
	errExists         = &Error{Code: CodeAlreadyExists, Text: "Mailbox already exists"}
	errTargetExists   = &Error{Code: CodeAlreadyExists, Text: "Target mailbox already exists"}
	errRenameSelf     = &Error{Code: CodeAlreadyExists, Text: "Can't rename mailbox to itself"}
	errRenameChild    = &Error{Text: "Can't rename mailbox under its own child"}
	errRenameStorage  = &Error{Code: CodeCannot, Text: "Can't rename mailboxes across specified storages."}
	errRenamePublic   = &Error{Code: CodeCannot, Text: "Renaming not supported across non-private namespaces."}
	errRenameExpunged = &Error{Code: CodeCannot, Text: "Can't rename mailboxes to/from expunge namespace."}
	errHasChildren    = &Error{Text: "Mailbox has children, delete them first"}
	errDeleteInbox    = &Error{Text: "INBOX can't be deleted"}
	errDeleteRoot     = &Error{Code: CodeCannot, Text: "Storage root can't be deleted"}
	errTooLong        = &Error{Code: CodeCannot, Text: "Mailbox name too long"}
)

// missing is the error of commands that act on the name (DELETE, RENAME).
func missing(name string) *Error {
	return &Error{Code: CodeNonExistent, Text: "Mailbox doesn't exist: " + name, Err: mailbox.ErrNotExist}
}

// missingMailbox is the error of commands that open the mailbox; Dovecot
// answers those without a code. APPEND and COPY make it TRYCREATE.
func missingMailbox(name string) *Error {
	return &Error{Text: "Mailbox doesn't exist: " + name, Err: mailbox.ErrNotExist}
}

func invalidName(why string) *Error {
	return &Error{Code: CodeCannot, Text: "Invalid mailbox name: " + why}
}

// internal hides what went wrong inside from the client. The time lets an
// administrator find the line in the log.
func internal(err error) error {
	if err == nil {
		return nil
	}
	if known := (*Error)(nil); errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	text := "Internal error occurred. Refer to server log for more information."
	if errors.Is(err, mailbox.ErrNoSpace) {
		return &Error{Code: CodeOverQuota, Text: "Not enough disk space", Err: err}
	}
	return &Error{Code: CodeServerBug, Text: text + " [" + time.Now().Format(time.DateTime) + "]", Err: err}
}

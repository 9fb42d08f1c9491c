package asuser

import (
	"errors"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/table"
)

// errno is the system's code in err, or EIO.
func errno(err error) syscall.Errno {
	var code syscall.Errno
	if errors.As(err, &code) {
		return code
	}
	return syscall.EIO
}

// reason is the text of an error in the words of strerror(3).
func reason(err error) string { return table.Reason(errno(err)) }

// mailboxDSN is the code for an error of a mailbox (RFC 3463), as Postfix's
// mbox_dsn(3) has them.
func mailboxDSN(err error, other string) string {
	switch errno(err) {
	case syscall.EAGAIN, syscall.ESTALE:
		return "4.2.0"
	case syscall.ENOSPC:
		return "4.3.0"
	case syscall.EDQUOT, syscall.EFBIG:
		return "5.2.2"
	}
	return other
}

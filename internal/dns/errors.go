package dns

import (
	"errors"
	"fmt"
	"time"
)

// Why a lookup has no answer; test for them with errors.Is. The texts are
// those of Postfix. Every error but the first three is temporary: the name may
// well exist.
var (
	ErrNXDomain  = errors.New("Host not found")
	ErrNoData    = errors.New("Host found but no data record of requested type")
	ErrLoop      = errors.New("Name server loop") // of CNAME records
	ErrTryAgain  = errors.New("Host not found, try again")
	ErrMalformed = errors.New("Malformed or unexpected name server reply")
)

// An Error says which lookup failed.
type Error struct {
	Name string
	Type string // "MX", "A", ...
	Err  error  // one of those above
	More error  // what happened underneath, for debugging; may be nil

	TTL time.Duration // how long it holds that there is no such name or record
}

func (e *Error) Error() string {
	return fmt.Sprintf("Name service error for name=%s type=%s: %v", e.Name, e.Type, e.Err)
}

func (e *Error) Unwrap() []error {
	if e.More == nil {
		return []error{e.Err}
	}
	return []error{e.Err, e.More}
}

// Temporary reports whether err, of a lookup, may go away by itself.
func Temporary(err error) bool {
	return err != nil && !errors.Is(err, ErrNXDomain) && !errors.Is(err, ErrNoData) && !errors.Is(err, ErrLoop)
}

package master

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// maxCrash bounds what is read of the trace that a master left behind.
const maxCrash = 64 << 10

// A CrashFile takes the trace of a master that dies of a defect. Nobody reads
// its standard error, so the next master logs it, like Dovecot's
// master-fatal.lastlog.
type CrashFile string

// Open logs and removes what the last master left, and has the trace of this
// one go there.
func (c CrashFile) Open(log *maillog.Logger) error {
	if err := c.report(log); err != nil {
		return err
	}
	f, err := os.OpenFile(string(c), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := debug.SetCrashOutput(f, debug.CrashOptions{}); err != nil {
		return fmt.Errorf("%s: %w", string(c), err)
	}
	return nil
}

// Close is for a master that ends in order.
func (c CrashFile) Close() {
	debug.SetCrashOutput(nil, debug.CrashOptions{}) //nolint:errcheck // nil cannot fail
	os.Remove(string(c))
}

func (c CrashFile) report(log *maillog.Logger) error {
	f, err := os.Open(string(c))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err // killed, without a word
	}
	log.Errorf("Last died with error (%s):", string(c))
	logTrace(io.LimitReader(f, maxCrash), log)
	return nil
}

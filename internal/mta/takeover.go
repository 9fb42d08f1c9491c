package mta

import (
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/takeover"
)

// errStopped says that the process was told to stop before it served.
var errStopped = errors.New("stopped while starting")

// takeOver takes the mail over that Postfix left in the queue directory. It comes
// before anything is delivered: see package takeover.
func (m *process) takeOver() error {
	main, err := m.loadMain()
	if err != nil {
		return err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return err
	}
	_, err = takeover.Run(m.ctx, takeover.Config{
		Dir: core.QueueDirectory, Store: m.store, Log: m.log(tag(core, "qmgr")), Owner: os.Geteuid(),
		Progress: m.starting(),
	})
	if m.ctx.Err() != nil && errors.Is(err, m.ctx.Err()) {
		return errStopped // the next start goes on
	}
	return err
}

// startingInterval is how often the master is told that the takeover gets on: it waits
// as long as there are files, and a takeover that hangs is given up.
const startingInterval = 5 * time.Second

// starting returns what tells the master, now and then.
func (m *process) starting() func() {
	began := time.Now()
	var told atomic.Int64 // nanoseconds since began
	return func() {
		now, last := int64(time.Since(began)), told.Load()
		if now-last >= int64(startingInterval) && told.CompareAndSwap(last, now) {
			m.p.Starting() //nolint:errcheck // a master that is gone is noticed elsewhere
		}
	}
}

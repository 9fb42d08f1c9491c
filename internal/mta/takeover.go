package mta

import (
	"os"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/mta/takeover"
)

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
	})
	return err
}

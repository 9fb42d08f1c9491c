package bounce

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// hasVERP says whether each failure of m is told to an address of its own.
func (b *Bouncer) hasVERP(m *queue.Message) bool {
	return m.VERP != "" && !b.set.NoVERP && queue.VERPProblem(m.VERP, b.set.VERPFilter) == ""
}

// verpFailures tells of each failure by itself, to the address that names the
// recipient.
func (b *Bouncer) verpFailures(ctx context.Context, m *queue.Message, recipients []int) error {
	for _, i := range recipients {
		if err := b.tell(ctx, m, []int{i}, &b.failure, m.VERPSender(&m.Recipients[i])); err != nil {
			return err
		}
	}
	return nil
}

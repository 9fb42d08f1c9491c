package bounce

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// FailureTo is Failure for members of a list: its owner is told, not the sender.
func (b *Bouncer) FailureTo(ctx context.Context, m *queue.Message, recipients []int, owner string) error {
	k := b.failure
	k.alone = true
	return b.tell(ctx, m, recipients, &k, owner)
}

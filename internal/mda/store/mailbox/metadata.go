package mailbox

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// LogAttribute writes down that attributes of the mailbox have changed, for
// replication. HIGHESTMODSEQ rises with that.
func (m *Mailbox) LogAttribute(ctx context.Context, changes ...index.Attribute) error {
	b := m.b
	err := b.lock(ctx, func() error {
		b.tx.Attributes(changes)
		return b.commit()
	})
	return wrap("log attributes of "+b.loc.Name, err)
}

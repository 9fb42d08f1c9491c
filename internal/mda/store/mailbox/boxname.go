package mailbox

import (
	"context"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// extBoxName has the name of the mailbox, for a list of names that was lost.
const extBoxName = "box-name"

// SetName keeps the name of the mailbox in its index: its parts as on disk, with zero
// bytes between them.
func (m *Mailbox) SetName(ctx context.Context, name string) error {
	b := m.b
	err := b.lock(ctx, func() error {
		def := index.ExtDef{Name: extBoxName, HdrSize: uint32(len(name))}
		data := []byte(name)
		if old := b.ix.State().ExtHeader(extBoxName); len(old) > len(data) { // headers do not shrink
			data = append(data, make([]byte, len(old)-len(data))...)
		}
		b.tx.Intro(&def)
		b.tx.ExtHeader(0, data)
		return b.commit()
	})
	return wrap("name mailbox "+b.loc.Name, err)
}

package mailbox

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
)

// extRenamed has, as seconds since 1970, when the mailbox was renamed last.
var extRenamed = index.ExtDef{Name: "last-rename-stamp", HdrSize: 4, RecordAlign: 4}

// Renamed returns when the mailbox was renamed last, the zero time if it never was.
func (m *Mailbox) Renamed() time.Time {
	sec := binaryU32(m.Snapshot().st.ExtHeader(extRenamed.Name))
	if sec == 0 {
		return time.Time{}
	}
	return time.Unix(int64(sec), 0)
}

// SetRenamed notes when the mailbox was renamed.
func (m *Mailbox) SetRenamed(ctx context.Context, at time.Time) error {
	b := m.b
	err := b.locked(ctx, func() error {
		b.tx.Intro(&extRenamed)
		b.tx.ExtHeader(0, binary.LittleEndian.AppendUint32(nil, uint32(at.Unix())))
		return b.commit()
	})
	return wrap("note the renaming of "+b.loc.Name, err)
}

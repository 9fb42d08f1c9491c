package mailbox

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/compress"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
)

// ErrCompressed is about a message to be saved that looks compressed, while the zlib plugin is
// loaded: it would not be the same when it is read.
var ErrCompressed = compress.ErrRefused

// A packing is how the texts of a mailbox are stored other than as they are: compressed,
// attachments elsewhere.
type packing struct {
	view        dbox.View // how they are read
	attachments *attachment.Store
	method      *compress.Method // new ones are compressed with it; nil for not at all
	level       int
}

func newPacking(f *Files) (p packing, err error) {
	set := f.Settings
	p.view = dbox.View{Compressed: set.zlib(), Temp: set.TempDir}
	p.method, p.level, _ = set.Compression() // what is wrong with it was logged at login
	if set.AttachmentDir == "" || set.AttachmentFS == "" {
		return p, nil
	}
	p.attachments, err = attachment.New(attachment.Options{
		Dir: set.AttachmentDir, FS: set.AttachmentFS, Hash: set.AttachmentHash, MinSize: int64(set.AttachmentMinSize),
		Sync: f.Fsync.Saves(),
	})
	p.view.Attachments = p.attachments
	return p, err
}

func (p *packing) close() {
	if p.attachments != nil {
		p.attachments.Close()
	}
}

// prepare has a new message stored so.
func (p *packing) prepare(w *dbox.Writer) {
	if p.method != nil {
		w.Compress(p.method, p.level)
	} else if p.view.Compressed {
		w.RefuseCompressed()
	}
	if p.attachments != nil {
		w.Extract(p.attachments)
	}
}

// zlib tells whether the plugin is loaded.
func (set *Settings) zlib() bool {
	return set.Plugins != "" && slices.Contains(strings.Fields(set.Plugins), "zlib")
}

// Compression returns how new messages are compressed: m is nil for not at all. The error says what
// is wrong with the settings, in Dovecot's words; what is returned is what is done then.
func (set *Settings) Compression() (m *compress.Method, level int, err error) {
	if set.ZlibSave == "" || !set.zlib() {
		return nil, 0, nil
	}
	if m, err = compress.Lookup(set.ZlibSave); err != nil {
		return nil, 0, err
	}
	level = m.DefaultLevel
	if set.ZlibLevel == "" {
		return m, level, nil
	}
	if n, err := strconv.Atoi(set.ZlibLevel); err == nil && n >= m.MinLevel && n <= m.MaxLevel {
		return m, n, nil
	}
	return m, level, fmt.Errorf("zlib_save_level: Level must be between %d..%d", m.MinLevel, m.MaxLevel)
}

// A plainFile is an open message whose text lies in its file as it is.
type plainFile struct {
	*dbox.File
	known
}

// A packedFile is an open message whose text had to be restored.
type packedFile struct {
	dbox.Text
	file *dbox.File
	known
}

// What is known of an open message besides what its file says.
type known struct {
	saved time.Time
	guid  [16]byte // zero if the file's counts
}

// openText restores the text of a message. It closes f when it fails.
func openText(f *dbox.File, v *dbox.View, saved time.Time, guid [16]byte) (File, error) {
	t, err := f.Text(v)
	if err != nil {
		return nil, err
	}
	if t == dbox.Text(f) {
		return plainFile{f, known{saved, guid}}, nil
	}
	return &packedFile{t, f, known{saved, guid}}, nil
}

// Details reads the metadata.
func (f plainFile) Details() (*Details, error) { return f.details(f.File, f.File) }

// Details reads the metadata.
func (f *packedFile) Details() (*Details, error) { return f.details(f.file, f.Text) }

func (k *known) details(f *dbox.File, t dbox.Text) (*Details, error) {
	meta, err := f.Metadata()
	if err != nil {
		return nil, err
	}
	d := &Details{Saved: k.saved, GUID: meta.Get(dbox.KeyGUID), UIDL: meta.Get(dbox.KeyPOP3UIDL), Physical: t.Size()}
	if k.guid != [16]byte{} {
		d.GUID = hex.EncodeToString(k.guid[:])
	}
	var ok bool
	if d.Received, ok = meta.Received(); !ok {
		d.Received = d.Saved
	}
	if d.Virtual, ok = meta.Hex(dbox.KeyVirtualSize); !ok {
		d.Virtual, err = dbox.VirtualSize(t)
	}
	return d, err
}

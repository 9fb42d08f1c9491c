package mailbox

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
)

// An mdboxFormat has the messages of all mailboxes of a user in few files (package
// mdbox).
type mdboxFormat struct {
	ends     mdbox.Ends
	mu       sync.Mutex
	storages map[string]*mdboxStorage
}

// An mdboxStorage is shared by the open mailboxes of a user.
type mdboxStorage struct {
	users int // guarded by the format's lock
	once  sync.Once
	*mdbox.Storage
	err error
}

func newMdbox() *mdboxFormat { return &mdboxFormat{storages: make(map[string]*mdboxStorage)} }

const mdboxStorageName = "storage"

// errNoStorage is about a Location that was made for another format.
var errNoStorage = errors.New("location has no storage, which mdbox needs")

// acquire returns the storage of a location, to be given back by release.
func (m *mdboxFormat) acquire(ctx context.Context, f *Files) (*mdboxStorage, error) {
	if f.Location.Storage == nil {
		return nil, fmt.Errorf("mailbox %s: %w", f.Location.Name, errNoStorage)
	}
	key := f.storageKey()
	m.mu.Lock()
	s := m.storages[key]
	if s == nil {
		s = &mdboxStorage{}
		m.storages[key] = s
	}
	s.users++
	m.mu.Unlock()
	s.once.Do(func() {
		var opt mdbox.Options
		if opt, s.err = mdboxOptions(f); s.err == nil {
			opt.Ends = &m.ends
			s.Storage, s.err = mdbox.Open(ctx, opt)
		}
	})
	if s.err != nil {
		m.release(key, s)
		return nil, s.err
	}
	return s, nil
}

// storageKey tells storages apart. Protocols may differ in what they have flushed.
func (f *Files) storageKey() string {
	s := f.Location.Storage
	return s.Root + "\x00" + s.IndexDir + "\x00" + string('0'+rune(f.Fsync))
}

func (m *mdboxFormat) release(key string, s *mdboxStorage) {
	m.mu.Lock()
	s.users--
	last := s.users == 0
	if (last || s.err != nil) && m.storages[key] == s {
		delete(m.storages, key)
	}
	m.mu.Unlock()
	if last && s.Storage != nil {
		s.Close()
	}
}

func mdboxOptions(f *Files) (mdbox.Options, error) {
	at, set := f.Location.Storage, f.Settings
	opt := mdbox.Options{
		Dir:        filepath.Join(at.Root, mdboxStorageName),
		RotateSize: int64(set.MdboxRotateSize), RotateInterval: set.MdboxRotateInterval, Preallocate: set.MdboxPreallocate,
		Fsync: f.Fsync, Journal: f.Journal, Log: f.Log,
		Boxes: mdbox.Boxes{Dir: filepath.Join(at.Root, at.Boxes), DirName: at.DirName, IndexName: at.IndexName},
		Index: indexOptions(f.Log, f.Location, set),
	}
	opt.Index.Name = "mdbox map of " + at.Root
	if at.IndexDir != "" {
		opt.MapDir = filepath.Join(at.IndexDir, mdboxStorageName)
		opt.Boxes.IndexDir = filepath.Join(at.IndexDir, at.Boxes)
	}
	if at.AltDir != "" {
		opt.AltDir = filepath.Join(at.AltDir, mdboxStorageName)
	}
	p, err := newPacking(f)
	opt.Attachments = p.attachments
	return opt, err
}

func (m *mdboxFormat) Create(ctx context.Context, f *Files, id Identity, tx *index.Tx) error {
	s, err := m.acquire(ctx, f)
	if err != nil {
		return err
	}
	defer m.release(f.storageKey(), s)
	h := mdbox.Header{MapValidity: s.Validity(), GUID: id.GUID}
	tx.Intro(&mdbox.ExtHeader)
	tx.ExtHeader(0, h.Append(nil))
	return nil
}

func (m *mdboxFormat) Open(ctx context.Context, f *Files) (Store, error) {
	p, err := newPacking(f)
	if err != nil {
		return nil, err
	}
	s, err := m.acquire(ctx, f)
	if err != nil {
		p.close()
		return nil, err
	}
	s.Join(f.Volume)
	if s.Journal() != f.Journal {
		f.Journal = nil
	}
	return &mdboxStore{Files: f, packing: p, format: m, storage: s}, nil
}

// An mdboxStore is the messages of one mailbox in the storage.
type mdboxStore struct {
	*Files
	packing
	format  *mdboxFormat
	storage *mdboxStorage
}

func (s *mdboxStore) Close() {
	s.packing.close()
	s.format.release(s.storageKey(), s.storage)
}

func (s *mdboxStore) Identity(st *index.State) (guid [16]byte, ok bool) {
	h, ok := mdbox.DecodeHeader(st.ExtHeader(mdbox.ExtHeader.Name))
	return h.GUID, ok && h.MapValidity == s.storage.Validity()
}

// An mdboxWriter is a message in memory or, if it is large, in a temporary file.
type mdboxWriter struct {
	*dbox.Writer
	guid    [16]byte
	mailbox string
}

func (s *mdboxStore) NewWriter(time.Time) Writer {
	w := dbox.NewMessage(s.storage.Dir())
	s.prepare(w)
	return &mdboxWriter{Writer: w, mailbox: s.Location.DiskName}
}

func (d *mdboxWriter) Finish(opt *SaveOptions) error {
	guid := opt.GUID
	if guid == "" {
		d.guid = dbox.NewGUID()
		guid = hex.EncodeToString(d.guid[:])
	} else {
		d.guid = dbox.GUID128(guid)
	}
	return d.Writer.Finish(&dbox.Fields{Received: opt.Received, GUID: guid, POP3UIDL: opt.POP3UIDL, Mailbox: d.mailbox})
}

// Close also removes the temporary file: the message has been copied.
func (d *mdboxWriter) Close() {
	d.Keep()
	d.Abort()
}

// gather stores a batch with those of other mailboxes.
func (s *mdboxStore) gather(ctx context.Context, b *box, ba *batch) error {
	a := &mdbox.Append{Mailbox: mdboxTarget{b}, Value: ba, Messages: make([]mdbox.Message, len(ba.news))}
	for i := range ba.news {
		if d, ok := ba.news[i].Writer.(*mdboxWriter); ok {
			a.Messages[i].Writer = d.Writer
		} else {
			a.Messages[i].MapUID = ba.news[i].Key
		}
	}
	return s.storage.Append(ctx, a)
}

// An mdboxTarget is a mailbox that messages are appended to.
type mdboxTarget struct{ b *box }

func (t mdboxTarget) Add(ctx context.Context, list []*mdbox.Append, ready mdbox.Ready) {
	batches := make([]*batch, len(list))
	for n, a := range list {
		ba := a.Value.(*batch)
		for i := range a.Messages {
			ba.news[i].Key = a.Messages[i].MapUID
		}
		batches[n] = ba
	}
	err := t.b.lockOnly(ctx, func() error { return t.b.appendLocked(batches, ready) })
	for n, a := range list {
		if a.Err = batches[n].err; a.Err == nil {
			a.Err = err
		}
	}
	if t.b.todo.Load() && t.b.pool.hold(t.b) {
		go func() {
			defer t.b.pool.release(t.b, nil)
			// What remains is done with the next change.
			_ = t.b.afterwards(context.WithoutCancel(ctx))
		}()
	}
}

// FlushFiles has the map on disk, if only that is recorded in a journal.
func (s *mdboxStore) FlushFiles() error {
	if j := s.storage.Journal(); j != nil && s.Files.Journal == nil {
		return j.Sync()
	}
	return nil
}

// Place has nothing to do: messages have no names.
func (s *mdboxStore) Place([]New) error { return nil }

func (s *mdboxStore) Unplace([]New) {}

// Record notes map uids and GUIDs.
func (s *mdboxStore) Record(tx *index.Tx, st *index.State, news iter.Seq[*New]) {
	var uids []uint32
	var mails, guids []byte
	uidl := false
	now := uint32(time.Now().Unix())
	for n := range news {
		if d, ok := n.Writer.(*mdboxWriter); ok {
			n.GUID = d.guid
		}
		m := mdbox.Mail{MapUID: n.Key, Saved: now}
		uids = append(uids, n.UID)
		mails = m.Append(mails)
		guids = append(guids, n.GUID[:]...)
		uidl = uidl || n.UIDL
	}
	tx.Intro(&mdbox.ExtMail)
	tx.ExtRecords(uids, mdbox.MailRecordSize, mails)
	tx.Intro(&mdbox.ExtGUID)
	tx.ExtRecords(uids, 16, guids)
	h, ok := mdbox.DecodeHeader(st.ExtHeader(mdbox.ExtHeader.Name))
	if uidl && ok && h.Flags&dboxHasPOP3UIDL == 0 {
		h.Flags |= dboxHasPOP3UIDL
		tx.Intro(&mdbox.ExtHeader)
		tx.ExtHeader(0, h.Append(nil))
	}
}

// mail returns what the index says of message i.
func mdboxMail(st *index.State, i int) (mdbox.Mail, bool) {
	return mdbox.DecodeMail(st.ExtRecord(i, st.ExtNumber(mdbox.ExtMail.Name)))
}

// Share refers to the message once more.
func (s *mdboxStore) Share(ctx context.Context, from Store, st *index.State, i int, n *New) (ok bool, err error) {
	src, ok := from.(*mdboxStore)
	if !ok || src.storage != s.storage {
		return false, nil
	}
	m, ok := mdboxMail(st, i)
	if !ok {
		return false, nil
	}
	n.Key = m.MapUID
	n.GUID, _ = s.GUID(st, i)
	return s.storage.CanShare(ctx, m.MapUID)
}

// Discard has nothing to do: references are counted when they exist.
func (s *mdboxStore) Discard(*New) {}

func (s *mdboxStore) Open(ctx context.Context, st *index.State, i int) (File, error) {
	m, ok := mdboxMail(st, i)
	if !ok {
		return nil, fmt.Errorf("UID=%d has no map uid: %w", st.UID(i), ErrMissing)
	}
	f, err := s.storage.Open(ctx, m.MapUID)
	if err != nil {
		return nil, err
	}
	guid, _ := s.GUID(st, i) // the index's counts, as for Dovecot
	if err := isMessage(f, guid); err != nil {
		f.Close()
		return nil, fmt.Errorf("map uid %d: %w", m.MapUID, err)
	}
	return openText(f, &s.view, time.Unix(int64(m.Saved), 0), guid)
}

// isMessage makes sure that a message is the one that the mailbox means: a map that was put back
// from a backup gives its uids to new messages.
func isMessage(f *dbox.File, guid [16]byte) error {
	if guid == ([16]byte{}) {
		return nil
	}
	meta, err := f.Metadata()
	if err != nil {
		return err
	}
	if g := meta.Get(dbox.KeyGUID); g != "" && !mdbox.IsGUID(g, guid) {
		return fmt.Errorf("%w: it is message %s, the mailbox has %x", ErrCorrupt, g, guid)
	}
	return nil
}

func (s *mdboxStore) GUID(st *index.State, i int) (guid [16]byte, ok bool) {
	copy(guid[:], st.ExtRecord(i, st.ExtNumber(mdbox.ExtGUID.Name)))
	return guid, true
}

// An mdboxRemoval is references to give back. The map is locked meanwhile: who
// rebuilds the storage must not find a message that no mailbox has but that has
// references.
type mdboxRemoval struct {
	*mdbox.Expunge
	mapUIDs []uint32
}

func (s *mdboxStore) NewRemoval(ctx context.Context) (Removal, error) {
	e, err := s.storage.BeginExpunge(ctx)
	return &mdboxRemoval{Expunge: e}, err
}

func (r *mdboxRemoval) Add(st *index.State, i int) {
	if m, ok := mdboxMail(st, i); ok {
		r.mapUIDs = append(r.mapUIDs, m.MapUID)
	}
}

func (r *mdboxRemoval) Before() error { return r.Unref(r.mapUIDs) }

func (r *mdboxRemoval) After(expunged bool) { r.End(expunged) }

// Done has nothing to do: the space is given back by a purge.
func (r *mdboxRemoval) Done() {}

func (s *mdboxStore) Rebuilding() index.Rebuild {
	rb := mdbox.RepairBox(s.storage.Validity(), time.Now)
	finish := rb.Finish
	rb.Finish = func(old *index.State, tx *index.Tx) {
		finish(old, tx)
		tx.Intro(&extHdrVsize)
		tx.Intro(&extVsize)
	}
	return rb
}

func (s *mdboxStore) RemoveStale(time.Time) error { return s.storage.RemoveStale() }

func (s *mdboxStore) Resync(ctx context.Context, why error) error {
	g, err := s.storage.Generation(ctx)
	if err != nil {
		return err
	}
	return s.storage.Rebuild(ctx, g, why)
}

var (
	_ Resyncer = (*mdboxStore)(nil)
	_ gatherer = (*mdboxStore)(nil)
)

// Purge gives back the space of expunged messages in the mdbox storage of a
// location. Other formats have done so before.
func (p *Pool) Purge(ctx context.Context, loc Location, set *Settings) error {
	format, err := p.format(&loc)
	if err != nil {
		return err
	}
	m, ok := format.(*mdboxFormat)
	if !ok {
		return nil
	}
	files := Files{Location: &loc, Settings: set, Fsync: fsyncMode(set), Log: p.log}
	if files.Journal, err = p.journal(&loc, files.Fsync); err != nil {
		return err
	}
	s, err := m.acquire(ctx, &files)
	if err != nil {
		return err
	}
	defer m.release(files.storageKey(), s)
	return wrap("purge "+loc.Storage.Root, s.Purge(ctx))
}

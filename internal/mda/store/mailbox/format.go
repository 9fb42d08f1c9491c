package mailbox

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/attachment"
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// A Format is how messages are kept besides dovecot.index, which all formats have
// in common: the files of sdbox, mdbox or Maildir. [Pool.Register] makes one known.
//
// The package does for every format what concerns the index: it locks the log,
// reads what others wrote, assigns uids, makes transactions of appends, flags and
// expunges, flushes the log and publishes snapshots. The format's [Store] is asked
// for everything that concerns files. What only some formats need is in optional
// interfaces that a Store may have: [Locker], [Scanner], [FlagKeeper], [Unlinker],
// [RecentTaker], [Directories], [Flusher], [Remover], [Mender], [Resyncer], and [DirMaker] of a Format.
type Format interface {
	// Create prepares a new mailbox, whose directories exist, and records in tx
	// what its index has of this format. The index is made afterwards.
	Create(ctx context.Context, f *Files, id Identity, tx *index.Tx) error
	// Open opens the files of a mailbox. Its index need not be sound.
	Open(ctx context.Context, f *Files) (Store, error)
}

// Files are the directories of a mailbox and how to treat them. They are open as
// long as the Store is.
type Files struct {
	Location *Location
	Settings *Settings
	Fsync    commit.Mode
	Dir      *index.Dir
	IndexDir *index.Dir       // may be Dir
	Volume   *commit.Volume   // nil unless both are on one
	Journal  *journal.Journal // what is recorded there need not be flushed; nil for none
	Log      *maillog.Logger
}

// Flush has the content of a new file on disk, as far as mail_fsync asks for it,
// before anything else is told of the file.
func (f *Files) Flush(fd int) error {
	switch {
	case !f.Fsync.Saves():
		return nil
	case f.Volume.Ordered() && f.Journal == nil:
		return commit.Content(fd)
	}
	return commit.Data(fd)
}

// A Store is the files of one open mailbox, shared by its sessions. "Locked" means
// that the caller has the lock of the index's log, and before it that of [Locker];
// such calls come one at a time, all others at any time. st is the state that a call
// is about and i the number of a message in it.
type Store interface {
	Close()

	// Identity returns the GUID of the mailbox. ok is false if the index is not one
	// of a finished mailbox of this format; then it is rebuilt.
	Identity(st *index.State) (guid [16]byte, ok bool)

	// NewWriter begins to save a message. Nothing of it may be seen by others.
	NewWriter(now time.Time) Writer

	// Place is called locked with messages that have got their uids. It gives their
	// files the names by which others find them (sdbox: u.<uid>; Maildir: from tmp/
	// to new/ or cur/, and the lines in dovecot-uidlist). All or none: after an
	// error it has undone what it did. Directories are flushed later, together.
	Place(news []New) error
	// Unplace undoes Place, locked, since the log could not be written.
	Unplace(news []New)
	// Record adds to the transaction that appends placed messages what this format
	// keeps of them in the index.
	Record(tx *index.Tx, st *index.State, news iter.Seq[*New])

	// Share lets n be the same as message i of src, another mailbox, without storing
	// it again (sdbox, Maildir: by a hard link; mdbox: by a reference). ok is false
	// if that is impossible; then the text is saved anew.
	Share(ctx context.Context, src Store, st *index.State, i int, n *New) (ok bool, err error)
	// Discard gives up a shared message that was not placed.
	Discard(n *New)

	// Open opens message i. [ErrMissing], [ErrCorrupt].
	Open(ctx context.Context, st *index.State, i int) (File, error)
	// GUID returns the 128-bit GUID of message i if it is known without opening it.
	GUID(st *index.State, i int) (guid [16]byte, ok bool)

	// NewRemoval begins to remove messages. It is called without locks, and may take
	// one that comes before all others.
	NewRemoval(ctx context.Context) (Removal, error)

	// Rebuilding says how to make a new index of the files: which uids there are,
	// and what belongs into the index besides messages.
	Rebuilding() index.Rebuild

	// RemoveStale removes the temporary files that killed saves left.
	RemoveStale(now time.Time) error
}

// A Locker has a lock of its own, which comes before that of the index's log
// (Maildir: dovecot-uidlist.lock).
type Locker interface {
	Lock(ctx context.Context) (unlock func(), err error)
}

// A Scanner has files that other programs add, rename and remove without telling
// the index (Maildir).
type Scanner interface {
	// Stale reports, without lock and at little cost, whether files may have changed
	// since the last Scan. It is asked at every sync.
	Stale() bool
	// Scan is called locked when that is so, and before uids are assigned. It records
	// in tx how the index has to change to agree with the files: new messages with
	// the uids that it gives them, flags, keywords, expunges, uid validity. Afterwards
	// the next uid of the index must be the one that Place may use.
	Scan(ctx context.Context, st *index.State, tx *index.Tx) error
	// Distrust has the next Scan look at everything: what was recorded in a
	// transaction did not get into the log.
	Distrust()
}

// An Unlinker removes the files of messages before the log says that they are gone:
// of a process that is killed in between remain messages without files, which the next Scan
// expunges, and not files that look like new messages (Maildir).
type Unlinker interface {
	// Unlink is called locked with messages of st.
	Unlink(st *index.State, gone []index.Expunged, tx *index.Tx) error
}

// A RecentTaker also keeps outside of the index which messages are recent (Maildir: they
// are in new/).
type RecentTaker interface {
	// TakeRecent is called locked when a session takes the \Recent flags of all messages.
	TakeRecent(st *index.State, tx *index.Tx) error
}

// Directories is a Store with directories that files come into, besides that of the mailbox.
// They are flushed like that one, and watched for what other programs do.
type Directories interface {
	Dirs() []*index.Dir
}

// A Remover removes the files of a deleted mailbox itself, since its directory may have
// other mailboxes in it (Maildir).
type Remover interface {
	RemoveAll() error
}

// A Flusher has another file that a save must have on disk (Maildir: the uidlist).
type Flusher interface {
	// FlushFiles is called for several saves together, before the log is flushed.
	FlushFiles() error
}

// A DirMaker is a Format that makes the directory of a new mailbox itself, since it
// may be there already for other mailboxes (Maildir).
type DirMaker interface {
	// MakeDir makes what is missing. ErrExists if that is nothing.
	MakeDir(loc *Location) error
}

// A FlagKeeper keeps flags and keywords also outside of the index (Maildir: in file
// names and dovecot-keywords).
type FlagKeeper interface {
	// KeepFlags is called locked before the log takes a change of the flags or
	// keywords of these messages: what a process does that is killed in between, the
	// next Scan finds. st is the state that the change leads to. Messages whose files
	// cannot be changed are marked so in tx.
	KeepFlags(ctx context.Context, was, st *index.State, uids []uint32, tx *index.Tx) error
}

// A Mender has a file for each message and can repair one.
type Mender interface {
	// Mend is called locked for a message whose file is corrupt. It puts in its place
	// what can be read, or removes it. In both cases it keeps the original, and
	// returns its path.
	Mend(uid uint32) (kept bool, original string, err error)
}

// A Resyncer mends more than one mailbox at a time, and cannot do so while one is
// locked (mdbox).
type Resyncer interface {
	// Resync compares files and indexes and mends what does not agree, as foreign
	// changes of the index. It is called without locks after a message was found
	// missing or corrupt, or the index was rebuilt.
	Resync(ctx context.Context, why error) error
}

// A gatherer stores messages of several mailboxes together. It has add called for
// those of one mailbox, with its own locks held.
type gatherer interface {
	gather(ctx context.Context, b *box, ba *batch) error
}

// Conditions that a Store reports of the file of a message.
var (
	ErrMissing = dbox.ErrNotExist
	ErrCorrupt = dbox.ErrCorrupt
)

// A Writer writes the file of a message being saved. Its methods belong to one
// goroutine.
type Writer interface {
	// Write adds text. Lines may end in CRLF or LF.
	io.Writer
	// Size returns the size so far, as readers will see it.
	Size() int64
	// VirtualSize returns the size so far with every line end counted as CRLF.
	VirtualSize() int64
	// Finish completes the file and has its content on disk ([Files.Flush]).
	Finish(opt *SaveOptions) error
	// Close gives up what is in memory of a file that was placed.
	Close()
	// Abort removes the file.
	Abort()
}

// A New is a message that is to be appended to a mailbox.
type New struct {
	Writer   Writer // the finished file; nil for a shared message
	UID      uint32
	Flags    Flags
	Keywords []string
	GUID     [16]byte // if the format keeps it in the index
	UIDL     bool     // it has its own POP3 UIDL

	// What Share noted, for Place of the same format.
	Key        uint32
	Source     *index.Dir
	Name       string
	attached   []attachment.Ref // attachments of the original
	attachedTo string           // what ends the names of their files

	private   Flags  // private flags
	cached    []byte // what the cache is to have of it
	offset    int64  // where Place put it in a file that it shares (mbox)
	vsize     int64  // -1 if unknown
	wantUID   uint32
	minModSeq uint64
	modseq    uint64 // what it became
}

// A File is the open text of a message with what the file says of it.
type File interface {
	Body
	Details() (*Details, error)
}

// Details are what is known of a message besides its text.
type Details struct {
	Received time.Time
	Saved    time.Time
	GUID     string
	Physical int64
	Virtual  int64
	UIDL     string // POP3 UIDL stored with the message, or ""
	Sender   string // of the envelope, if it is kept
}

// A Removal is messages that are being removed. After is always called, Done if the
// messages were expunged.
type Removal interface {
	// Add is called locked for each message, which is in st.
	Add(st *index.State, i int)
	// Before is called locked when all are added, before the log says that they are
	// gone.
	Before() error
	// After is called when the mailbox is not locked any more. expunged tells whether
	// the log now says that the messages are gone.
	After(expunged bool)
	// Done removes the files, after the log says on disk that the messages are gone.
	// What fails is logged: it only wastes space.
	Done()
}

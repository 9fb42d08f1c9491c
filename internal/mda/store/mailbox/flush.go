package mailbox

import (
	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mdbox"
)

// commit appends what was put into tx. The log's lock is held.
func (b *box) commit() error {
	defer b.tx.Reset()
	err := b.ix.Commit(&b.tx)
	if s, ok := b.store.(Scanner); ok && err != nil {
		s.Distrust()
	}
	return err
}

// commitReady is commit for messages that the mailbox gets with ready. durable says that ready has made the
// transaction durable.
func (b *box) commitReady(ready mdbox.Ready) (durable bool, err error) {
	if ready == nil {
		return false, b.commit()
	}
	defer b.tx.Reset()
	p, err := b.ix.Prepare(&b.tx)
	if err != nil {
		return false, err
	}
	begin := b.ix.State().LogEnd()
	recorded := b.recordable()
	if recorded {
		if err := b.recordTx(begin, p.Bytes()); err != nil {
			return false, err
		}
	}
	kept, err := ready()
	if err == nil {
		err = b.ix.Append(p)
	}
	switch {
	case recorded && err != nil:
		b.takeBack(begin)
	case recorded && !kept:
		b.recordAgain(begin)
	}
	return recorded && kept, err
}

// durable returns when everything appended to the log before the call is on
// disk, with the entries of the directories.
func (b *box) durable() error {
	return b.flush.Do(func() error {
		b.logMu.Lock()
		log, end := b.log.Clone(), b.logEnd
		b.logMu.Unlock()
		defer log.Close()
		var err error
		if f, ok := b.store.(Flusher); ok {
			err = f.FlushFiles()
		}
		if b.mode == commit.Optimized && b.filesSuffice() {
			return err
		}
		if b.files.Journal != nil {
			if err == nil {
				err = b.journalLog(log, end)
			}
		} else {
			if err == nil {
				err = log.Flush()
			}
			if err == nil && !b.volume.Ordered() {
				err = b.flushDirs()
			}
		}
		if err != nil {
			// Flushing again would report success for what was lost.
			b.mu.Lock()
			b.distrust = true
			b.mu.Unlock()
		}
		return err
	})
}

func (b *box) flushDirs() error {
	err := commit.Dir(b.dir.FD)
	if err == nil && b.indexDir != b.dir {
		err = commit.Dir(b.indexDir.FD)
	}
	if d, ok := b.store.(Directories); ok {
		for _, dir := range d.Dirs() {
			if err == nil {
				err = commit.Dir(dir.FD)
			}
		}
	}
	if err == nil {
		b.volume.Flushed()
	}
	return err
}

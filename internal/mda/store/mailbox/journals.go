package mailbox

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// maxJournals bounds those that a process has open: one for each place with mail of its user.
const maxJournals = 64

// maxRecovered bounds the places of which is remembered that they need not be recovered.
const maxRecovered = 4096

// journals are those of a pool.
type journals struct {
	mu        sync.Mutex
	use       bool
	top       string // where all are; empty for where they belong
	recovered map[string]bool
	open      map[string]*journal.Journal
	foreign   func(top string) error // see RecoverForeign
}

// UseJournals has what this process saves recorded in journals: package journal. It is for processes
// that save much and stay. Others only recover.
func (p *Pool) UseJournals() {
	p.journals.mu.Lock()
	defer p.journals.mu.Unlock()
	p.journals.use = true
}

// RecoverForeign has ask called before mail of another user of the system is opened: a process of that user must
// recover his journal below top, as this one cannot.
func (p *Pool) RecoverForeign(ask func(top string) error) {
	p.journals.mu.Lock()
	defer p.journals.mu.Unlock()
	p.journals.foreign = ask
}

// Recover recovers the journals below top, a directory of the user of this process, if that was not done before.
func (p *Pool) Recover(top string) error {
	p.journals.mu.Lock()
	defer p.journals.mu.Unlock()
	return p.recoverTop(top)
}

// recoverTop does what Recover does. The lock of the journals is held.
func (p *Pool) recoverTop(top string) error {
	js := &p.journals
	if js.recovered[top] {
		return nil
	}
	if err := journal.Recover(top, p.log); err != nil {
		return err
	}
	js.markRecovered(top)
	return nil
}

func (js *journals) markRecovered(top string) {
	if js.recovered == nil || len(js.recovered) >= maxRecovered {
		js.recovered = make(map[string]bool)
	}
	js.recovered[top] = true
}

// recoverForeign has the journal of mail of another user recovered. What asks takes no lock meanwhile: it
// waits for another process.
func (p *Pool) recoverForeign(dir string) error {
	js := &p.journals
	js.mu.Lock()
	ask := js.foreign
	js.mu.Unlock()
	if ask == nil {
		return nil
	}
	top, ok := journal.Foreign(dir)
	if !ok {
		return nil
	}
	js.mu.Lock()
	done := js.recovered[top]
	js.mu.Unlock()
	if done {
		return nil
	}
	if err := ask(top); err != nil {
		return fmt.Errorf("recovering the mail in %s: %w", top, err)
	}
	js.mu.Lock()
	js.markRecovered(top)
	js.mu.Unlock()
	return nil
}

// journal returns the journal of the mailbox, nil for none. Before that it recovers what is in
// journals that other processes left behind: nobody must see the mail without.
func (p *Pool) journal(loc *Location, mode commit.Mode) (*journal.Journal, error) {
	js := &p.journals
	top, ok := js.top, js.top != ""
	if !ok {
		dir := existing(loc)
		if top, ok = journal.Top(dir); !ok {
			return nil, p.recoverForeign(dir)
		}
	}
	js.mu.Lock()
	defer js.mu.Unlock()
	wanted := js.use && mode == commit.Optimized && (loc.Format == "sdbox" || loc.Format == "mdbox")
	if j := js.open[top]; j != nil && wanted && !j.Broken() {
		return j, nil
	}
	if err := p.recoverTop(top); err != nil {
		return nil, err
	}
	if _, tried := js.open[top]; tried || !wanted || len(js.open) >= maxJournals {
		return nil, nil
	}
	j, err := journal.Open(top, p.log)
	if err != nil {
		// Without it mail is flushed file by file.
		p.log.Warningf("%v: mail below %s is saved without journal", err, top)
		j = nil
	}
	if js.open == nil {
		js.open = make(map[string]*journal.Journal)
	}
	js.open[top] = j
	return j, nil
}

// existing returns the lowest directory above a mailbox that there is.
func existing(loc *Location) string {
	dir := loc.Dir
	if loc.Storage != nil {
		dir = loc.Storage.Root
	}
	for {
		if _, err := os.Lstat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// closeJournals gives up the journals when nothing is saved any more.
func (p *Pool) closeJournals() {
	js := &p.journals
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.open {
		if j == nil {
			continue
		}
		if err := j.Close(); err != nil {
			p.log.Errorf("%v", err)
		}
	}
	js.open = nil
}

// journaled is the part of a mailbox's log that is durable without the log being flushed: it is on disk, or
// recorded in the journal, whoever wrote it.
type journaled struct {
	mu   sync.Mutex
	log  index.Log // open as long as it is noted
	file journal.File
	end  int64
}

// forget is for when the files are closed.
func (was *journaled) forget() {
	was.mu.Lock()
	defer was.mu.Unlock()
	was.log.Close()
	was.log, was.file, was.end = index.Log{}, journal.File{}, 0
}

// journalLog makes what the mailbox's log says up to end durable by the journal. Only the one who flushes
// calls it.
func (b *box) journalLog(log index.Log, end int64) error {
	j, was := b.files.Journal, &b.journaled
	if !b.dirsInPlace() {
		return commit.All(b.dir.FD) // nobody would find what is recorded by their names
	}
	was.mu.Lock()
	known := was.log.Is(log)
	var err error
	if known {
		err = b.recordLog(end)
	}
	was.mu.Unlock()
	if known {
		if err == nil {
			err = j.Sync()
		}
		return err
	}
	// It has to be durable with its name before it is recorded.
	if err = log.Flush(); err == nil {
		err = b.flushDirs()
	}
	if err == nil {
		err = j.Sync()
	}
	if err == nil {
		was.mu.Lock()
		defer was.mu.Unlock()
		was.log.Close()
		was.log, was.file, was.end = log.Clone(), journal.File{}, end
	}
	return err
}

// recordLog records what is in the log up to end. The lock of journaled is held.
func (b *box) recordLog(end int64) error {
	was := &b.journaled
	if end <= was.end {
		return nil
	}
	part := b.logRange(was.end)
	part.To = end
	err := b.files.Journal.Data(part)
	if err == nil {
		was.end = end
	}
	return err
}

// logRange is what is in the log from some offset on.
func (b *box) logRange(from int64) *journal.Range {
	was := &b.journaled
	return &journal.Range{Dir: b.indexDir.Path, Name: index.LogName, FD: was.log.FD(), File: &was.file, From: from, Log: true}
}

// recordable tells whether a transaction can be in the journal before it is in the log, which is locked.
func (b *box) recordable() bool {
	if b.files.Journal == nil || !b.mode.Saves() || !b.dirsInPlace() {
		return false
	}
	log := b.ix.Log()
	defer log.Close()
	b.journaled.mu.Lock()
	defer b.journaled.mu.Unlock()
	return b.journaled.log.Is(log)
}

// recordTx records a transaction that will be appended to the log at its end, and what is there
// already and not recorded.
func (b *box) recordTx(end int64, tx []byte) error {
	was := &b.journaled
	was.mu.Lock()
	defer was.mu.Unlock()
	if err := b.recordLog(end); err != nil {
		return err
	}
	part := b.logRange(end)
	part.To, part.Bytes = end+int64(len(tx)), [][]byte{tx}
	err := b.files.Journal.Data(part)
	if err == nil {
		was.end = part.To
	}
	return err
}

// recordAgain has what the log says from some offset on recorded with the next flush.
func (b *box) recordAgain(from int64) {
	b.journaled.mu.Lock()
	defer b.journaled.mu.Unlock()
	b.journaled.end = from
}

// takeBack takes back what was recorded of the log and not written. The log is locked.
func (b *box) takeBack(from int64) {
	was := &b.journaled
	was.mu.Lock()
	defer was.mu.Unlock()
	was.end = from
	if b.files.Journal.Cut(b.logRange(from)) != nil {
		b.distrust = true
	}
}

// dirsInPlace tells whether the directories still have the names by which they were opened.
func (b *box) dirsInPlace() bool {
	var st unix.Stat_t
	if unix.Stat(b.dir.Path, &st) != nil || !b.dir.Is(&st) {
		return false
	}
	return b.indexDir == b.dir || unix.Stat(b.indexDir.Path, &st) == nil && b.indexDir.Is(&st)
}

// record has the journal know of a new file by the name that it has now. recorded is false if that is
// not the way to have it on disk.
func (f *Files) record(fd int, name string) (recorded bool, err error) {
	if f.Journal == nil {
		return false, nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size > journal.MaxData {
		return false, err
	}
	r := journal.Range{Dir: f.Dir.Path, Name: name, FD: fd, To: st.Size, New: true}
	if err := f.Journal.Data(&r); err != nil {
		return false, err
	}
	return true, nil
}

// Settle has on disk what any process has recorded of the mail around a mailbox. Journals know files by the
// names of their directories: it comes before and after these are renamed.
func (p *Pool) Settle(loc *Location) error {
	top, ok := p.journals.top, p.journals.top != ""
	if !ok {
		top, ok = journal.Top(existing(loc))
	}
	if !ok {
		return nil
	}
	return journal.Settle(top)
}

package mailbox

import (
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
}

// UseJournals has what this process saves recorded in journals: package journal. It is for processes
// that save much and stay. Others only recover.
func (p *Pool) UseJournals() {
	p.journals.mu.Lock()
	defer p.journals.mu.Unlock()
	p.journals.use = true
}

// journal returns the journal of the mailbox, nil for none. Before that it recovers what is in
// journals that other processes left behind: nobody must see the mail without.
func (p *Pool) journal(loc *Location, mode commit.Mode) (*journal.Journal, error) {
	js := &p.journals
	js.mu.Lock()
	defer js.mu.Unlock()
	top, ok := js.top, js.top != ""
	if !ok {
		top, ok = journal.Top(existing(loc))
	}
	if !ok {
		return nil, nil
	}
	wanted := js.use && mode == commit.Optimized && (loc.Format == "sdbox" || loc.Format == "mdbox")
	if j := js.open[top]; j != nil && wanted && !j.Broken() {
		return j, nil
	}
	if !js.recovered[top] {
		if err := journal.Recover(top, p.log); err != nil {
			return nil, err
		}
		if js.recovered == nil || len(js.recovered) >= maxRecovered {
			js.recovered = make(map[string]bool)
		}
		js.recovered[top] = true
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

// A logEnd is a position in a log.
type logEnd struct {
	log index.Log // open as long as it is noted
	end int64
}

// journalLog makes what the mailbox's log says up to end durable by the journal: all of it from what is
// durable or recorded already, whoever wrote it. Only the one who flushes calls it.
func (b *box) journalLog(log index.Log, end int64) error {
	j, was := b.files.Journal, &b.journaled
	if !b.dirsInPlace() {
		return commit.All(b.dir.FD) // nobody would find what is recorded by their names
	}
	if !was.log.Is(log) {
		// A log that is new here: it has to be durable with its name before it is recorded.
		err := log.Flush()
		if err == nil {
			err = b.flushDirs()
		}
		if err == nil {
			err = j.Sync()
		}
		if err == nil {
			was.log.Close()
			*was = logEnd{log.Clone(), end}
		}
		return err
	}
	if end > was.end {
		err := j.Data(&journal.Range{
			Dir: b.indexDir.Path, Name: index.LogName, FD: log.FD(), From: was.end, To: end, Log: true,
		})
		if err != nil {
			return err
		}
	}
	err := j.Sync()
	if err == nil {
		was.end = max(was.end, end)
	}
	return err
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

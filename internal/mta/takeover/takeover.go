package takeover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/pickup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// Config is what a takeover works with.
type Config struct {
	Dir   string       // queue_directory
	Store *queue.Store // where nothing is delivered meanwhile
	Log   *maillog.Logger
	Owner int // the uid that queue files have: the process's own
	// Progress, unless nil, is called again and again while Run gets on, from
	// many goroutines: it may take as long as there are files.
	Progress func()
}

func (c *Config) progress() {
	if c.Progress != nil {
		c.Progress()
	}
}

// A Report says what became of the files.
type Report struct {
	Taken map[string]int // by queue
	Ended int            // nothing was left to do for them
	Left  int            // where they are, as the log says
}

// Total is the number of messages taken over.
func (r *Report) Total() int {
	n := 0
	for _, k := range r.Taken {
		n += k
	}
	return n
}

// queues are Postfix's directories, in the order in which the queue manager
// would come to their files.
var queues = []string{"active", "incoming", "deferred", "hold"}

// readers is how many files are read at once: they share the queue's syncs.
const readers = 64

// step is called before each thing that must not be done by halves; tests stop
// there.
var step = func() {}

// Run takes the mail over that Postfix left. It returns an error if the service
// must not start: when it is not certain that a file that was removed does not
// come back.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := finish(c.Dir, c.Store, c.Log); err != nil {
		return nil, err
	}
	if err := dropSubmitted(c.Dir, c.Store, c.Log.Infof); err != nil {
		return nil, err
	}
	t := &run{c: c, ctx: ctx, files: make(chan found, readers), touched: make(map[string]bool)}
	t.report.Taken = make(map[string]int)
	for i, name := range logNames {
		t.levels[i] = countLevels(filepath.Join(c.Dir, name))
	}
	var work sync.WaitGroup
	for range readers {
		work.Go(t.read)
	}
	for _, q := range queues {
		t.walk(q, filepath.Join(c.Dir, q), maxDepth)
	}
	close(t.files)
	work.Wait()
	if ctx.Err() == nil {
		if err := t.dropStaleLogs(); err != nil {
			c.Log.Warningf("takeover: logs without a message stay: %v", err)
		}
	}
	t.tell()
	return &t.report, errors.Join(syncDirs(t.touched), ctx.Err())
}

// dropSubmitted removes the files from the maildrop that pickup(8) has brought
// into the queue already.
func dropSubmitted(dir string, store *queue.Store, say func(format string, args ...any)) error {
	dir = filepath.Join(dir, pickup.QueueName)
	list, err := names(dir)
	if err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	for _, name := range list {
		path := filepath.Join(dir, name)
		claimed, err := pickup.Claimed(store, path)
		if err == nil && claimed {
			err = os.Remove(path)
		}
		if err != nil {
			return fmt.Errorf("takeover: maildrop/%s: %w", name, err)
		}
		if claimed {
			say("takeover: maildrop/%s is in the queue already", name)
		}
	}
	return nil
}

// A run is one takeover.
type run struct {
	c     Config
	ctx   context.Context
	files chan found

	levels [3]int // of directories below each of logNames

	mu      sync.Mutex
	report  Report
	touched map[string]bool // directories in which files were removed
}

// A found file is one in a queue of Postfix.
type found struct {
	queue string
	dir   string
	name  string
}

func (f *found) path() string { return filepath.Join(f.dir, f.name) }

// maxDepth bounds the directories within each other (hash_queue_depth).
const maxDepth = 8

// walk finds the files of a queue. Its subdirectories have names of one
// character; how many levels there are is a matter of configuration, old and
// new.
func (t *run) walk(q, dir string, depth int) {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.leave(dir, err)
		return
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1000)
		for _, e := range entries {
			switch name := e.Name(); {
			case t.ctx.Err() != nil:
				return
			case e.IsDir() && len(name) == 1 && depth > 0:
				t.walk(q, filepath.Join(dir, name), depth-1)
			case e.IsDir():
				t.leave(filepath.Join(dir, name), errors.New("a directory that is none of the queue"))
			default:
				t.files <- found{q, dir, name}
			}
		}
		if err != nil || len(entries) == 0 {
			return // io.EOF
		}
	}
}

// read takes files until there are no more.
func (t *run) read() {
	for f := range t.files {
		if t.ctx.Err() != nil {
			continue
		}
		taken, err := t.take(&f)
		t.c.progress()
		t.mu.Lock()
		switch {
		case err != nil:
		case taken:
			t.touched[f.dir] = true
			t.report.Taken[f.queue]++
		default:
			t.touched[f.dir] = true
			t.report.Ended++
		}
		t.mu.Unlock()
		if err != nil {
			t.leave(f.path(), err)
		}
	}
}

// leave notes that something stays where it is.
func (t *run) leave(path string, err error) {
	t.mu.Lock()
	t.report.Left++
	t.mu.Unlock()
	t.c.Log.Warningf("takeover: %s is left there: %v", path, err)
}

// tell logs what was done, if there was anything.
func (t *run) tell() {
	r := &t.report
	if r.Total()+r.Ended+r.Left == 0 {
		return
	}
	var parts []string
	for _, q := range queues {
		if n := r.Taken[q]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, q))
		}
	}
	if r.Ended > 0 {
		parts = append(parts, fmt.Sprintf("%d with nothing left to do", r.Ended))
	}
	detail := ""
	if len(parts) > 0 {
		detail = " (" + strings.Join(parts, ", ") + ")"
	}
	if refused, err := names(filepath.Join(t.c.Dir, "corrupt")); err == nil && len(refused) > 0 {
		t.c.Log.Warningf("takeover: %d files that Postfix could not read are left in corrupt", len(refused))
	}
	t.c.Log.Infof("takeover: %d messages taken over from Postfix's queue%s, %d files left", r.Total(), detail, r.Left)
}

// syncDirs makes removals durable.
func syncDirs(dirs map[string]bool) error {
	for dir := range dirs {
		step()
		if err := syncDir(dir); err != nil {
			return fmt.Errorf("takeover: %w", err)
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

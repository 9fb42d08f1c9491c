package pickup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/submitter"
)

// QueueName is the directory of submissions below queue_directory.
const QueueName = "maildrop"

// Settings are the parameters of pickup(8), besides the core ones.
type Settings struct {
	ContentFilter   string        `set:"content_filter" doc:"transport:nexthop that every accepted message is sent through after queueing"`
	OverrideOptions string        `set:"receive_override_options" doc:"input processing to skip: address mappings, header/body checks, milters, recipient checks, unknown recipient"`
	InFlowDelay     time.Duration `set:"in_flow_delay" default:"1s" max:"10" doc:"pause before a new message while the queue is full"`
	ActiveLimit     int           `set:"qmgr_message_active_limit" default:"20000" min:"1" doc:"messages being delivered at once"`
	AutoUTF8        string        `set:"smtputf8_autodetect_classes" default:"sendmail, verify" nonempty:"yes" doc:"mail that needs SMTPUTF8 because of what it contains"`
}

var _ = postfix.Register("pickup", Settings{})

// A Store is the queue, as far as it is looked at here; *[queue.Store] is one.
type Store interface{ Len() int }

// Config is what a Pickup works with.
type Config struct {
	Main     *postfix.Main // with the options of the service
	Cleanup  *cleanup.Cleanup
	Queue    func(now time.Time) (cleanup.Writer, error) // for what cleanup refuses
	Resolver *resolve.Resolver
	Tables   resolve.Opener
	Store    Store
	Log      *maillog.Logger // tag "postfix/pickup[pid]"
	// Lock is held while files are taken: after a reload the new Pickup waits for
	// the old one.
	Lock *sync.Mutex
}

// A Pickup takes submissions.
type Pickup struct {
	Config
	core     *postfix.Core
	set      *Settings
	access   *submitter.Access
	override cleanup.Overrides

	autoUTF8  bool
	dir       string
	owner     int // uid of the mail system
	lastCount int // messages in the queue at the last one
}

// New returns a Pickup.
func New(c Config) (*Pickup, error) {
	p := &Pickup{Config: c, owner: os.Geteuid()}
	var err error
	if p.core, err = postfix.Get[postfix.Core](c.Main); err != nil {
		return nil, err
	}
	if p.set, err = postfix.Get[Settings](c.Main); err != nil {
		return nil, err
	}
	if p.access, err = submitter.New(c.Main, c.Tables); err != nil {
		return nil, err
	}
	p.dir = filepath.Join(p.core.QueueDirectory, QueueName)
	if p.override, err = cleanup.ParseOverrides(p.set.OverrideOptions); err != nil {
		return nil, err
	}
	for _, word := range postfix.SplitList(p.set.AutoUTF8) {
		p.autoUTF8 = p.autoUTF8 || word == "sendmail" || word == "all"
	}
	p.autoUTF8 = p.autoUTF8 && p.core.SMTPUTF8Enable
	return p, nil
}

// Run takes submissions until ctx ends: at once, when somebody connects to l, and
// each time wake has passed. A nil l, or a wake of zero, is none.
func (p *Pickup) Run(ctx context.Context, l net.Listener, wake time.Duration) {
	kicked := make(chan struct{}, 1)
	if l != nil {
		stop := context.AfterFunc(ctx, func() { l.Close() })
		defer stop()
		go listen(l, kicked)
	}
	var tick <-chan time.Time
	if wake > 0 {
		t := time.NewTicker(wake)
		defer t.Stop()
		tick = t.C
	}
	for {
		p.scan(ctx)
		select {
		case <-ctx.Done():
			return
		case <-kicked:
		case <-tick:
		}
	}
}

// kickTimeout bounds how long a client may take to say its byte.
const kickTimeout = 10 * time.Second

// listen notices who connects. What they say does not matter.
func listen(l net.Listener, kicked chan<- struct{}) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.SetDeadline(time.Now().Add(kickTimeout)) //nolint:errcheck // the byte is not waited for
		conn.Close()
		select {
		case kicked <- struct{}{}:
		default: // one scan will see all
		}
	}
}

// parallel is how many messages are taken at once: the queue makes them durable
// together.
const parallel = 32

// scan takes the files that are there, again until there are no more.
func (p *Pickup) scan(ctx context.Context) {
	p.Lock.Lock()
	defer p.Lock.Unlock()
	for ctx.Err() == nil && p.pass(ctx) > 0 {
	}
}

// pass takes the files that are there and returns how many were removed.
func (p *Pickup) pass(ctx context.Context) int {
	entries, err := os.ReadDir(p.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.Log.Warningf("%v", err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	removed := 0
	room := make(chan struct{}, parallel)
	for _, e := range entries {
		if ctx.Err() != nil {
			break
		}
		if !queue.ValidID(e.Name()) {
			continue
		}
		s, ok := p.open(e.Name())
		if !ok {
			continue
		}
		p.pause(ctx)
		room <- struct{}{}
		work.Go(func() {
			defer func() { <-room }()
			if p.take(context.WithoutCancel(ctx), s) { // what is begun is finished
				mu.Lock()
				removed++
				mu.Unlock()
			}
		})
	}
	work.Wait()
	return removed
}

// pause waits a little before each message while the queue has more than the queue
// manager works on, and grows: deliveries come first.
func (p *Pickup) pause(ctx context.Context) {
	n := p.Store.Len()
	grows := n > p.lastCount
	p.lastCount = n
	if n <= p.set.ActiveLimit || !grows || p.set.InFlowDelay <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(p.set.InFlowDelay):
	}
}

// A submission is a file in the maildrop.
type submission struct {
	name     string
	path     string
	f        *os.File
	uid      int
	size     int64
	modified time.Time
	requeued bool // by the administrator
	gone     bool // its file was removed
}

// The bits of a mode that say whether a file is complete and who may read it.
const (
	modeReady     = 0o700
	modeOtherRead = 0o004
)

// open opens a file that is complete. What is no regular file is left to the administrator.
func (p *Pickup) open(name string) (*submission, bool) {
	s := &submission{name: name, path: filepath.Join(p.dir, name)}
	shown := QueueName + "/" + name
	var before syscall.Stat_t
	if err := syscall.Lstat(s.path, &before); err != nil {
		return nil, false
	}
	switch {
	case before.Mode&syscall.S_IFMT != syscall.S_IFREG:
		p.Log.Warningf("%s: uid %d: not a regular file", shown, before.Uid)
		return nil, false
	case before.Mode&modeReady != modeReady:
		return nil, false
	}
	f, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			p.Log.Warningf("open input file %s: %v", shown, errors.Unwrap(err))
		}
		return nil, false
	}
	info, err := f.Stat()
	st, ok := statOf(info)
	if err != nil || !ok || st.Ino != before.Ino || st.Dev != before.Dev {
		f.Close()
		return nil, false
	}
	s.f, s.uid, s.size, s.modified = f, int(st.Uid), st.Size, info.ModTime()
	s.requeued = s.uid == p.owner && st.Mode&modeOtherRead == 0
	return s, true
}

func statOf(info fs.FileInfo) (*syscall.Stat_t, bool) {
	if info == nil {
		return nil, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return st, ok
}

// take takes one submission and reports whether its file is gone.
func (p *Pickup) take(ctx context.Context, s *submission) bool {
	defer s.f.Close()
	defer func() {
		if r := recover(); r != nil {
			p.Log.Print(maillog.Panic, fmt.Sprintf("%s/%s: %v", QueueName, s.name, r))
		}
	}()
	return p.message(ctx, s) && p.remove(s)
}

// remove removes the file of a submission, unless that is done.
func (p *Pickup) remove(s *submission) bool {
	if s.gone {
		return true
	}
	step()
	if err := os.Remove(s.path); err != nil {
		p.Log.Warningf("remove %s/%s: %v", QueueName, s.name, errors.Unwrap(err))
		return false
	}
	step()
	s.gone = true
	return true
}

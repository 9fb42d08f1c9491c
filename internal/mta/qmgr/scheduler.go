package qmgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// A Resolver says where a recipient's mail goes; *[resolve.Resolver] is one.
// An error is temporary.
type Resolver interface {
	Resolve(ctx context.Context, sender, recipient string) (resolve.Result, error)
}

// A Notifier tells senders what became of recipients, of which m.Outcomes says
// what happened; *bounce.Bouncer is one. When it returns nil, the notification
// is durable or not wanted. An error is temporary.
type Notifier interface {
	Failure(ctx context.Context, m *queue.Message, recipients []int) error
	Delay(ctx context.Context, m *queue.Message, recipients []int) error
	Success(ctx context.Context, m *queue.Message, recipients []int) error
	Trace(ctx context.Context, m *queue.Message, recipients []int) error
}

// A Prober says where address probes go; a Resolver may be one.
type Prober interface {
	ResolveProbe(ctx context.Context, sender, recipient string) (resolve.Result, error)
}

// Probes takes what address probes found out; *verify.Service is one.
type Probes interface {
	Result(address string, found deliver.Action, text string)
}

// A Transport is a delivery service of master.cf.
type Transport struct {
	Agent     deliver.Agent
	Log       *maillog.Logger // with the agent's tag, "postfix/smtp[pid]"
	Processes int             // deliveries at once, all destinations together; 0 is no limit
}

// Config is what a Scheduler works with.
type Config struct {
	Main       *postfix.Main
	Store      *queue.Store
	Resolver   Resolver
	Transports map[string]Transport // by name; "error" and "retry" are expected
	Notifier   Notifier
	Probes     Probes          // nil where there is no verify service
	Log        *maillog.Logger // tag "postfix/qmgr[pid]"
	// CleanupLog has the lines of cleanup(8), which answers some probes; tag "postfix/cleanup[pid]". Nil is Log.
	CleanupLog *maillog.Logger
	Now        func() time.Time
}

// A Scheduler is the queue manager. It is safe for concurrent use.
type Scheduler struct {
	set      Settings
	core     postfix.Core
	store    *queue.Store
	resolver Resolver
	notifier Notifier
	prober   Prober
	probes   Probes
	log      *maillog.Logger

	cleanupLog *maillog.Logger

	now      func() time.Time
	ages     ages
	deferred []string // defer_transports

	warnDelays bool // the postmaster is told of delays (class delay)
	split      func(user string) (bare, ext string)

	mu         sync.Mutex
	transports map[string]*transport
	missing    map[string]time.Time // transports that are not there: when that was last said
	probing    int                  // probes under way
	active     map[string]*job      // by queue ID
	arrived    []*job               // to be resolved
	resolvers  int                  // goroutines that resolve
	idle       int                  // of them, waiting
	more       sync.Cond            // arrived is not empty, or stopped
	behind     bool                 // messages were left in the store for want of room
	running    bool
	stopped    bool
	ctx        context.Context
	workers    sync.WaitGroup

	scan chan scan
}

// A scan asks for a look at the store.
type scan struct {
	flush bool
}

// maxResolvers bounds the look-ups at once: they may wait for servers.
const maxResolvers = 16

// A job is a message being delivered.
type job struct {
	m       *queue.Message
	active  time.Time
	again   bool // asked for while it was being delivered already
	flush   bool // dead destinations and deferred transports are tried
	verp    bool // each recipient has a sender address of its own
	pending int  // batches and resolvers that have it; guarded by the scheduler's lock

	mu    sync.Mutex      // outcomes are told by several deliveries
	open  int             // recipients that are not done
	trace []queue.Outcome // what the sender asked to be told, see traced
	order []int           // in which trace was filled in
}

// New returns a scheduler with the parameters of c.Main.
func New(c Config) (*Scheduler, error) {
	s := &Scheduler{
		store: c.Store, resolver: c.Resolver, notifier: c.Notifier, probes: c.Probes, log: c.Log, now: c.Now,
		transports: make(map[string]*transport),
		missing:    make(map[string]time.Time),
		active:     make(map[string]*job),
		scan:       make(chan scan, 1),
	}
	s.more.L = &s.mu
	s.prober, _ = c.Resolver.(Prober)
	if s.cleanupLog = c.CleanupLog; s.cleanupLog == nil {
		s.cleanupLog = c.Log
	}
	s.split = func(user string) (string, string) { return user, "" }
	if sp, ok := c.Resolver.(interface {
		SplitExtension(user string) (bare, ext string)
	}); ok {
		s.split = sp.SplitExtension
	}
	if s.now == nil {
		s.now = time.Now
		s.ages.start(time.Now())
	}
	if err := c.Main.Decode(&s.set); err != nil {
		return nil, err
	}
	if err := c.Main.Decode(&s.core); err != nil {
		return nil, err
	}
	s.deferred = postfix.SplitList(s.set.DeferTransport)
	s.warnDelays = slices.Contains(postfix.SplitList(s.set.NotifyClasses), "delay")
	for name, t := range c.Transports {
		lim, err := transportLimits(c.Main, name)
		if err != nil {
			return nil, fmt.Errorf("transport %s: %w", name, err)
		}
		s.transports[name] = newTransport(s, name, t, lim)
	}
	return s, nil
}

// Run delivers until ctx ends, and returns when no delivery is under way. Fresh
// messages go to the scheduler that ran last: with a new configuration a new
// scheduler takes over, to which the old one gives what it did not finish.
func (s *Scheduler) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return errors.New("qmgr: Run was called twice")
	}
	s.running = true
	s.ctx = ctx
	s.mu.Unlock()

	cancel := s.store.OnArrival(s.arrive)
	s.look(scan{})
	tick := time.NewTicker(s.set.QueueRunDelay)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			cancel()
			s.stop()
			return nil
		case <-tick.C:
			s.look(scan{})
		case sc := <-s.scan:
			s.look(sc)
		}
	}
}

func (s *Scheduler) stop() {
	s.mu.Lock()
	s.stopped = true
	s.more.Broadcast()
	s.mu.Unlock()
	s.workers.Wait()
	s.mu.Lock()
	rest := s.active
	s.active = make(map[string]*job)
	s.mu.Unlock()
	for _, j := range rest {
		s.store.Yield(j.m)
	}
}

// arrive takes a fresh message from the store.
func (s *Scheduler) arrive(m *queue.Message) {
	s.mu.Lock()
	stopped := s.stopped
	full := false
	if !stopped {
		s.admit(m, false)
		full = s.behind && s.active[m.ID] == nil && s.now().Sub(m.Queued) < s.set.InFlowDelay
	}
	s.mu.Unlock()
	if full {
		s.slowDown()
	}
	if stopped {
		s.store.Yield(m) // it came while another scheduler took over
	}
}

// slowDown makes who brings mail wait a moment: more comes in than goes out, and
// without it nothing would give deliveries their share (in_flow_delay).
func (s *Scheduler) slowDown() {
	pause := time.NewTimer(s.set.InFlowDelay)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-s.ctx.Done():
	}
}

// admit begins the delivery of a message, if there is room. The caller holds
// the lock.
func (s *Scheduler) admit(m *queue.Message, flush bool) {
	if s.stopped || s.active[m.ID] != nil {
		return
	}
	if len(s.active) >= s.set.ActiveLimit {
		s.behind = true
		return
	}
	if !s.store.Activate(m) {
		return
	}
	j := &job{m: m, active: s.now(), flush: flush, pending: 1}
	if m.Verify {
		s.probing++
	}
	s.active[m.ID] = j
	s.arrived = append(s.arrived, j)
	s.wakeResolvers()
}

// wakeResolvers sees to it that someone resolves what has arrived. The caller
// holds the lock.
func (s *Scheduler) wakeResolvers() {
	if !s.running || s.stopped || len(s.arrived) == 0 {
		return
	}
	if s.idle > 0 {
		s.more.Signal()
		return
	}
	if s.resolvers < maxResolvers {
		s.resolvers++
		s.workers.Go(s.resolveLoop)
	}
}

// resolveLoop resolves messages as they arrive.
func (s *Scheduler) resolveLoop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for len(s.arrived) == 0 && !s.stopped {
			s.idle++
			s.more.Wait()
			s.idle--
		}
		if s.stopped {
			s.resolvers--
			return
		}
		j := s.arrived[0]
		s.arrived[0] = nil
		s.arrived = s.arrived[1:]
		s.mu.Unlock()
		s.begin(j)
		s.mu.Lock()
	}
}

// look activates what is due: fresh messages that found no room or were there
// at the start, and deferred ones whose time has come. A flush takes all.
func (s *Scheduler) look(sc scan) {
	now := s.now()
	s.watchClock(now)
	var due []queue.Info
	for _, inf := range s.store.List() {
		fresh := inf.Queue == queue.Incoming
		waited := inf.Queue == queue.Waiting && (sc.flush || inf.Expired || s.isDue(inf.Next, now))
		if fresh || waited {
			due = append(due, inf)
		}
	}
	slices.SortFunc(due, func(a, b queue.Info) int { return a.Arrival.Compare(b.Arrival) })
	s.mu.Lock()
	s.behind = false
	s.mu.Unlock()
	for _, inf := range due {
		if s.full() || !s.activate(inf.ID, sc.flush) {
			return
		}
	}
}

// full says whether there is no room for another message, and if so sees to it
// that the store is looked at again when there is.
func (s *Scheduler) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.active) >= s.set.ActiveLimit {
		s.behind = true
	}
	return s.behind || s.stopped
}

// activate loads one message and begins its delivery. It reports false when no
// further message is to be activated.
func (s *Scheduler) activate(id string, flush bool) bool {
	m, err := s.store.Load(id)
	if errors.Is(err, queue.ErrNotFound) {
		return true
	}
	if err != nil {
		s.log.Errorf("%s: cannot be read, left in the queue: %v", id, err)
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.admit(m, flush)
	return !s.stopped
}

// transport returns the transport of a name, or nil.
func (s *Scheduler) transport(name string) *transport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.transports[name]
}

package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/postmaster"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/tlsserver"
	"github.com/dovetail-mail/dovetail/internal/mta/verify"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Config is what a Server works with.
type Config struct {
	Main     *postfix.Main // with the overrides of the service
	Service  string        // name in master.cf, for limits and log lines: "smtp"
	Cleanup  *cleanup.Cleanup
	Resolver *resolve.Resolver
	Tables   resolve.Opener
	Names    Names  // client host names and DNS restrictions; nil: all are unknown
	Anvil    *Anvil // shared by the services; nil: no limits
	// Dial connects to the SASL server at first need; nil stands for the
	// Dovecot auth client at smtpd_sasl_path.
	Dial func(ctx context.Context) (*client.Client, error)
	// ReadFile reads files that only root may; nil: os.ReadFile.
	ReadFile func(path string) ([]byte, error)
	Free     func() (int64, error) // space left for the queue; nil: not checked
	// Flush has the mail for a site tried (ETRN); nil: no site is eligible.
	// [flush.ErrDenied] says that one is not.
	Flush func(ctx context.Context, site string) error
	// Verify asks for an address; nil: addresses cannot be verified.
	Verify Verifier
	// Spool makes a file without name, for messages that a filter gets when they are complete; nil: none
	// can be kept.
	Spool func() (*os.File, error)
	Log   *maillog.Logger // tag "postfix/smtpd[pid]"
	Now   func() time.Time
}

// A Verifier tells what is known of an address, and asks again up to count times, delay
// apart, while a probe is under way.
type Verifier func(ctx context.Context, addr string, count int, delay time.Duration) verify.Answer

// readFile is how files are read.
func (c *Config) readFile() func(path string) ([]byte, error) {
	if c.ReadFile != nil {
		return c.ReadFile
	}
	return os.ReadFile
}

// A Server is one SMTP service. It is safe for concurrent use.
type Server struct {
	set      Settings
	checks   CheckSettings
	proxy    ProxySettings
	history  HistorySettings
	notices  *postmaster.Notices // nil: the postmaster is told nothing
	milters  milters
	filter   *beforeFilter // nil: none
	core     postfix.Core
	service  string
	cleanup  *cleanup.Cleanup
	resolver *resolve.Resolver
	names    Names
	tls      *tlsserver.Server // nil: there is no certificate
	anvil    *Anvil
	sasl     *saslBackend
	space    spaceCheck
	flush    func(ctx context.Context, site string) error
	verify   Verifier
	log      *maillog.Logger
	now      func() time.Time

	lists    lists // match lists and tables
	rules    rules // compiled restrictions
	banner   []byte
	level    tlsLevel
	discard  keywords
	override cleanup.Overrides
	family   dns.Family
	allowed  *charset // in what replies show of the session
	seqno    atomic.Uint32
	bareLF   bareLFMode

	sessions sync.Pool
	stopping *atomic.Bool
	stress   stress
	config   Config // what the server was made of
	mu       sync.Mutex
	active   map[*session]struct{}
	drained  sync.Cond
}

// New returns a server with the parameters of c.Main. What Postfix ends with
// a fatal error at start is an error here.
func New(c Config) (*Server, error) {
	s := &Server{
		service: c.Service, cleanup: c.Cleanup, resolver: c.Resolver, names: c.Names,
		anvil: c.Anvil, log: c.Log, now: c.Now, flush: c.Flush, verify: c.Verify,
		active: make(map[*session]struct{}), stopping: new(atomic.Bool), config: c,
	}
	s.drained.L = &s.mu
	s.sessions.New = func() any { return newSession(s) }
	if s.now == nil {
		s.now = time.Now
	}
	if err := c.Main.Decode(&s.set); err != nil {
		return nil, err
	}
	if err := c.Main.Decode(&s.checks); err != nil {
		return nil, err
	}
	if err := c.Main.Decode(&s.core); err != nil {
		return nil, err
	}
	if err := c.Main.Decode(&s.proxy); err != nil {
		return nil, err
	}
	if err := c.Main.Decode(&s.history); err != nil {
		return nil, err
	}
	var err error
	if s.notices, err = postmaster.New(c.Main, c.Cleanup, c.Log); err != nil {
		return nil, err
	}
	if err := s.proxy.check(); err != nil {
		return nil, err
	}
	if err := s.openMilters(&c); err != nil {
		return nil, err
	}
	if s.filter, err = newBeforeFilter(&c, &s.core, s.set.LineLengthLimit); err != nil {
		return nil, err
	}
	s.banner = fmt.Appendf(nil, "220 %s\r\n", s.set.Banner)
	if err := s.parseSettings(); err != nil {
		return nil, err
	}
	if err := s.lists.open(&s.set, &s.checks, &s.core, c.Main, c.Tables); err != nil {
		return nil, err
	}
	s.names = filterNames(s.names, s.lists.nameFilter, s.log)
	if err := s.rules.compile(c.Main, &s.set, c.Tables, s.log); err != nil {
		return nil, err
	}
	if err := s.openTLS(&c); err != nil {
		return nil, err
	}
	if s.set.SASLAuthEnable {
		var err error
		if s.sasl, err = newSASLBackend(&s.set, &s.core, &c, s.log); err != nil {
			return nil, err
		}
	}
	s.space = spaceCheck{free: c.Free, now: s.now}
	if limit := s.core.MessageSizeLimit; s.set.QueueMinfree > 0 && float64(s.set.QueueMinfree) < 1.5*float64(limit) {
		s.log.Warningf("queue_minfree(%d) should be at least 1.5*message_size_limit(%d)", s.set.QueueMinfree, limit)
	}
	return s, nil
}

// parseSettings reads the settings whose values are words.
func (s *Server) parseSettings() error {
	var err error
	if s.level, err = s.tlsLevel(); err != nil {
		return err
	}
	s.discard = parseKeywords(s.set.DiscardEHLOKeywords, s.log)
	if s.override, err = cleanup.ParseOverrides(s.set.ReceiveOverrideOptions); err != nil {
		return err
	}
	if s.bareLF, err = parseBareLF(s.set.ForbidBareNewline); err != nil {
		return err
	}
	s.family = dns.Any
	switch s.core.InetProtocols {
	case "ipv4":
		s.family = dns.IPv4
	case "ipv6":
		s.family = dns.IPv6
	}
	if s.allowed, err = parseCharset(s.checks.ExpansionFilter); err != nil {
		return err
	}
	return s.checks.check()
}

// Serve accepts connections on l until ctx ends or l is closed, and returns when
// every session is over. When ctx ends, transactions under way are finished and
// other clients get a 421; when only l is closed, sessions go on. service gives the process limit, which is one of sessions here: as
// with Postfix, further clients wait to be accepted.
func (s *Server) Serve(ctx context.Context, l net.Listener, service *postfix.ServiceEntry) error {
	w := newWorkers(s, s.sessionLimit(service))
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	err := s.accept(ctx, l, w)
	w.dismiss()
	over := make(chan struct{})
	go func() {
		w.running.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-ctx.Done():
		s.shutdown()
		<-over
	}
	return err
}

// unlimited stands for maxproc 0 in master.cf.
const unlimited = 1 << 20

func (s *Server) sessionLimit(service *postfix.ServiceEntry) int {
	switch {
	case service == nil || service.MaxProc == postfix.DefaultProcesses:
		return s.core.DefaultProcessLimit
	case service.MaxProc == 0:
		return unlimited
	}
	return service.MaxProc
}

func (s *Server) accept(ctx context.Context, l net.Listener, w *workers) error {
	for {
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := master.Accept(ctx, l, func(err error) { s.log.Warningf("%v", err) })
		if conn == nil {
			<-w.slots
			return err
		}
		select {
		case w.waiting <- conn:
		default:
			w.running.Go(func() { w.run(context.WithoutCancel(ctx), conn) })
		}
	}
}

// workers serve connections, one each at a time. A worker that is done waits
// for the next connection, if not many wait already: a new goroutine would
// begin with a small stack and have to copy it several times in each session.
type workers struct {
	srv     *Server
	slots   chan struct{} // one is taken for each session
	waiting chan net.Conn // to workers that wait
	spare   chan struct{} // one is taken by each worker that waits
	running sync.WaitGroup
	busy    atomic.Int32 // sessions under way
}

// maxSpare is how many workers wait for work.
const maxSpare = 64

func newWorkers(s *Server, sessions int) *workers {
	return &workers{
		srv: s, slots: make(chan struct{}, sessions),
		waiting: make(chan net.Conn), spare: make(chan struct{}, maxSpare),
	}
}

func (w *workers) run(ctx context.Context, conn net.Conn) {
	for conn != nil {
		w.srv.serveConn(ctx, conn, w.srv.current(int(w.busy.Add(1)), cap(w.slots)))
		w.busy.Add(-1)
		<-w.slots
		select {
		case w.spare <- struct{}{}:
		default:
			return
		}
		conn = <-w.waiting // nil: no more are accepted
		<-w.spare
	}
}

// dismiss lets the workers that wait go; call it when no more is accepted.
func (w *workers) dismiss() { close(w.waiting) }

// ServeConn serves one connection and closes it.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) { s.serveConn(ctx, conn, s) }

// serveConn serves a connection with the settings of as, which is s or what stands for it
// under stress.
func (s *Server) serveConn(ctx context.Context, conn net.Conn, as *Server) {
	ses := s.sessions.Get().(*session)
	ses.srv = as
	ses.begin(ctx, conn)
	s.mu.Lock()
	s.active[ses] = struct{}{}
	s.mu.Unlock()
	ses.serve()
	s.mu.Lock()
	delete(s.active, ses)
	s.mu.Unlock()
	ses.end()
	s.sessions.Put(ses)
}

// pokeInterval is how often sessions that still wait are asked to end.
const pokeInterval = 200 * time.Millisecond

// shutdown wakes the sessions that wait for a client and returns when all
// have seen that they must end, or have a transaction to finish.
func (s *Server) shutdown() {
	s.stopping.Store(true)
	for {
		s.mu.Lock()
		idle := 0
		for ses := range s.active {
			if ses.idle.Load() {
				idle++
				ses.conn.SetReadDeadline(past)
			}
		}
		left := len(s.active)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		// A session may have been about to move its deadline: ask again.
		time.Sleep(pokeInterval)
	}
}

var past = time.Unix(1, 0)

// spaceCheck remembers for a second how much space the queue has.
type spaceCheck struct {
	free func() (int64, error)
	now  func() time.Time
	mu   sync.Mutex
	at   time.Time
	left int64
}

// get returns the space left, and false when it is not known.
func (c *spaceCheck) get() (int64, bool) {
	if c.free == nil {
		return 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.now(); now.Sub(c.at) >= time.Second {
		left, err := c.free()
		if err != nil {
			return 0, false
		}
		c.at, c.left = now, left
	}
	return c.left, true
}

// replyError is the reply that err carries, or the one for internal errors.
func replyError(err error) smtp.Reply {
	var reply smtp.Reply
	if errors.As(err, &reply) {
		return reply
	}
	return replyInternal
}

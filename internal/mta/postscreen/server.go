package postscreen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/tlsserver"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// Config is what a Server works with.
type Config struct {
	Main     *postfix.Main // with the overrides of the service
	TLSMain  *postfix.Main // with those of tlsproxy; nil: Main
	Tables   resolve.Opener
	Names    Names
	Cache    *Cache   // nil: nobody is remembered
	Passage  *Passage // to the SMTP server
	Log      *maillog.Logger
	BlogLog  *maillog.Logger // of dnsblog
	TLSLog   *maillog.Logger // of tlsproxy
	ReadFile func(path string) ([]byte, error)
	Now      func() time.Time
}

// A Server is one postscreen service. It is safe for concurrent use.
type Server struct {
	set      Settings
	shared   shared
	core     postfix.Core
	stressed Settings // with stress=yes
	cache    *Cache
	passage  *Passage
	log      *maillog.Logger
	now      func() time.Time

	access    *accessList
	earning   resolve.Networks // postscreen_allowlist_interfaces
	lists     *dnsbl           // nil: none
	enabled   testSet
	denylist  action
	greet     action
	dnsblDoes action
	late      [testCount]lateTest
	minTTL    time.Duration
	engine    engine

	mu      sync.Mutex
	clients map[netip.Addr]*client
	active  map[*session]struct{}
	passing int // clients that wait for an SMTP server
	stress  bool
	running sync.WaitGroup
}

// A client is an address with sessions.
type client struct {
	sessions int
	passed   int // sessions that passed as new
	until    stamps
}

// New returns a server with the parameters of c.Main. What Postfix ends with a fatal error at start is an
// error here.
func New(c Config) (*Server, error) {
	s := &Server{
		cache: c.Cache, passage: c.Passage, log: c.Log, now: c.Now,
		clients: make(map[netip.Addr]*client), active: make(map[*session]struct{}),
	}
	if s.now == nil {
		s.now = time.Now
	}
	if err := errors.Join(c.Main.Decode(&s.set), c.Main.Decode(&s.shared), c.Main.Decode(&s.core),
		c.Main.With(map[string]string{"stress": "yes"}).Decode(&s.stressed)); err != nil {
		return nil, err
	}
	for _, step := range []func(*Config) error{s.checkProxy, s.openLists, s.parseTests, s.openEngine} {
		if err := step(&c); err != nil {
			return nil, err
		}
	}
	if s.cache != nil {
		s.cache.keep.Store(&retention{enabled: s.enabled, time: s.set.CacheRetentionTime, interval: s.set.CacheCleanupInterval})
	}
	return s, nil
}

func (s *Server) openLists(c *Config) error {
	mynetworks, err := c.Tables.OpenNetworks("mynetworks", s.core.Mynetworks)
	if err != nil {
		return err
	}
	if s.access, err = newAccessList(s.set.AccessList, mynetworks, c.Tables, s.log); err != nil {
		return err
	}
	if s.earning, err = c.Tables.OpenNetworks("postscreen_allowlist_interfaces", s.set.AllowlistInterfaces); err != nil {
		return err
	}
	if s.set.DNSBLSites == "" {
		return nil
	}
	s.lists = &dnsbl{
		names: c.Names, timeout: s.set.DNSBLTimeout, minTTL: s.set.DNSBLMinTTL, maxTTL: s.set.DNSBLMaxTTL,
		log: s.log, blog: c.BlogLog, scores: make(map[netip.Addr]*score),
	}
	if s.lists.lists, err = parseSites(s.set.DNSBLSites); err != nil {
		return err
	}
	hide, err := c.Tables.OpenMaps("postscreen_dnsbl_reply_map", s.set.DNSBLReplyMap)
	if err != nil {
		return err
	}
	for _, l := range s.lists.lists {
		name, found, err := hide.Lookup(context.Background(), l.domain)
		if err != nil {
			return fmt.Errorf("postscreen_dnsbl_reply_map: lookup error: %w", err)
		}
		if found {
			l.shown = name
		}
	}
	return nil
}

// parseTests reads which tests there are, and what is done about clients that fail.
func (s *Server) parseTests(*Config) error {
	set := &s.set
	for t, on := range map[test]bool{
		pregreet: set.GreetBanner != "", dnsblTest: set.DNSBLSites != "",
		pipelining: set.PipeliningEnable, nonSMTP: set.NonSMTPCommandEnable, bareNewline: set.BareNewlineEnable,
	} {
		if on {
			s.enabled |= setOf(t)
		}
	}
	for _, a := range []struct {
		dst          *action
		param, value string
	}{
		{&s.denylist, "postscreen_denylist_action", set.DenylistAction},
		{&s.dnsblDoes, "postscreen_dnsbl_action", set.DNSBLAction},
		{&s.greet, "postscreen_greet_action", set.GreetAction},
		{&s.late[pipelining].action, "postscreen_pipelining_action", set.PipeliningAction},
		{&s.late[nonSMTP].action, "postscreen_non_smtp_command_action", set.NonSMTPCommandAction},
		{&s.late[bareNewline].action, "postscreen_bare_newline_action", set.BareNewlineAction},
	} {
		var ok bool
		if *a.dst, ok = actions[strings.ToLower(a.value)]; !ok {
			return fmt.Errorf("bad %s value: %s", a.param, a.value)
		}
	}
	s.late[pipelining].ttl, s.late[nonSMTP].ttl, s.late[bareNewline].ttl = set.PipeliningTTL, set.NonSMTPCommandTTL, set.BareNewlineTTL
	s.minTTL = min(set.GreetTTL, set.DNSBLMinTTL, set.PipeliningTTL, set.NonSMTPCommandTTL, set.BareNewlineTTL)
	return nil
}

// Serve accepts connections on l until ctx ends or l is closed, and returns when every session is over. When ctx ends sessions
// are cut off; when only l is closed, they go on.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		l.Close()
		s.cutOff()
	})
	defer stop()
	defer s.running.Wait()
	for {
		conn, err := master.Accept(ctx, l, func(err error) { s.log.Warningf("%v", err) })
		if conn == nil {
			return err
		}
		s.running.Go(func() { s.screen(context.WithoutCancel(ctx), conn) })
	}
}

func (s *Server) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ses := range s.active {
		ses.conn.Close()
	}
}

// The parts of the pre-queue limit at which stress begins and ends.
const (
	highWater = 0.9
	lowWater  = 0.7
)

// enter counts a session; pressure is how many there are.
func (s *Server) enter(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.active[ses] = struct{}{}
	if n := len(s.active) + s.passing; !s.stress && s.set.PreQueueLimit > 0 && n >= int(highWater*float64(s.set.PreQueueLimit)) {
		s.stress = true
		s.log.Infof("entering STRESS mode with %d connections", n)
	}
	c := s.clients[ses.addr]
	if c == nil {
		c = new(client)
		s.clients[ses.addr] = c
	}
	c.sessions++
	ses.client = c
}

// leave forgets a session. It comes before the client can know that its connection is over, or elsewhere: its next
// one would look like one at the same time.
func (s *Server) leave(ses *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, here := s.active[ses]; !here {
		return
	}
	if ses.client.sessions--; ses.client.sessions == 0 {
		delete(s.clients, ses.addr)
	}
	delete(s.active, ses)
	if n := len(s.active) + s.passing; s.stress && n <= int(lowWater*float64(s.set.PreQueueLimit)) {
		s.stress = false
		s.log.Infof("leaving STRESS mode with %d connections", n)
	}
}

// load is how many sessions there are, and how many clients that passed wait for an SMTP server.
func (s *Server) load() (sessions, passing int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.active), s.passing
}

// limits are the time limits as they are now.
func (s *Server) limits() (greet, command time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stress {
		return s.stressed.GreetWait, s.stressed.CommandTimeLimit
	}
	return s.set.GreetWait, s.set.CommandTimeLimit
}

// giveAway passes a connection to the SMTP server, and waits until that has it. The time limits of the
// tests end here.
func (s *Server) giveAway(conn net.Conn) error {
	const patience = 100 * time.Second
	conn.SetDeadline(time.Time{}) //nolint:errcheck // of a closed connection, as reading will tell
	s.mu.Lock()
	s.passing++
	s.mu.Unlock()
	err := s.passage.pass(conn, patience)
	s.mu.Lock()
	s.passing--
	s.mu.Unlock()
	return err
}

// openTLS makes what STARTTLS needs, from the settings of tlsproxy.
func (s *Server) openTLS(c *Config, enforce bool) (*tlsserver.Server, error) {
	main := c.TLSMain
	if main == nil {
		main = c.Main
	}
	var set tlsSettings
	if err := main.Decode(&set); err != nil {
		return nil, err
	}
	p := tlsserver.Params{
		CertFile: set.CertFile, KeyFile: set.KeyFile, ECCertFile: set.EccertFile, ECKeyFile: set.EckeyFile,
		ChainFiles: postfix.SplitList(set.ChainFiles), CAFile: set.CAFile, CAPath: set.CAPath,
		AskCert: set.AskCcert, VerifyDepth: set.CcertVerifydepth, Digest: set.FingerprintDigest,
		SessionTimeout: s.shared.SessionTimeout, LogLevel: set.Loglevel,
		ReadFile: c.ReadFile, Log: c.TLSLog, Now: s.now,
	}
	if s.shared.TicketCipher == "" {
		p.SessionTimeout = 0
	}
	protocols, ciphers := set.Protocols, tlsserver.Choice{Param: "tlsproxy_tls_ciphers", Grade: set.Ciphers, Exclude: []string{set.ExcludeCiphers}}
	if enforce {
		protocols, ciphers.Param, ciphers.Grade = set.MandatoryProtocols, "tlsproxy_tls_mandatory_ciphers", set.MandatoryCiphers
		ciphers.Exclude = append(ciphers.Exclude, set.MandatoryExcludeCiphers)
	}
	err := p.ChooseCiphers(main, ciphers)
	if err != nil {
		return nil, err
	}
	if p.Versions, err = tlsconf.ParseVersions(protocols); err != nil {
		return nil, err
	}
	if p.SNI, err = c.Tables.OpenMaps("tls_server_sni_maps", s.shared.SNIMaps); err != nil {
		return nil, err
	}
	t, err := tlsserver.New(p)
	if errors.Is(err, tlsserver.ErrNoCertificate) {
		c.TLSLog.Warningf("No server certs available. TLS can't be enabled")
		return nil, nil
	}
	return t, err
}

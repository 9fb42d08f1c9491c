package mta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	_ "net/http/pprof" // served only where DOVETAIL_PPROF asks for it
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/smtpd"
)

// A process is the running mta.
type process struct {
	p     *master.Process
	dir   string          // configuration directory
	ctx   context.Context // ends when the process is to stop
	store *queue.Store
	dns   *dns.Resolver
	anvil *smtpd.Anvil

	mu      sync.Mutex
	present *generation
	ended   sync.WaitGroup // generations
}

// Run is the mta process. It serves until its master is gone or tells it to stop.
func Run(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	debug.SetGCPercent(200) // short-lived garbage of many sessions: speed before memory
	servePprof()
	m := &process{p: p, dir: p.Arg, ctx: ctx}
	if err := m.open(); err != nil {
		return err
	}
	if err := m.start(p.Listeners()); err != nil {
		return errors.Join(err, m.store.Close())
	}
	if err := p.Ready(); err != nil {
		return err
	}
	go func() {
		defer stop()
		m.control()
	}()
	<-ctx.Done()
	p.CloseListeners()
	m.mu.Lock()
	m.present.stop()
	m.mu.Unlock()
	m.ended.Wait()
	return m.store.Close()
}

// servePprof serves profiles at the loopback address in DOVETAIL_PPROF.
func servePprof() {
	if addr := os.Getenv("DOVETAIL_PPROF"); addr != "" {
		go http.ListenAndServe(addr, nil) //nolint:errcheck // a diagnostic that does not work is seen not to
	}
}

// open opens what lives as long as the process: the queue and the resolver.
func (m *process) open() error {
	main, err := postfix.Load(m.dir)
	if err != nil {
		return err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return err
	}
	log := m.p.Log.With(tag(core, "qmgr"))
	if m.store, err = queue.Open(filepath.Join(core.QueueDirectory, SegmentsName), &queue.Settings{LongIDs: core.EnableLongQueueIDs}, log); err != nil {
		return err
	}
	if m.dns, err = dns.New(dns.Options{}); err != nil {
		return err
	}
	set, err := postfix.Get[smtpd.Settings](main)
	if err != nil {
		return err
	}
	m.anvil = smtpd.NewAnvil(set.AnvilRateTimeUnit, m.p.Log.With(tag(core, "anvil")))
	go m.reportAnvil(set.AnvilStatusUpdateTime)
	return nil
}

// tag is the program name in log lines: "postfix/smtpd[812]".
func tag(core *postfix.Core, program string) string {
	return fmt.Sprintf("%s/%s[%d]", core.SyslogName, program, os.Getpid())
}

// start begins to serve with the configuration as it is now. Sessions and
// deliveries of the generation before it are finished by that.
func (m *process) start(listeners []*master.Listener) error {
	files := make(Files)
	if len(m.p.Config) > 0 {
		if err := json.Unmarshal(m.p.Config, &files); err != nil {
			return fmt.Errorf("files from the master: %w", err)
		}
	}
	g, err := newGeneration(m, files)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.present
	m.present = g
	m.ended.Go(func() { g.run(listeners) })
	if old != nil {
		old.stop() // its queue manager hands over what it has not begun
	}
	return nil
}

// control reloads until the master is gone.
func (m *process) control() {
	for {
		msg, err := m.p.Control.Receive()
		if err != nil {
			return
		}
		if msg.Kind != "reload" {
			msg.CloseFiles()
			continue
		}
		if err := m.p.Reload(&msg, m.start); err != nil {
			m.p.Log.Errorf("reload failed, the running configuration stays in force: %v", err)
		}
	}
}

// reportAnvil logs the greatest counts of clients now and then.
func (m *process) reportAnvil(every time.Duration) {
	for range time.Tick(every) {
		m.anvil.Report()
	}
}

package mta

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mta/postscreen"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/smtpd"
)

// A process is the running mta.
type process struct {
	p     *master.Process
	ctx   context.Context // ends when the process is to stop
	files *files
	log   func(tag string) *maillog.Logger
	store *queue.Store
	dns   *dns.Resolver
	anvil *smtpd.Anvil

	maildrop sync.Mutex // held while mail is taken out of it

	mu       sync.Mutex
	present  *generation
	screened map[string]*postscreen.Cache // by postscreen_cache_map
	ended    sync.WaitGroup               // generations
}

// Run is the mta process. It serves until its master is gone or tells it to stop.
func Run(p *master.Process) error {
	if err := p.Drop(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	m := &process{p: p, ctx: ctx, files: newFiles(p.Control), log: p.Log.With}
	reloads := make(chan *master.Message, maxReloads)
	go func() {
		defer stop()
		m.control(reloads)
	}()
	if err := m.open(); err != nil {
		return err
	}
	if err := m.takeOver(); errors.Is(err, errStopped) {
		return m.store.Close()
	} else if err != nil {
		return errors.Join(err, m.store.Close())
	}
	if err := m.start(p.Listeners()); err != nil {
		return errors.Join(err, m.store.Close())
	}
	if err := p.Ready(); err != nil {
		return err
	}
	go m.reload(reloads)
	<-ctx.Done()
	p.CloseListeners()
	m.mu.Lock()
	m.present.stop()
	m.mu.Unlock()
	m.ended.Wait()
	return m.store.Close()
}

// open opens what lives as long as the process: the queue and the resolver.
func (m *process) open() error {
	main, err := m.loadMain()
	if err != nil {
		return err
	}
	core, err := postfix.Get[postfix.Core](main)
	if err != nil {
		return err
	}
	log := m.log(tag(core, "qmgr"))
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
	m.anvil = smtpd.NewAnvil(set.AnvilRateTimeUnit, m.log(tag(core, "anvil")))
	go m.anvil.Run(m.ctx)
	m.servePostlog(core)
	return nil
}

// tag is the program name in log lines: "postfix/smtpd[812]".
func tag(core *postfix.Core, program string) string {
	return pidTag(core.SyslogName, program)
}

func pidTag(syslogName, program string) string {
	return fmt.Sprintf("%s/%s[%d]", syslogName, program, os.Getpid())
}

// start begins to serve with the configuration as it is now. Sessions and
// deliveries of the generation before it are finished by that.
func (m *process) start(listeners []*master.Listener) error {
	g, err := newGeneration(m)
	if err != nil {
		return err
	}
	set, err := postfix.Get[smtpd.Settings](g.main)
	if err != nil {
		return err
	}
	m.anvil.Configure(set.AnvilRateTimeUnit, set.AnvilStatusUpdateTime)
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

// maxReloads is how many reloads may wait.
const maxReloads = 8

// control takes the master's messages until it is gone.
func (m *process) control(reloads chan<- *master.Message) {
	defer close(reloads)
	for {
		msg, err := m.p.Control.Receive()
		if err != nil {
			return
		}
		switch msg.Kind {
		case kindOpened:
			m.files.answered(&msg)
		case "reload":
			msg.Body = bytes.Clone(msg.Body) // the next message overwrites it
			reloads <- &msg
		default:
			msg.CloseFiles()
		}
	}
}

// reload puts changed configurations into force. The master says why it did not,
// if it did not.
func (m *process) reload(messages <-chan *master.Message) {
	for msg := range messages {
		m.p.Reload(msg, m.start) //nolint:errcheck // the master is told
	}
}

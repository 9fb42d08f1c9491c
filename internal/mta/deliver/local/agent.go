package local

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/cleanup"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/aliases"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// A Notifier tells the sender of a message about recipients. It is temporary if it
// cannot.
type Notifier interface {
	Failure(ctx context.Context, m *queue.Message, recipients []int) error
	Success(ctx context.Context, m *queue.Message, recipients []int) error
	// FailureTo tells the owner of a list instead.
	FailureTo(ctx context.Context, m *queue.Message, recipients []int, owner string) error
}

// Config is what an agent needs.
type Config struct {
	Main     *postfix.Main // with the overrides of its master.cf entry
	Service  string        // name of that
	Resolver *resolve.Resolver
	Tables   resolve.Opener
	Open     func(path string) (*os.File, error) // opens alias databases to see whose they are
	Cleanup  *cleanup.Cleanup
	Notifier Notifier
	Asuser   *asuser.Client
	// Agent returns the agent of another transport, nil if there is none.
	Agent func(transport string) deliver.Agent
	Log   *maillog.Logger
}

// An Agent delivers to users of this system. It is a [deliver.Agent].
type Agent struct {
	Config
	set  *Settings
	core *postfix.Core

	aliases   []aliasTable
	commands  resolve.Maps // mailbox_command_maps
	mailboxes resolve.Maps // mailbox_transport_maps
	fallbacks resolve.Maps // fallback_transport_maps

	toCommands, toFiles, prepends, propagates map[string]bool
}

// An aliasTable is one of alias_maps.
type aliasTable struct {
	spec string
	maps resolve.Maps
}

var _ deliver.Agent = (*Agent)(nil)

// New returns an agent. An error is one of the configuration.
func New(c Config) (*Agent, error) {
	a := &Agent{Config: c}
	var err error
	if a.set, err = postfix.Get[Settings](c.Main); err != nil {
		return nil, err
	}
	if a.core, err = postfix.Get[postfix.Core](c.Main); err != nil {
		return nil, err
	}
	if err := asuser.Check(c.Main, false); err != nil {
		return nil, err
	}
	if err := a.readWords(); err != nil {
		return nil, err
	}
	return a, a.openTables()
}

func (a *Agent) readWords() error {
	for _, w := range []struct {
		dst          *map[string]bool
		param, value string
		known        []string
	}{
		{&a.toCommands, "allow_mail_to_commands", a.set.AllowCommands, []string{inAlias, inForward, inInclude}},
		{&a.toFiles, "allow_mail_to_files", a.set.AllowFiles, []string{inAlias, inForward, inInclude}},
		{&a.prepends, "prepend_delivered_header", a.set.PrependDelivered, []string{"command", "file", "forward"}},
		{&a.propagates, "propagate_unmatched_extensions", a.set.PropagateExtensions,
			[]string{"canonical", "virtual", inAlias, inForward, inInclude, "generic"}},
	} {
		var err error
		if *w.dst, err = words(w.param, w.value, w.known...); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) openTables() error {
	for _, spec := range postfix.SplitList(a.set.AliasMaps) {
		m, err := a.Tables.OpenMaps("alias_maps", spec)
		if err != nil {
			return fmt.Errorf("alias_maps: %w", err)
		}
		a.aliases = append(a.aliases, aliasTable{spec, m})
	}
	for _, m := range []struct {
		dst          *resolve.Maps
		param, value string
	}{
		{&a.commands, "mailbox_command_maps", a.set.MailboxCommandMaps},
		{&a.mailboxes, "mailbox_transport_maps", a.set.MailboxTransportMaps},
		{&a.fallbacks, "fallback_transport_maps", a.set.FallbackTransportMaps},
	} {
		var err error
		if *m.dst, err = a.Tables.OpenMaps(m.param, m.value); err != nil {
			return fmt.Errorf("%s: %w", m.param, err)
		}
	}
	return nil
}

// Deliver implements [deliver.Agent].
func (a *Agent) Deliver(ctx context.Context, r *deliver.Request, report func(int, deliver.Status)) {
	msg := asuser.NewMessage(r.Content, a.core.QueueDirectory)
	defer msg.Close()
	loops := asuser.DeliveredTo(r.Content)
	for i := range r.Recipients {
		d := &delivery{Agent: a, ctx: ctx, req: r, i: i, content: msg, loops: loops, seen: newSeen(a.set.DuplicateLimit)}
		report(i, d.run())
	}
}

// owner returns whose an alias database is.
func (a *Agent) owner(t *aliasTable) (aliases.Owner, error) { return aliases.OwnerOf(t.spec, a.Open) }

// lookupAlias asks all alias databases.
func (a *Agent) lookupAlias(ctx context.Context, name string) (value string, found bool, err error) {
	for i := range a.aliases {
		if value, found, err = a.aliases[i].maps.Lookup(ctx, name); found || err != nil {
			break
		}
	}
	return value, found, err
}

// seen is a filter of duplicates: it knows what was delivered to already, as far
// as duplicate_filter_limit lets it.
type seen struct {
	limit int
	keys  map[string]struct{}
}

func newSeen(limit int) seen { return seen{limit, make(map[string]struct{})} }

// before reports whether there was a destination already, and remembers it.
func (s *seen) before(kind, what string) bool {
	key := strings.ToLower(kind + " " + what)
	if _, ok := s.keys[key]; ok {
		return true
	}
	if s.limit <= 0 || len(s.keys) < s.limit {
		s.keys[key] = struct{}{}
	}
	return false
}

func (s *seen) has(kind, what string) bool {
	_, ok := s.keys[strings.ToLower(kind+" "+what)]
	return ok
}

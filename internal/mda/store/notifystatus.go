package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/dict"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var _ = dovecot.RegisterPlugin("notify_status", "notify_status_dict", "notify_status_mailbox*", "notify_status_value")

// Below statusKey a dictionary has the status of a user's mailboxes, as statusValue if nothing else is said.
const (
	statusKey   = dict.Private + "status/"
	statusValue = `{"messages":%{messages},"unseen":%{unseen}}`
)

// A notifyStatus is Dovecot's plugin notify_status: after each change by a session a dictionary is told how
// many messages a mailbox has. A nil one tells nothing.
type notifyStatus struct {
	u        *User
	dict     dict.Dict
	value    string
	patterns []string

	mu      sync.Mutex
	pending []string // mailboxes that were changed, or deleted
	running bool
}

// newNotifyStatus returns that of a user; nil if the plugin is not asked for, or not set up.
func newNotifyStatus(u *User) (*notifyStatus, error) {
	if !u.HasPlugin("notify_status") {
		return nil, nil
	}
	if !u.HasPlugin("notify") {
		return nil, errors.New("Can't load plugin notify_status_plugin: Plugin notify must be loaded also (you must set: mail_plugins=$mail_plugins notify)")
	}
	set, err := u.plugin()
	if err != nil {
		return nil, err
	}
	uri, _, err := set.get("notify_status_dict")
	if err != nil || uri == "" {
		return nil, err
	}
	s := &notifyStatus{u: u, value: statusValue}
	// Variables of mailboxes are written with two percent signs in the configuration.
	if value, _, err := set.get("notify_status_value"); err != nil {
		return nil, err
	} else if value != "" {
		s.value = value
	}
	if s.patterns, err = set.numbered("notify_status_mailbox"); err != nil {
		return nil, err
	}
	if s.dict, err = u.openDict(uri); err != nil {
		u.log.Errorf("notify-status: %v", err)
		return nil, nil
	}
	return s, nil
}

func (s *notifyStatus) close() {
	if s != nil {
		s.dict.Close() //nolint:errcheck // every change was waited for
	}
}

// changed has the status of mailboxes written. Changes that come together are written once.
func (s *notifyStatus) changed(names ...string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if s.wants(name) && !slices.Contains(s.pending, name) {
			s.pending = append(s.pending, name)
		}
	}
	if len(s.pending) > 0 && !s.running {
		s.running = true
		s.u.background.Go(s.run)
	}
}

// wants reports whether anybody wants to know about a mailbox.
func (s *notifyStatus) wants(name string) bool {
	if len(s.patterns) == 0 {
		return true
	}
	sep := s.u.namespaces[0].Sep
	return slices.ContainsFunc(s.patterns, func(pattern string) bool {
		g := newGlob(pattern, sep, true)
		return g.match(name)
	})
}

// run writes what is to be written.
func (s *notifyStatus) run() {
	for {
		s.mu.Lock()
		names := s.pending
		s.pending = nil
		s.running = len(names) > 0
		s.mu.Unlock()
		if len(names) == 0 {
			return
		}
		for _, name := range names {
			if err := s.write(context.Background(), name); err != nil {
				s.u.log.Errorf("notify-status: %v", err)
			}
		}
	}
}

// write tells the status of a mailbox, or that it is not there any more.
func (s *notifyStatus) write(ctx context.Context, name string) error {
	tx := dict.Begin(s.dict, s.u.dictUser())
	text, err := s.text(ctx, name)
	switch {
	case errors.Is(err, mailbox.ErrNotExist):
		tx.Unset(statusKey + name)
	case err != nil:
		return fmt.Errorf("mailbox_get_status(%s) failed: %w", name, explain(err))
	default:
		tx.Set(statusKey+name, text)
	}
	if err := tx.Commit(ctx); err != nil && !errors.Is(err, dict.ErrNotFound) {
		return fmt.Errorf("dict_transaction_commit failed: %w", err)
	}
	return nil
}

// text is what the dictionary gets.
func (s *notifyStatus) text(ctx context.Context, name string) (string, error) {
	p, err := s.u.resolve(name)
	if err != nil {
		return "", err
	}
	m, err := s.u.open(ctx, p)
	if err != nil {
		return "", err
	}
	defer m.Close()
	status, err := statusOf(ctx, m, false)
	if err != nil {
		return "", err
	}
	snap, err := m.Sync(ctx)
	if err != nil {
		return "", err
	}
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	return dovecot.ExpandVars(s.value, &dovecot.Vars{Table: []dovecot.Var{
		{Name: "username", Value: inJSON(s.u.info.Username)},
		{Name: "mailbox", Value: inJSON(name)},
		{Name: "messages", Value: number(uint64(status.Messages))},
		{Name: "unseen", Value: number(uint64(status.Unseen))},
		{Name: "recent", Value: number(uint64(status.Recent))},
		{Name: "uidvalidity", Value: number(uint64(status.UIDValidity))},
		{Name: "uidnext", Value: number(uint64(status.UIDNext))},
		{Name: "first_recent_uid", Value: number(uint64(snap.FirstRecent()))},
		{Name: "highest_modseq", Value: number(status.HighestModSeq)},
		{Name: "highest_pvt_modseq", Value: "0"},
	}})
}

// inJSON returns a text as it is within quotes in JSON.
func inJSON(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		return ""
	}
	return strings.Trim(string(b), `"`)
}

// A statusNotifier hears of changes in one mailbox.
type statusNotifier struct {
	s    *notifyStatus
	name string
}

var _ mailbox.Notifier = statusNotifier{}

// Saved implements [mailbox.Notifier].
func (n statusNotifier) Saved(*mailbox.Mailbox, []uint32) { n.s.changed(n.name) }

// Copied implements [mailbox.Notifier].
func (n statusNotifier) Copied(_, _ *mailbox.Mailbox, _ []uint32) { n.s.changed(n.name) }

// Expunging implements [mailbox.Notifier].
func (n statusNotifier) Expunging(*mailbox.Mailbox, []uint32) (done func()) {
	return func() { n.s.changed(n.name) }
}

// Changing implements [mailbox.Notifier]. Other flags than \Seen are no part of the status.
func (n statusNotifier) Changing(m *mailbox.Mailbox, c *mailbox.FlagChange) (done func(refused []uint32)) {
	for _, uid := range c.UIDs {
		was := stateOf(m, uid)
		now := was
		if now.change(c); (was.flags^now.flags)&mailbox.Seen != 0 {
			return func([]uint32) { n.s.changed(n.name) }
		}
	}
	return func([]uint32) {}
}

// notifiers tells several. Each hears of all changes.
type notifiers []mailbox.Notifier

// Saved implements [mailbox.Notifier].
func (all notifiers) Saved(m *mailbox.Mailbox, uids []uint32) {
	for _, n := range all {
		n.Saved(m, uids)
	}
}

// Copied implements [mailbox.Notifier].
func (all notifiers) Copied(src, dst *mailbox.Mailbox, uids []uint32) {
	for _, n := range all {
		n.Copied(src, dst, uids)
	}
}

// Expunging implements [mailbox.Notifier].
func (all notifiers) Expunging(m *mailbox.Mailbox, uids []uint32) (done func()) {
	var each []func()
	for _, n := range all {
		each = append(each, n.Expunging(m, uids))
	}
	return func() {
		for _, done := range each {
			done()
		}
	}
}

// Changing implements [mailbox.Notifier].
func (all notifiers) Changing(m *mailbox.Mailbox, c *mailbox.FlagChange) (done func(refused []uint32)) {
	var each []func([]uint32)
	for _, n := range all {
		each = append(each, n.Changing(m, c))
	}
	return func(refused []uint32) {
		for _, done := range each {
			done(refused)
		}
	}
}

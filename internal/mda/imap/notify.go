package imap

import (
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// maxNotifyNames is how many names a filter of NOTIFY may have, as Dovecot's
// IMAP_NOTIFY_MAX_NAMES_PER_NS.
const maxNotifyNames = 100

// Events of NOTIFY (RFC 5465 5).
type notifyEvents uint8

const (
	notifyMessageNew notifyEvents = 1 << iota
	notifyMessageExpunge
	notifyFlagChange
	notifyAnnotationChange
	notifyMailboxName
	notifySubscriptionChange
	notifyMailboxMetadata
	notifyServerMetadata

	notifyMessages    = notifyMessageNew | notifyMessageExpunge | notifyFlagChange
	notifyUnsupported = notifyAnnotationChange | notifyMailboxMetadata | notifyServerMetadata
)

var notifyEventNames = [...]string{
	"MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange", "MailboxName", "SubscriptionChange",
	"MailboxMetadataChange", "ServerMetadataChange",
}

// A notifyScope says what mailboxes a filter means.
type notifyScope uint8

const (
	notifyPersonal   notifyScope = iota // and INBOXES: any mailbox may get mail
	notifySubscribed                    // those subscribed to, at any time
	notifySubtree                       // names and what is below
	notifyMailboxes                     // names
	notifyChildren                      // names and the mailboxes directly below: ESEARCH (RFC 7377)
)

// A notifyFilter has events of some mailboxes told.
type notifyFilter struct {
	scope  notifyScope
	names  []string
	events notifyEvents
}

// A notifySet is what a client wants to be told without asking, since NOTIFY.
type notifySet struct {
	selected   bool         // of the selected mailbox, too, as soon as it happens
	immediate  bool         // SELECTED, not SELECTED-DELAYED: expunges, too
	inSelected notifyEvents // of the selected mailbox
	fetch      *program     // what to tell of its new messages, or nil
	filters    []notifyFilter
	status     bool // STATUS of all mailboxes is told at once

	told    *selected // the mailbox whose changes wake the session, or nil
	untell  func()
	mailbox *notifyBoxes // nil without filters
}

// notify is NOTIFY (RFC 5465).
func (c *command) notify() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	n := &notifySet{}
	switch {
	case len(args) == 0:
		return errNotify
	case args[0].Is("NONE"): // Dovecot ignores what follows
	case args[0].Is("SET"):
		if err := c.parseNotify(n, args.Rest()); err != nil {
			return err
		}
	default:
		return errNotify
	}
	if err := n.check(); err != nil {
		return err
	}
	if len(n.filters) > 0 {
		if n.mailbox, err = c.watchMailboxes(n); err != nil {
			return err
		}
	}
	c.notified.stop()
	c.notified = n
	if n.status && n.mailbox != nil {
		return c.tellAllStatus()
	}
	return nil
}

var errNotify = bad("Invalid arguments.")

// parseNotify reads what follows NOTIFY SET.
func (c *command) parseNotify(n *notifySet, args imapwire.Args) error {
	if len(args) > 0 && args[0].Is("STATUS") {
		n.status = true
		args = args.Rest()
	}
	for ; len(args) > 0; args = args.Rest() {
		if args[0].Kind != imapwire.List {
			return errNotify
		}
		if err := c.parseNotifyGroup(n, args.List()); err != nil {
			return err
		}
	}
	return nil
}

// parseNotifyGroup reads one group of events: mailboxes and what to tell of them.
func (c *command) parseNotifyGroup(n *notifySet, group imapwire.Args) error {
	if len(group) == 0 || group[0].Kind != imapwire.Atom {
		return errNotify
	}
	filter, rest := notifyFilter{}, group.Rest()
	switch scope := strings.ToUpper(string(group[0].Data)); scope {
	case "SELECTED", "SELECTED-DELAYED":
		if n.selected {
			return bad("Duplicate selected filter")
		}
		n.selected, n.immediate = true, scope == "SELECTED"
		return n.parseSelected(rest)
	case "INBOXES", "PERSONAL":
		filter.scope = notifyPersonal
	case "SUBSCRIBED":
		filter.scope = notifySubscribed
	case "SUBTREE", "MAILBOXES":
		filter.scope = notifyMailboxes
		if scope == "SUBTREE" {
			filter.scope = notifySubtree
		}
		var err error
		if filter.names, err = c.notifyNames(rest); err != nil {
			return err
		}
		rest = rest.Rest()
	default:
		return errNotify
	}
	if len(rest) > 0 && rest[0].Is("NONE") {
		return nil
	}
	if len(rest) == 0 || rest[0].Kind != imapwire.List || len(rest.List()) == 0 {
		return errNotify
	}
	for list := rest.List(); len(list) > 0; list = list.Rest() {
		event := parseNotifyEvent(list[0])
		if event == 0 {
			return errNotify
		}
		filter.events |= event
	}
	n.add(filter)
	return nil
}

// notifyNames reads one mailbox name or a list of them.
func (c *command) notifyNames(args imapwire.Args) (names []string, err error) {
	if len(args) == 0 {
		return nil, errNotify
	}
	list := args[:1]
	if args[0].Kind == imapwire.List {
		list = args.List()
	}
	if len(list) == 0 {
		return nil, errNotify
	}
	for ; len(list) > 0; list = list.Rest() {
		raw, ok := list[0].AString()
		if !ok {
			return nil, errNotify
		}
		name, err := c.wireName(raw)
		if err != nil {
			name = string(raw) // there is no such mailbox
		}
		names = append(names, canonicalName(name))
	}
	return names, nil
}

// canonicalName returns the name as mailboxes are listed, whose INBOX is in capital letters.
func canonicalName(name string) string {
	if len(name) >= 5 && strings.EqualFold(name[:5], "INBOX") && (len(name) == 5 || name[5] == '/' || name[5] == '.') {
		return "INBOX" + name[5:]
	}
	return name
}

func parseNotifyEvent(arg imapwire.Arg) notifyEvents {
	for i, name := range notifyEventNames {
		if arg.Kind == imapwire.Atom && imapwire.EqualFold(arg.Data, strings.ToUpper(name)) {
			return 1 << i
		}
	}
	return 0
}

// parseSelected reads the events of the selected mailbox: NONE or a list, in which MessageNew may be
// followed by what FETCH is to tell of new messages.
func (n *notifySet) parseSelected(args imapwire.Args) error {
	if len(args) == 0 || len(args.Rest()) > 0 {
		return errNotify
	}
	if args[0].Is("NONE") {
		return nil
	}
	if args[0].Kind != imapwire.List || len(args.List()) == 0 {
		return errNotify
	}
	for list := args.List(); len(list) > 0; list = list.Rest() {
		event := parseNotifyEvent(list[0])
		if event == 0 {
			return errNotify
		}
		n.inSelected |= event
		if rest := list.Rest(); event == notifyMessageNew && len(rest) > 0 && rest[0].Kind == imapwire.List {
			if len(rest.List()) == 0 {
				return errNotify
			}
			n.fetch = &program{}
			if err := n.fetch.list(rest.List()); err != nil {
				return bad("Invalid fetch-att list: " + err.Error())
			}
			list = rest
		}
	}
	switch n.inSelected & (notifyMessageNew | notifyMessageExpunge) {
	case notifyMessageNew, notifyMessageExpunge: // RFC 5465 5.1, 5.2
		return bad("MessageNew and MessageExpunge must be together")
	case 0:
		if n.inSelected&(notifyFlagChange|notifyAnnotationChange) != 0 { // RFC 5465 5.3
			return bad("FlagChange requires MessageNew and MessageExpunge")
		}
	}
	return nil
}

// add adds a filter. Names of the same events are put together.
func (n *notifySet) add(filter notifyFilter) {
	for i := range n.filters {
		f := &n.filters[i]
		if f.scope != filter.scope || f.events != filter.events {
			continue
		}
		for _, name := range filter.names {
			if !slices.Contains(f.names, name) {
				f.names = append(f.names, name)
			}
		}
		return
	}
	n.filters = append(n.filters, filter)
}

// events returns all events that are asked for.
func (n *notifySet) events() notifyEvents {
	all := n.inSelected
	for i := range n.filters {
		all |= n.filters[i].events
	}
	return all
}

// check refuses what the server does not do.
func (n *notifySet) check() error {
	if unsupported := n.events() & notifyUnsupported; unsupported != 0 {
		code := "[BADEVENT"
		for i, name := range notifyEventNames {
			if unsupported&(1<<i) != 0 {
				code += " " + name
			}
		}
		return &reply{cond: condNo, code: code + "] ", text: "Unsupported NOTIFY events."}
	}
	for i := range n.filters {
		if len(n.filters[i].names) > maxNotifyNames {
			return notifyOverflow("Too many mailbox names")
		}
	}
	return nil
}

// notifyOverflow refuses to watch that much (RFC 5465 5.8).
func notifyOverflow(text string) error {
	return &reply{cond: condNo, code: "[NOTIFICATIONOVERFLOW] ", text: text}
}

// matches reports whether the filter means a mailbox.
func (f *notifyFilter) matches(name string, ns *store.Namespace, subscribed bool) bool {
	switch f.scope {
	case notifyPersonal:
		return ns.Type == store.Private
	case notifySubscribed:
		return subscribed
	case notifyMailboxes:
		return slices.Contains(f.names, name)
	case notifyChildren:
		return slices.Contains(f.names, name) || slices.ContainsFunc(f.names, func(top string) bool { return isBelow(name, top, ns.Sep) })
	}
	return slices.ContainsFunc(f.names, func(top string) bool {
		rest, ok := strings.CutPrefix(name, top)
		return ok && (rest == "" || top == "" || rest[0] == ns.Sep)
	})
}

// stop ends notifications. n may be nil.
func (n *notifySet) stop() {
	if n == nil {
		return
	}
	if n.untell != nil {
		n.untell()
	}
	if n.mailbox != nil {
		n.mailbox.watch.Close()
	}
}

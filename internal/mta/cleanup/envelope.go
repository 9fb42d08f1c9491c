package cleanup

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
)

// envelope brings the addresses of env into standard form, maps and expands them, and
// adds the recipients that get copies.
func (m *Message) envelope(ctx context.Context, env *queue.Envelope) error {
	if len(env.Recipients) == 0 {
		return fmt.Errorf("%s: %w", m.id, errNoRecipients)
	}
	if env.Arrival.IsZero() {
		env.Arrival = m.arrival
	}
	if env.RewriteContext == "" {
		env.RewriteContext = "remote"
		if m.origin.Local {
			env.RewriteContext = "local"
		}
	}
	m.origin.Sender = env.Sender
	env.Sender = m.senderAddress()
	m.noteUTF8(env.Sender)
	if m.c.plain || m.origin.Unmapped {
		m.plainRecipients(ctx, env)
	} else {
		m.recipients(ctx, env)
	}
	if m.encoding != "" {
		env.Encoding = m.encoding
	}
	env.SMTPUTF8 = env.SMTPUTF8 || m.utf8
	m.contentEnvelope(env)
	if env.Redirect != "" {
		m.redirect(ctx, env)
	}
	return nil
}

// contentEnvelope sets what actions on the content ask for.
func (m *Message) contentEnvelope(env *queue.Envelope) {
	f := m.filter
	if f == nil {
		return
	}
	if f.transport != "" {
		env.Filter = f.transport
	}
	if f.redirect != "" {
		env.Redirect = f.redirect
	}
	env.Hold = env.Hold || f.hold
}

// redirect replaces all recipients: as with Postfix it is the first by domain and address
// whose original address and DSN parameters the new one has.
func (m *Message) redirect(ctx context.Context, env *queue.Envelope) {
	one := slices.MinFunc(env.Recipients, func(a, b queue.Recipient) int {
		return cmp.Or(strings.Compare(domainOf(a.Address), domainOf(b.Address)), strings.Compare(a.Address, b.Address))
	})
	one.Address = m.c.res.Rewrite(ctx, "local", env.Redirect)
	env.Recipients = append(env.Recipients[:0], one)
}

func domainOf(addr string) string { return strings.ToLower(addr[strings.LastIndexByte(addr, '@')+1:]) }

// noteUTF8 finds out that a message needs SMTPUTF8, where that is not left to its
// client to say.
func (m *Message) noteUTF8(addr string) {
	if m.autoUTF8 && !isASCII(addr) && utf8.ValidString(addr) {
		m.utf8 = true
	}
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// plainRecipients is recipients without any table.
func (m *Message) plainRecipients(ctx context.Context, env *queue.Envelope) {
	for i := range env.Recipients {
		r := &env.Recipients[i]
		submitted := r.Original == ""
		if submitted {
			r.Original = r.Address
		}
		if r.Address == "" {
			r.Address = m.c.set.EmptyRecipient
		}
		r.Address = m.c.res.Rewrite(ctx, "local", r.Address)
		m.noteUTF8(r.Address)
		m.nameOriginal(r, submitted, env.SMTPUTF8)
	}
	extra := m.contentBCC()
	if len(env.Recipients) < 2 && len(extra) == 0 {
		return
	}
	l := m.newRecipientList(env)
	for i := range env.Recipients {
		l.add(env.Recipients[i])
	}
	for _, addr := range extra {
		m.bcc(ctx, l, addr)
	}
	env.Recipients = l.all
}

// recipients brings recipients into the queue in Postfix's order: the copies that the
// sender asks for, each recipient with the copies that it asks for, then those of all mail.
func (m *Message) recipients(ctx context.Context, env *queue.Envelope) {
	c := m.c
	copies := !m.origin.Internal
	l := m.newRecipientList(env)
	if copies && env.Sender != "" {
		m.copyTo(ctx, l, "sender_bcc_maps", c.senderBCC, env.Sender)
	}
	for _, r := range env.Recipients {
		if m.dropped {
			return // a table failed: nothing is looked up any more
		}
		submitted := r.Original == ""
		if submitted {
			r.Original = r.Address
		}
		r.Address = m.recipientAddress(ctx, r.Address)
		m.noteUTF8(r.Address)
		m.nameOriginal(&r, submitted, env.SMTPUTF8)
		m.expand(l, r)
		if copies {
			m.copyTo(ctx, l, "recipient_bcc_maps", c.recipientBCC, r.Address)
		}
	}
	if m.dropped {
		return
	}
	if copies && c.set.AlwaysBCC != "" {
		m.bcc(ctx, l, c.set.AlwaysBCC)
	}
	for _, addr := range m.contentBCC() {
		m.bcc(ctx, l, addr)
	}
	env.Recipients = l.all
}

// nameOriginal gives a recipient the ORCPT that reports and next hops see, if it has none. For
// local submissions it is the complete address before aliases. For what came by SMTP it is
// the original address, and queued only where nothing else tells the recipient from a copy.
func (m *Message) nameOriginal(r *queue.Recipient, submitted, utf8 bool) {
	switch {
	case r.DSNOrcpt != "" || r.Address == "":
	case submitted && (utf8 || m.utf8) && !isASCII(r.Address):
		r.DSNOrcpt = "utf-8;" + r.Address
	case submitted:
		r.DSNOrcpt = "rfc822;" + r.Address
	case r.Notify == queue.NotifyNever:
		r.DSNOrcpt = "rfc822;" + rfc822.Quote(r.Original)
	}
}

// contentBCC are the recipients that the content asks for.
func (m *Message) contentBCC() []string {
	if m.filter == nil {
		return nil
	}
	return m.filter.bcc
}

// copyTo adds the recipient that a table of copies has for an address.
func (m *Message) copyTo(ctx context.Context, l *recipientList, param string, maps resolve.Maps, addr string) {
	value, _, found, err := m.c.res.Find(ctx, maps, addr, resolve.FindDefault)
	if err != nil {
		m.lookupFailed(param, "")
		return
	}
	if found {
		m.bcc(ctx, l, value)
	}
}

// bcc adds a recipient of a copy, of whom the sender learns nothing.
func (m *Message) bcc(ctx context.Context, l *recipientList, addr string) {
	addr = m.recipientAddress(ctx, addr)
	m.noteUTF8(addr)
	l.copies = true
	m.expand(l, queue.Recipient{Address: addr, Original: addr, Notify: queue.NotifyNever})
	l.copies = false
}

// expand adds what virtual_alias_maps make of a recipient.
func (m *Message) expand(l *recipientList, r queue.Recipient) {
	if m.c.aliasMaps.Empty() || m.origin.Unmapped {
		l.add(r)
		return
	}
	addrs := m.aliases(r.Address)
	if r.Notify&queue.NotifySuccess != 0 && (len(addrs) > 1 || addrs[0] != r.Address) {
		r.Notify = l.expanded(r)
	}
	for _, addr := range addrs {
		r.Address = addr
		l.add(r)
	}
}

// expanded adds the alias, for the report that the sender asked for: it tells of
// the alias, and not of its members. It returns the NOTIFY of those (RFC 3461
// 5.2.7.3).
func (l *recipientList) expanded(r queue.Recipient) uint8 {
	r.Expanded = true
	l.all = append(l.all, r)
	if r.Notify == queue.NotifySuccess {
		return queue.NotifyNever
	}
	return r.Notify &^ queue.NotifySuccess
}

// A recipientList is one without duplicates. With enable_original_recipient the same
// address counts once for each address it comes from.
type recipientList struct {
	all      []queue.Recipient
	original bool
	limit    int  // of keys
	copies   bool // what is added are copies, which no recipient of the client's duplicates
	keys     map[string]struct{}
}

func (m *Message) newRecipientList(env *queue.Envelope) *recipientList {
	set := &m.c.set
	return &recipientList{
		all: make([]queue.Recipient, 0, len(env.Recipients)), original: set.OriginalRecipient, limit: set.DuplicateFilterLimit,
		keys: make(map[string]struct{}, len(env.Recipients)),
	}
}

// add adds a recipient that is not there. Very many are not remembered.
func (l *recipientList) add(r queue.Recipient) {
	key := l.key(&r)
	if _, dup := l.keys[key]; dup {
		return
	}
	if l.limit <= 0 || len(l.keys) < l.limit {
		l.keys[key] = struct{}{}
	}
	l.all = append(l.all, r)
}

func (l *recipientList) key(r *queue.Recipient) string {
	if !l.original {
		return strings.ToLower(r.Address)
	}
	orcpt := r.DSNOrcpt
	if orcpt == "" && !l.copies {
		orcpt = "rfc822;" + r.Original
	}
	return strings.ToLower(orcpt + "\n" + string('0'+rune(r.Notify)) + "\n" + r.Original + "\n" + r.Address)
}

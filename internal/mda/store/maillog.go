package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// mailLogSettings are those of Dovecot's plugin mail_log.
type mailLogSettings struct {
	Events     string `set:"plugin/mail_log_events" default:"delete undelete expunge save copy mailbox_delete mailbox_rename" doc:"what users do that the mail_log plugin logs; also mailbox_create, flag_change"`
	Fields     string `set:"plugin/mail_log_fields" default:"uid box msgid size" doc:"what it says of messages: uid box msgid size vsize from subject flags"`
	CachedOnly bool   `set:"plugin/mail_log_cached_only" default:"no" doc:"say of messages that are not new only what is cached"`
}

var (
	_ = dovecot.Register("mail", mailLogSettings{})
	_ = dovecot.RegisterPlugin("notify")
	_ = dovecot.RegisterPlugin("mail_log", "mail_log_events", "mail_log_fields", "mail_log_cached_only")
)

// logEvent is a set of what is logged.
type logEvent uint16

const (
	logDelete logEvent = 1 << iota
	logUndelete
	logExpunge
	logSave
	logCopy
	logCreate
	logDeleteBox
	logRename
	logFlagChange
)

var logEvents = map[string]logEvent{
	"delete": logDelete, "undelete": logUndelete, "expunge": logExpunge, "save": logSave, "append": logSave, "copy": logCopy,
	"mailbox_create": logCreate, "mailbox_delete": logDeleteBox, "mailbox_rename": logRename, "flag_change": logFlagChange,
}

// logField is a set of what is said of a message.
type logField uint8

const (
	logUID logField = 1 << iota
	logBox
	logMsgID
	logSize
	logVSize
	logFlags
	logFrom
	logSubject
)

var logFields = map[string]logField{
	"uid": logUID, "box": logBox, "msgid": logMsgID, "size": logSize, "vsize": logVSize, "flags": logFlags, "from": logFrom, "subject": logSubject,
}

// A mailLog is Dovecot's plugin mail_log: it writes a line about each change of a user's
// messages and mailboxes. A nil one writes nothing.
type mailLog struct {
	log        *maillog.Logger
	events     logEvent
	fields     logField
	cachedOnly bool
}

var _ mailbox.Notifier = (*mailLog)(nil)

// newMailLog returns that of a user; nil if the plugin is not asked for.
func newMailLog(u *User) (*mailLog, error) {
	if !strings.Contains(u.set.Plugins, "mail_log") {
		return nil, nil
	}
	switch plugins := strings.Fields(u.set.Plugins); {
	case !slices.Contains(plugins, "mail_log"):
		return nil, nil
	case !slices.Contains(plugins, "notify"):
		return nil, fmt.Errorf("Can't load plugin mail_log_plugin: Plugin notify must be loaded also (you must set: mail_plugins=$mail_plugins notify)")
	}
	set, err := dovecot.Get[mailLogSettings](u.cfg, dovecot.Filter{Service: u.info.Service, Local: u.info.Local, Remote: u.info.Remote})
	if err != nil {
		return nil, err
	}
	for name, value := range map[string]*string{"mail_log_events": &set.Events, "mail_log_fields": &set.Fields} {
		if v, ok := u.info.Fields[name]; ok {
			*value = v
		}
	}
	l := &mailLog{log: u.log, cachedOnly: set.CachedOnly}
	if l.events, err = wordSet(logEvents, "event", "mail_log_events", set.Events); err != nil {
		return nil, err
	}
	l.fields, err = wordSet(logFields, "field", "mail_log_fields", set.Fields)
	return l, err
}

// wordSet adds up what words stand for.
func wordSet[T ~uint8 | ~uint16](known map[string]T, what, setting, words string) (set T, err error) {
	for _, word := range strings.FieldsFunc(words, func(c rune) bool { return c == ' ' || c == ',' }) {
		bit, ok := known[word]
		if !ok {
			return 0, fmt.Errorf("Unknown %s in %s: '%s'", what, setting, word)
		}
		set |= bit
	}
	return set, nil
}

func (l *mailLog) created(name string) { l.mailbox(logCreate, "Mailbox created: ", name) }
func (l *mailLog) deleted(name string) { l.mailbox(logDeleteBox, "Mailbox deleted: ", name) }
func (l *mailLog) renamed(a, b string) { l.mailbox(logRename, "Mailbox renamed: ", a, b) }

// mailbox logs an event of mailboxes.
func (l *mailLog) mailbox(event logEvent, text string, names ...string) {
	if l == nil || l.events&event == 0 {
		return
	}
	for i, name := range names {
		names[i] = sanitized(name, maxLoggedName)
	}
	l.log.Infof("%s%s", text, strings.Join(names, " -> "))
}

// Saved logs new messages.
func (l *mailLog) Saved(m *mailbox.Mailbox, uids []uint32) { l.news(logSave, "save", m, uids) }

// Copied logs copies.
func (l *mailLog) Copied(src, dst *mailbox.Mailbox, uids []uint32) {
	l.news(logCopy, "copy from "+sanitized(src.Location().Name, maxLoggedName), dst, uids)
}

// notifier returns what hears of changes in a mailbox that was opened for a purpose; nil for nothing.
func (u *User) notifier(name string, why purpose) mailbox.Notifier {
	switch {
	case u.mailLog == nil && u.told == nil:
		return nil
	case u.told == nil:
		return u.mailLog.notifier(why)
	case u.mailLog == nil:
		return statusNotifier{u.told, name}
	}
	return notifiers{u.mailLog.notifier(why), statusNotifier{u.told, name}}
}

func (l *mailLog) notifier(why purpose) mailbox.Notifier {
	if why == toExpire {
		return autoexpungeLog{l}
	}
	return l
}

// An autoexpungeLog is a mailLog of what autoexpunge does.
type autoexpungeLog struct{ *mailLog }

// Expunging is that of mailLog.
func (l autoexpungeLog) Expunging(m *mailbox.Mailbox, uids []uint32) (done func()) {
	return l.expunging("autoexpunge", m, uids)
}

// Expunging makes the lines while the messages are there.
func (l *mailLog) Expunging(m *mailbox.Mailbox, uids []uint32) (done func()) {
	return l.expunging("expunge", m, uids)
}

func (l *mailLog) expunging(event string, m *mailbox.Mailbox, uids []uint32) (done func()) {
	var lines []string
	if l.events&logExpunge != 0 {
		for _, uid := range uids {
			if msg, err := m.Message(uid); err == nil {
				lines = append(lines, l.line(event, m, msg, l.cachedOnly, stateOf(m, uid)))
			}
		}
	}
	return func() { l.write(lines) }
}

// Changing makes the lines of what the change will do to each message: one about its system
// flags and one about its keywords.
func (l *mailLog) Changing(m *mailbox.Mailbox, c *mailbox.FlagChange) (done func(refused []uint32)) {
	if l.events&(logDelete|logUndelete|logFlagChange) == 0 {
		return func([]uint32) {}
	}
	lines := make(map[uint32][]string, len(c.UIDs))
	for _, uid := range c.UIDs {
		if msg, err := m.Message(uid); err == nil {
			lines[uid] = l.changes(m, msg, c)
		}
	}
	uids := slices.Clone(c.UIDs)
	return func(refused []uint32) {
		for _, uid := range uids {
			if !slices.Contains(refused, uid) {
				l.write(lines[uid])
			}
		}
	}
}

func (l *mailLog) changes(m *mailbox.Mailbox, msg *mailbox.Message, c *mailbox.FlagChange) (lines []string) {
	was := stateOf(m, msg.UID())
	now := was
	now.change(c)
	if was.flags != now.flags {
		event, desc := logFlagChange, "flag_change"
		switch {
		case now.flags&^was.flags&mailbox.Deleted != 0:
			event, desc = logDelete, "delete"
		case was.flags&^now.flags&mailbox.Deleted != 0:
			event, desc = logUndelete, "undelete"
		}
		if l.events&event != 0 {
			between := now
			between.keywords = was.keywords
			lines = append(lines, l.line(desc, m, msg, l.cachedOnly, between))
		}
	}
	if l.events&logFlagChange != 0 && !slices.Equal(was.keywords, now.keywords) {
		lines = append(lines, l.line("flag_change", m, msg, l.cachedOnly, now))
	}
	return lines
}

package imap

import (
	"errors"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A state is what a session must be in for a command (RFC 3501 3).
type state uint8

const (
	authenticated state = iota // always so after login
	selectedState              // a mailbox is selected
)

// A syncMode says what the client may be told before a command's tagged reply.
type syncMode uint8

const (
	syncNone      syncMode = iota
	syncFull               // everything
	syncNoExpunge          // no EXPUNGE: sequence numbers stay as they are
	syncNoNewMail          // flags only if there are new messages: imap_client_workarounds=delay-newmail
)

// An entry is one command of the command table.
type entry struct {
	name  string
	state state
	sync  syncMode
	done  string // text of the tagged OK
	run   func(*command) error
}

// commands is the command table; Dovecot's is in imap-commands.c.
var commands = []entry{
	{"APPEND", authenticated, syncFull, "Append completed.", (*command).append},
	{"CANCELUPDATE", selectedState, syncNone, "Updates cancelled.", (*command).cancelUpdate},
	{"CAPABILITY", authenticated, syncNone, "Capability completed.", (*command).capability},
	{"CHECK", selectedState, syncFull, "Check completed.", (*command).noop},
	{"CLOSE", selectedState, syncNone, "Close completed.", (*command).close},
	{"COMPRESS", authenticated, syncNone, "Begin compression.", (*command).compress},
	{"COPY", selectedState, syncFull, "Copy completed.", (*command).copy},
	{"CREATE", authenticated, syncNone, "Create completed.", (*command).create},
	{"DELETE", authenticated, syncNone, "Delete completed.", (*command).delete},
	{"DELETEACL", authenticated, syncNone, "Deleteacl complete.", (*command).deleteACL},
	{"ENABLE", authenticated, syncNone, "Enabled.", (*command).enable},
	{"ESEARCH", authenticated, syncNoExpunge, "Search completed.", (*command).esearch},
	{"EXAMINE", authenticated, syncNone, "Examine completed.", (*command).selectBox},
	{"EXPUNGE", selectedState, syncFull, "Expunge completed.", (*command).expunge},
	{"FETCH", selectedState, syncNoExpunge, "Fetch completed.", (*command).fetch},
	{"GENURLAUTH", authenticated, syncNone, "GENURLAUTH completed.", (*command).genURLAuth},
	{"GETACL", authenticated, syncNone, "Getacl completed.", (*command).getACL},
	{"GETMETADATA", authenticated, syncNone, "Getmetadata completed.", (*command).getMetadata},
	{"GETQUOTA", authenticated, syncNone, "Getquota completed.", (*command).getQuota},
	{"GETQUOTAROOT", authenticated, syncNone, "Getquotaroot completed.", (*command).getQuotaRoot},
	{"ID", authenticated, syncNone, "ID completed.", (*command).id},
	{"IDLE", authenticated, syncNone, "Idle completed.", (*command).idle},
	{"LIST", authenticated, syncNone, "List completed.", (*command).list},
	{"LISTRIGHTS", authenticated, syncNone, "Listrights completed.", (*command).listRights},
	{"LOGOUT", authenticated, syncNone, "Logout completed.", (*command).logoutCmd},
	{"LSUB", authenticated, syncNone, "Lsub completed.", (*command).list},
	{"MOVE", selectedState, syncFull, "Move completed.", (*command).move},
	{"MYRIGHTS", authenticated, syncNone, "Myrights completed.", (*command).myRights},
	{"NAMESPACE", authenticated, syncNone, "Namespace completed.", (*command).namespace},
	{"NOOP", authenticated, syncFull, "NOOP completed.", (*command).noop},
	{"NOTIFY", authenticated, syncFull, "NOTIFY completed.", (*command).notify},
	{"RENAME", authenticated, syncNone, "Rename completed.", (*command).rename},
	{"REPLACE", selectedState, syncFull, "Replace completed.", (*command).replace},
	{"RESETKEY", authenticated, syncNone, "Key removed.", (*command).resetKey},
	{"SEARCH", selectedState, syncNoExpunge, "Search completed.", (*command).search},
	{"SELECT", authenticated, syncNone, "Select completed.", (*command).selectBox},
	{"SETACL", authenticated, syncNone, "Setacl complete.", (*command).setACL},
	{"SETMETADATA", authenticated, syncNone, "Setmetadata completed.", (*command).setMetadata},
	{"SETQUOTA", authenticated, syncNone, "Setquota completed.", (*command).setQuota},
	{"SORT", selectedState, syncNoExpunge, "Sort completed.", (*command).sort},
	{"STATUS", authenticated, syncNone, "Status completed.", (*command).status},
	{"STORE", selectedState, syncNoExpunge, "Store completed.", (*command).store},
	{"SUBSCRIBE", authenticated, syncNone, "Subscribe completed.", (*command).subscribe},
	{"THREAD", selectedState, syncNoExpunge, "Thread completed.", (*command).thread},
	{"UID COPY", selectedState, syncFull, "Copy completed.", (*command).copy},
	{"UID EXPUNGE", selectedState, syncFull, "Expunge completed.", (*command).uidExpunge},
	{"UID FETCH", selectedState, syncFull, "Fetch completed.", (*command).fetch},
	{"UID MOVE", selectedState, syncFull, "Move completed.", (*command).move},
	{"UID REPLACE", selectedState, syncFull, "Replace completed.", (*command).replace},
	{"UID SEARCH", selectedState, syncFull, "Search completed.", (*command).search},
	{"UID SORT", selectedState, syncFull, "Sort completed.", (*command).sort},
	{"UID STORE", selectedState, syncFull, "Store completed.", (*command).store},
	{"UID THREAD", selectedState, syncFull, "Thread completed.", (*command).thread},
	{"UNSELECT", selectedState, syncNone, "Unselect completed.", (*command).unselectCmd},
	{"UNSUBSCRIBE", authenticated, syncNone, "Unsubscribe completed.", (*command).unsubscribe},
	{"URLFETCH", authenticated, syncNone, "URLFETCH completed.", (*command).urlFetch},
}

var commandByName map[string]*entry

func init() {
	commandByName = make(map[string]*entry, len(commands))
	for i := range commands {
		commandByName[commands[i].name] = &commands[i]
	}
}

// A command is one command being run.
type command struct {
	*session
	*entry
	tag      string
	uid      bool // one of the UID commands
	started  time.Time
	blocked  time.Duration         // of the session, when the command began
	in, out  int64                 // likewise
	progress func(b []byte) []byte // for the log when the client goes away; may be nil

	// What the handler answers with.
	code    string             // response code with brackets and a blank, "[READ-ONLY] "
	text    string             // instead of entry.done
	noReply bool               // answered already, or later
	expect  *flagsExpected     // flag changes the client knows of
	scores  map[uint32]float64 // how well the messages match that a search has found
}

// command reads and runs the next command. It returns an error of the
// connection.
func (s *session) command() error {
	err := s.dec.Command()
	c := command{session: s, tag: string(s.dec.Tag()), started: time.Now(), blocked: s.conn.blocked, in: s.conn.in, out: s.conn.out}
	if err != nil {
		return c.invalid(err, " command")
	}
	s.lastName = commandName(s.lastName, s.dec.Name())
	c.entry = commandByName[string(s.dec.Name())]
	if c.entry == nil {
		return c.invalid(errUnknownCommand, "")
	}
	c.uid = len(c.name) > 4 && c.name[:4] == "UID "
	s.running = &c
	if err = c.execute(); err != nil {
		s.disconnected(err)
	}
	s.running = nil
	s.lastDone = time.Now()
	return nil
}

// commandName returns name as a string, without allocation if it is last.
func commandName(last string, name []byte) string {
	if string(name) == last {
		return last
	}
	if e := commandByName[string(name)]; e != nil {
		return e.name
	}
	return string(name)
}

// execute runs the handler and writes the tagged reply.
func (c *command) execute() error {
	var err error
	if c.state == selectedState && c.box == nil {
		err = errNotSelected
	} else if c.isUIDOnly() && c.usesNumbers() {
		err = errUIDRequired
	} else {
		err = c.run(c)
	}
	if c.ended != nil || c.bye != "" && !c.noReply {
		return c.ended
	}
	if bad := (*imapwire.Error)(nil); errors.As(err, &bad) {
		return c.invalid(bad, "")
	}
	if end := c.dec.EndLine(); end != nil {
		return c.fault(end)
	}
	if err != nil {
		return c.failed(err)
	}
	c.bad = 0
	if c.noReply {
		return c.ended
	}
	if c.sync != syncNone && c.box != nil {
		if err := c.syncBox(c.syncMode(), c.expect); err != nil || c.bye != "" {
			return err
		}
		if c.code == "" {
			c.code = c.highestModSeq()
		} else if err := c.tellHighestModSeq(); err != nil {
			return err
		}
	}
	text := c.text
	if text == "" {
		text = c.done
	}
	return c.tagged("OK ", c.code, text)
}

// syncMode returns what the client is told. With delay-newmail it gets to know of
// new messages only by commands that ask for them.
func (c *command) syncMode() syncMode {
	if c.notified != nil && c.notified.immediate {
		return syncFull
	}
	if c.workarounds&workaroundDelayNewmail == 0 {
		return c.sync
	}
	switch c.name {
	case "NOOP", "CHECK", "APPEND", "EXPUNGE", "UID EXPUNGE", "MOVE", "UID MOVE":
		return c.sync
	}
	return syncNoNewMail
}

// fault returns an error of the connection, or answers a mistake found while
// skipping the rest of a command.
func (c *command) fault(err error) error {
	if c.ended != nil {
		return c.ended
	}
	return err
}

// invalid answers a command that is not one, in Dovecot's words, and skips it.
// what names the part that is wrong where the command's name is not known.
func (c *command) invalid(err error, what string) error {
	bad, ok := err.(*imapwire.Error)
	if !ok {
		return err
	}
	if bad.Fatal {
		c.byebye(bad.Text, bad.Text)
		return c.ended
	}
	if err := c.dec.EndLine(); err != nil {
		return c.fault(err)
	}
	code := "Error in IMAP command " + string(c.dec.Name()) + ": "
	switch {
	case bad == imapwire.ErrTag:
		code = "Error in IMAP tag: "
	case what != "":
		code = "Error in IMAP command: "
	}
	c.tagged("BAD ", code, bad.Text)
	return c.countBad()
}

// countBad ends the session after too many invalid commands.
func (c *command) countBad() error {
	if c.session.bad++; c.session.bad >= maxBadCommands {
		c.byebye("Too many invalid IMAP commands.", "Too many invalid IMAP commands.")
	}
	return c.ended
}

// failed answers a command that could not be done.
func (c *command) failed(err error) error {
	var r *reply
	var se *store.Error
	switch {
	case errors.As(err, &r):
		c.tagged(r.cond, r.code, r.text)
	case errors.As(err, &se):
		if se.Err != nil && se.Code == store.CodeServerBug {
			c.log.Errorf("%v", se.Err)
		}
		c.tagged("NO ", bracket(se.Code), se.Text)
	case errors.Is(err, mailbox.ErrNoSpace):
		c.tagged("NO ", "[OVERQUOTA] ", textNoSpace)
	case errors.Is(err, mailbox.ErrReadOnly):
		c.tagged("NO ", "", textReadOnly)
	case errors.Is(err, mailbox.ErrCompressed):
		c.tagged("NO ", "[CANNOT] ", mailbox.ErrCompressed.Error())
	case errors.Is(err, mailbox.ErrDeleted), errors.Is(err, mailbox.ErrNotExist):
		c.byebye(byeDeleted, byeDeleted)
	case c.ctx.Err() != nil:
		c.byebye(byeShutdown, byeShutdown)
	default:
		c.log.Errorf("%s: %v", c.name, err)
		c.tagged("NO ", "[SERVERBUG] ", appendInternal(time.Now()))
	}
	c.session.bad = 0
	return c.ended
}

func bracket(code string) string {
	if code == "" {
		return ""
	}
	return "[" + code + "] "
}

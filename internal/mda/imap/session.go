package imap

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// maxBadCommands is how many invalid commands in a row a client may send, as
// Dovecot's CLIENT_MAX_BAD_COMMANDS.
const maxBadCommands = 20

// A session is one client.
type session struct {
	conn
	srv  *Server
	ctx  context.Context
	dec  *imapwire.Decoder
	set  *Settings
	user *store.User
	log  *maillog.Logger

	id           string // for the log
	untaggedCaps bool   // the client has asked for CAPABILITY before it logged in
	loginTag     string // of the command that logged in; empty for a preauthenticated session
	greeted      bool
	processed    chan struct{}
	box          *selected  // nil unless a mailbox is selected
	idling       *idle      // nil unless IDLE runs
	asleep       *Asleep    // what is left of the session, which hibernates; nil while it does not
	returning    *asleepBox // the mailbox that was selected when it did, until it is selected again
	notified     *notifySet // nil before NOTIFY
	enabled      uint8
	workarounds  uint8
	bad          int    // invalid commands in a row
	bye          string // why the session ends, for the log; empty while it does not

	running  *command
	lastName string // of the last command, as the client wrote it
	lastDone time.Time
	stats    stats
	partial  lastPartial
}

// Features a client has enabled (RFC 5161).
const (
	enabledCondstore = 1 << iota
	enabledQResync
	enabledUTF8
	enabledRev2
	enabledUIDOnly
)

func newSession(ctx context.Context, srv *Server, nc net.Conn, set *Settings, user *store.User, log *maillog.Logger) *session {
	s := &session{srv: srv, ctx: ctx, set: set, user: user, log: log, processed: make(chan struct{})}
	lim := imapwire.Limits{Line: int(set.MaxLineLength)}
	if set.LiteralMinus {
		lim.NonSync = 4096
	}
	s.dec = imapwire.NewDecoder(&s.conn, lim, s.proceed)
	s.conn.init(nc, s.dec.Fill, s.dec.Release)
	s.workarounds, _ = parseWorkarounds(set.ClientWorkarounds)
	return s
}

// proceed asks the client for a literal.
func (s *session) proceed() error {
	if err := s.write(replyContinue); err != nil {
		return err
	}
	return s.flush()
}

// serve waits for input and has it processed, until the session ends or hibernates: then it returns what is
// left of it.
func (s *session) serve() *Asleep {
	stop := s.stopOnCancel(s.ctx)
	for s.bye == "" {
		s.srv.workers.run(s)
		if s.asleep != nil {
			stop()
			return s.asleep
		}
		if s.bye != "" {
			break
		}
		err := s.wait(s.nextDeadline())
		if err != nil && err != errWoken && err != errInactive {
			s.disconnected(err)
		}
	}
	stop()
	s.srv.workers.run(s)
	return nil
}

// process does what can be done without waiting for the client: it runs the
// commands that have arrived, and what is due in IDLE. After the session has
// ended it cleans up.
func (s *session) process() {
	defer s.recover()
	if s.bye != "" {
		s.cleanUp()
		return
	}
	s.woken.Store(false)
	if !s.greeted {
		s.greeting()
	}
	if s.returning != nil {
		s.selectAgain()
	}
	s.timers()
	for s.bye == "" && !s.stopping.Load() && (s.pending > 0 || len(s.dec.Buffered()) > 0) {
		s.next()
		if len(s.dec.Buffered()) == 0 {
			s.peekDeflated() //nolint:errcheck // sticky
		}
	}
	if s.stopping.Load() {
		s.byebye(byeShutdown, byeShutdown)
	}
	if s.bye == "" {
		s.unasked()
	}
	s.dec.Release()
	if err := s.flush(); err != nil {
		s.disconnected(err)
	}
	if s.hibernationDue() {
		s.hibernate()
	}
}

// next runs the next command, or ends IDLE.
func (s *session) next() {
	var err error
	if s.idling != nil {
		err = s.idleInput()
	} else {
		err = s.command()
	}
	if err != nil {
		s.disconnected(err)
	}
}

// nextDeadline returns when wait should return without input.
func (s *session) nextDeadline() time.Time {
	if s.idling != nil && !s.idling.due().IsZero() {
		return s.idling.due()
	}
	if s.notified != nil && s.idling == nil { // what wakes the session is not the client
		return s.lastDone.Add(inactivityTimeout)
	}
	return time.Now().Add(inactivityTimeout)
}

// timers does what is due because the deadline of wait passed.
func (s *session) timers() {
	if s.deadline.IsZero() || time.Now().Before(s.deadline) {
		return
	}
	if s.idling != nil {
		s.idleStillHere()
		return
	}
	if len(s.dec.Buffered()) == 0 && s.pending == 0 {
		s.inactive()
	}
}

func (s *session) inactive() {
	s.byebye(appendInactivity(inactivityTimeout), byeInactivity)
}

// disconnected ends the session because of the connection.
func (s *session) disconnected(err error) {
	switch {
	case s.bye != "":
	case errors.Is(err, errInactive):
		s.inactive()
	case errors.Is(err, errStopping):
		s.byebye(byeShutdown, byeShutdown)
	case errors.Is(err, os.ErrDeadlineExceeded):
		s.bye = byeOutput
	case errors.Is(err, io.EOF):
		s.bye = "Connection closed" + s.commandStatus()
	default:
		s.bye = "Connection closed: " + syscallText(err) + s.commandStatus()
	}
}

// byebye ends the session: the client is told text, the log reason.
func (s *session) byebye(reason, text string) {
	if s.bye != "" {
		return
	}
	s.bye = reason
	s.write("* BYE " + text + "\r\n")
	s.flush()
}

// recover ends a session that has panicked.
func (s *session) recover() {
	if r := recover(); r != nil {
		s.log.Errorf("panic: %v\n%s", r, debug.Stack())
		if s.bye == "" {
			s.bye = "Internal error"
		}
		s.running = nil
		s.conn.Conn.Close()
	}
}

// cleanUp is the last thing that happens to a session.
func (s *session) cleanUp() {
	if !s.user.AutoExpunges() {
		s.logout()
		s.leave()
		return
	}
	s.leave() // the client need not wait
	s.stats.autoexpunged = int64(s.user.AutoExpunge(context.WithoutCancel(s.ctx)))
	s.logout()
}

// leave gives up the mailbox and the client.
func (s *session) leave() {
	s.idling.stop()
	s.idling = nil
	s.notified.stop()
	s.notified = nil
	s.unselect()
	s.dec.Discard()
	s.flush()
	s.conn.Conn.Close()
}

// syscallText returns the text of the innermost error, as strerror(3).
func syscallText(err error) string {
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err.Error()
	}
	return err.Error()
}

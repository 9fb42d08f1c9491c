package cleanup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// A Writer takes one message into the queue; *[queue.Writer] is one.
type Writer interface {
	ID() string
	Write(p []byte) (int, error)
	Size() int64
	// Commit returns when the message is durable.
	Commit(ctx context.Context, env *queue.Envelope) error
	Abort()
}

// Config is what a Cleanup works with.
type Config struct {
	Main     *postfix.Main
	Queue    func(now time.Time) (Writer, error) // begins a message, see [FromStore]
	Resolver *resolve.Resolver
	Tables   resolve.Opener  // opens tables; nil opens them without help
	Log      *maillog.Logger // tag "postfix/cleanup[pid]"
	Now      func() time.Time
	// Spool makes the file for a large message that milters look at; nil makes one among the
	// temporary files.
	Spool func() (*os.File, error)
}

// FromStore is the usual Config.Queue.
func FromStore(s *queue.Store) func(time.Time) (Writer, error) {
	return func(now time.Time) (Writer, error) {
		w, err := s.NewMessage(now)
		if err != nil {
			return nil, err
		}
		return w, nil
	}
}

// Cleanup brings messages into the queue. It is safe for concurrent use.
type Cleanup struct {
	set     Settings
	core    postfix.Core
	queue   func(now time.Time) (Writer, error)
	res     *resolve.Resolver
	log     *maillog.Logger
	now     func() time.Time
	headers map[string]headerKind
	daemon  string // MAILER-DAEMON@$myorigin, in lower case
	pool    sync.Pool

	mappings     mappings
	aliasMaps    resolve.Maps
	senderBCC    resolve.Maps
	recipientBCC resolve.Maps
	checks       *checks // nil where content is not looked at
	plain        bool    // recipients stay what they are
	autoUTF8     map[string]bool
	internal     map[string]bool // internal_mail_filter_classes
	inspect      inspectors
}

// New returns a Cleanup with the parameters of c.Main.
func New(c Config) (*Cleanup, error) {
	cl := &Cleanup{queue: c.Queue, res: c.Resolver, log: c.Log, now: c.Now}
	if cl.now == nil {
		cl.now = time.Now
	}
	if err := c.Main.Decode(&cl.set); err != nil {
		return nil, err
	}
	if err := c.Main.Decode(&cl.core); err != nil {
		return nil, err
	}
	cl.headers = headerTable(postfix.SplitList(cl.set.DropHeaders))
	cl.daemon = strings.ToLower("mailer-daemon@" + cl.core.Myorigin)
	cl.pool.New = func() any { return new(Message) }
	open := c.Tables
	if open == nil {
		var err error
		if open, err = resolve.NewOpener(c.Main, table.Options{Log: c.Log}); err != nil {
			return nil, err
		}
	}
	if err := cl.openTables(open); err != nil {
		return nil, err
	}
	if err := cl.openMilters(&c, open); err != nil {
		return nil, err
	}
	return cl, cl.readClasses()
}

func (c *Cleanup) openTables(open resolve.Opener) (err error) {
	for _, m := range []struct {
		dst          *resolve.Maps
		param, value string
	}{
		{&c.aliasMaps, aliasParam, c.set.AliasMaps},
		{&c.senderBCC, "sender_bcc_maps", c.set.SenderBCCMaps},
		{&c.recipientBCC, "recipient_bcc_maps", c.set.RecipientBCCMaps},
	} {
		if *m.dst, err = open.OpenMaps(m.param, m.value); err != nil {
			return fmt.Errorf("%s: %w", m.param, err)
		}
	}
	if c.mappings, err = openMappings(&c.set, c.res, open); err != nil {
		return err
	}
	c.plain = c.aliasMaps.Empty() && c.senderBCC.Empty() && c.recipientBCC.Empty() && c.set.AlwaysBCC == "" &&
		c.mappings.classes&(envelopeSender|envelopeRecipient) == 0
	c.checks, err = openChecks(&c.set, open, c.log)
	return err
}

// sources are the words for where mail comes from, in smtputf8_autodetect_classes; "all" is
// another.
var sources = []string{"sendmail", "smtpd", "qmqpd", "forward", "bounce", "notify", "verify"}

func (c *Cleanup) readClasses() error {
	c.autoUTF8, c.internal = map[string]bool{}, map[string]bool{}
	for _, word := range postfix.SplitList(strings.ToLower(c.set.SMTPUTF8AutodetectFrom)) {
		switch {
		case word == "all":
			for _, source := range sources {
				c.autoUTF8[source] = c.core.SMTPUTF8Enable
			}
		case slices.Contains(sources, word):
			c.autoUTF8[word] = c.core.SMTPUTF8Enable
		default:
			return fmt.Errorf("unknown smtputf8_autodetect_classes value %q in %q", word, c.set.SMTPUTF8AutodetectFrom)
		}
	}
	for _, word := range postfix.SplitList(strings.ToLower(c.set.InternalFilterClasses)) {
		if word != "bounce" && word != "notify" {
			return fmt.Errorf("unknown internal_mail_filter_classes value %q in %q", word, c.set.InternalFilterClasses)
		}
		c.internal[word] = true
	}
	return nil
}

// An Origin says where a message comes from, as far as its content depends on it.
type Origin struct {
	Sender   string // envelope sender, internal form
	FullName string // of a local sender, for a missing From header
	// Local mail has its header completed: addresses, and headers that are
	// missing. Mail of other systems has not, unless configured.
	Local bool
	// Internal mail was made by the mail system itself.
	Internal bool
	// Unmapped mail keeps its recipients (no_address_mappings), as it has
	// been here before.
	Unmapped bool
	// Unchecked mail has its content not looked at (no_header_body_checks).
	Unchecked bool
	// Unfiltered mail is not for non_smtpd_milters (no_milters).
	Unfiltered bool
	// Source is where the mail comes from: "smtpd", "sendmail", "qmqpd", "forward",
	// "bounce", "notify" or "verify". Left empty it is what the other fields say.
	Source string
	// What the log has of the client, for actions on content: "name[address]", or
	// nothing for local mail, protocol and HELO name.
	Client, Proto, Helo string
}

// source is where the mail comes from.
func (o *Origin) source() string {
	switch {
	case o.Source != "":
		return o.Source
	case o.Internal:
		return "bounce"
	case o.Client == "":
		return "sendmail"
	}
	return "smtpd"
}

// The replies to content that is not taken (RFC 3463 codes as Postfix's
// cleanup_strerror gives them).
var (
	replyHops       = smtp.Reply{Code: 554, Enhanced: smtp.Enhanced{5, 4, 0}, Text: "Error: too many hops"}
	replyWrite      = smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0}, Text: "Error: queue file write error"}
	replyNoSpace    = smtp.Reply{Code: 452, Enhanced: smtp.Enhanced{4, 3, 1}, Text: "Error: insufficient system storage"}
	replyTooBig     = smtp.Reply{Code: 552, Enhanced: smtp.Enhanced{5, 3, 4}, Text: "Error: message file too big"}
	replyTryAgain   = smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 7, 1}, Text: "Error: service unavailable"}
	errNotFinished  = errors.New("cleanup: message written after its end")
	errNoRecipients = errors.New("cleanup: message without recipients")
)

// Start begins a message. The caller must call Finish or Abort.
func (c *Cleanup) Start(ctx context.Context, o Origin) (*Message, error) {
	now := c.now()
	w, err := c.queue(now)
	if err != nil {
		return nil, c.queueError("", err)
	}
	m := c.pool.Get().(*Message)
	m.begin(ctx, c, w, o, now)
	return m, nil
}

// queueError is the reply to a failure of the queue.
func (c *Cleanup) queueError(id string, err error) error {
	var reply smtp.Reply
	switch {
	case errors.As(err, &reply):
		return reply
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return replyTryAgain
	case errors.Is(err, queue.ErrNoSpace):
		c.log.Warningf("%s: queue: %v", id, err)
		return replyNoSpace
	}
	c.log.Warningf("%s: queue: %v", id, err)
	return replyWrite
}

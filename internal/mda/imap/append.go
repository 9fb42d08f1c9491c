package imap

import (
	"errors"
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// maxAppend is how many messages one APPEND may have: each holds a file open
// until all are committed.
const maxAppend = 1000

// appending is a running APPEND or REPLACE.
type appending struct {
	*command
	mbox   *mailbox.Mailbox
	single bool // one message, not several
	saves  []*mailbox.Save
	size   int64 // of the literal
	left   *imapwire.LiteralReader
}

// append is APPEND (RFC 3501 6.3.11) with several messages (RFC 3502). Messages
// stream into the store; either all are saved or none, and OK is said when they
// are durable.
func (c *command) append() error {
	args, err := c.dec.Args(1)
	if err != nil {
		return err
	}
	name, err := c.mailboxName(args)
	if err != nil {
		return err
	}
	mbox, err := c.target(name)
	if err != nil {
		return err
	}
	defer mbox.Close()
	a := &appending{command: c, mbox: mbox}
	defer a.abort()
	c.progress = a.appendProgress
	if err := a.messages(); err != nil {
		return err
	}
	c.progress = nil
	results, err := mailbox.CommitAll(c.ctx, a.saves)
	if err != nil {
		return err
	}
	if mbox.Told() {
		c.code = appendUID(results)
	}
	return nil
}

// target opens a mailbox to save messages in it. That the selected one exists the client knows, whatever its
// rights there.
func (c *command) target(name string) (*mailbox.Mailbox, error) {
	mbox, err := c.user.MailboxToSave(c.ctx, name)
	if errors.Is(err, mailbox.ErrNotExist) && c.box != nil && c.box.name == name {
		return nil, errDenied
	}
	return mbox, tryCreate(err)
}

// tryCreate changes the response code of a mailbox that does not exist to what a command
// with a target mailbox must have (RFC 3501 6.3.11, 6.4.7).
func tryCreate(err error) error {
	var se *store.Error
	if errors.As(err, &se) && se.Code == store.CodeNonExistent || errors.As(err, &se) && se.Code == "" && errors.Is(se.Err, mailbox.ErrNotExist) {
		return &store.Error{Code: store.CodeTryCreate, Text: se.Text, Err: se.Err}
	}
	return err
}

// abort drops saves that were not committed.
func (a *appending) abort() {
	for _, s := range a.saves {
		s.Abort()
	}
}

// messages reads all messages of the command.
func (a *appending) messages() error {
	for {
		args, lit, ok, err := a.dec.ArgsUntilLiteral()
		if err != nil {
			return err
		}
		if before, list, is := catenation(args); is {
			if err := a.begin(before, func(opt mailbox.SaveOptions) error { return a.catenate(opt, list, ok) }); err != nil {
				return err
			}
			continue
		}
		if before, is := utf8Message(args, ok); is && a.hasUTF8() {
			if err := a.begin(before, a.utf8Text); err != nil {
				return err
			}
			continue
		}
		if !ok {
			switch {
			case len(args) == 0 && len(a.saves) > 0:
				return nil
			case len(args) == 0:
				return bad("Missing message size")
			}
			return errArguments
		}
		if err := a.begin(args, func(opt mailbox.SaveOptions) error { return a.message(opt, lit) }); err != nil {
			return err
		}
	}
}

// begin reads the options of a message and has it saved.
func (a *appending) begin(args imapwire.Args, save func(mailbox.SaveOptions) error) error {
	opt, err := saveOptions(args)
	if err != nil {
		return err
	}
	if a.single && len(a.saves) > 0 {
		return errArguments
	}
	if len(a.saves) == maxAppend {
		return &reply{cond: condNo, code: "[LIMIT] ", text: "Too many messages in one APPEND."}
	}
	return save(opt)
}

// message streams one message into the store. The connection's error comes
// first: a store that fails is answered after the rest of the literal.
func (a *appending) message(opt mailbox.SaveOptions, lit imapwire.LiteralHeader) error {
	if lit.Size == 0 {
		return &reply{cond: condNo, text: "Can't save a zero byte message."}
	}
	save, err := a.mbox.Save(a.ctx, opt)
	if err != nil {
		return err
	}
	a.saves = append(a.saves, save)
	return a.text(save)
}

// utf8Message returns the arguments before UTF8 (~{n}), if that is what a message of APPEND is (RFC 6855 4).
func utf8Message(args imapwire.Args, more bool) (before imapwire.Args, ok bool) {
	n := len(args)
	if !more || n < 2 || args[n-1].Kind != imapwire.List || !args[n-2].Is("UTF8") {
		return nil, false
	}
	return args[:n-2], true
}

// utf8Text streams such a message, which is stored as it is.
func (a *appending) utf8Text(opt mailbox.SaveOptions) error {
	if err := a.message(opt, a.dec.Literal()); err != nil {
		return err
	}
	return a.dec.EndList()
}

// text streams a literal into a message.
func (a *appending) text(save *mailbox.Save) error {
	r, err := a.dec.OpenLiteral()
	if err != nil {
		return err
	}
	a.size, a.left = r.Len(), r
	_, err = r.WriteTo(save)
	return err
}

// saveOptions reads flags and date.
func saveOptions(args imapwire.Args) (opt mailbox.SaveOptions, err error) {
	if len(args) > 0 && args[0].Kind == imapwire.List {
		if opt.Flags, opt.Keywords, err = parseFlags(args.List()); err != nil {
			return opt, err
		}
		args = args.Rest()
	}
	if len(args) > 0 && args[0].Kind != imapwire.List {
		t, ok := imapwire.ParseDateTime(args[0].Data)
		if !args[0].IsString() {
			return opt, errArguments
		}
		if !ok {
			return opt, bad("Invalid internal date.")
		}
		opt.Received = t
		args = args.Rest()
	}
	if len(args) > 0 {
		return opt, errArguments
	}
	return opt, nil
}

// appendUID returns the response code of RFC 4315.
func appendUID(results []mailbox.SaveResult) string {
	uids := make([]uint32, len(results))
	for i, r := range results {
		uids[i] = r.UID
	}
	b := append([]byte(nil), "[APPENDUID "...)
	b = strconv.AppendUint(b, uint64(results[0].UIDValidity), 10)
	b = append(b, ' ')
	b = imapwire.AppendSet(b, uids)
	return string(append(b, "] "...))
}

// appendProgress says in the log how far a client came that went away.
func (a *appending) appendProgress(b []byte) []byte {
	b = append(b, "While APPENDing: "...)
	b = strconv.AppendInt(b, int64(len(a.saves)), 10)
	b = append(b, " msgs, "...)
	b = strconv.AppendInt(b, int64(time.Since(a.started)/time.Second), 10)
	b = append(b, " secs"...)
	if a.left == nil {
		return b
	}
	b = append(b, ", "...)
	b = strconv.AppendInt(b, a.size-a.left.Len(), 10)
	b = append(b, '/')
	b = strconv.AppendInt(b, a.size, 10)
	return append(b, " bytes"...)
}

package imap

import (
	"errors"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// fetch is FETCH and UID FETCH (RFC 3501 6.4.5), with CHANGEDSINCE and VANISHED (RFC 7162).
func (c *command) fetch() error {
	args, err := c.dec.Args(0)
	if err != nil {
		return err
	}
	spans, err := c.messages(args)
	if err != nil {
		return err
	}
	p, err := parseFetch(args.Rest(), c.uid, c.isUIDOnly(), c.enabled&enabledQResync != 0)
	if err != nil {
		return err
	}

	if p.condstore {
		if err := c.enableCondstore(); err != nil {
			return err
		}
	}
	if p.vanished {
		known, err := c.uidSet(args[0])
		if err != nil {
			return err
		}
		if err := c.writeVanished(known, p.changedSince, nil); err != nil {
			return err
		}
	}
	f := fetcher{command: c, program: p}
	err = f.run(spans)
	c.box.mbox.CommitCache(c.ctx)
	if seen := f.markSeen(); err == nil {
		err = seen
	}
	if err != nil {
		return err
	}
	if f.broken != nil && f.set.FetchFailure == "disconnect-after" {
		f.byebye("FETCH failed", "FETCH failed")
	}
	if f.broken != nil {
		return errFetch
	}
	if f.refused != nil {
		return f.refused
	}
	if f.expunged {
		return errExpunged
	}
	return nil
}

// fetcher is a running FETCH.
type fetcher struct {
	*command
	*program
	seen     []uint32 // messages that are \Seen because of this FETCH
	expunged bool     // a message was gone
	broken   error    // a message could not be read
	refused  error    // a part could not be decoded

	// Of the message at hand.
	uid       uint32
	view      *mailbox.Snapshot  // where its flags are
	index     int                // in it
	msg       *mailbox.Message   // nil until needed
	body      mailbox.Body       // if needText
	structure *message.Structure // if needTree
	texts     []byte             // of long items that need neither
	spans     []span             // in texts, of each of the long items
	decodings map[int]decoding   // of long items that are decoded, by number
}

// run answers for all messages of spans.
func (f *fetcher) run(spans []span) error {
	b := f.box
	at := 0 // in told
	for _, s := range spans {
		for i := s.first; i < s.end; i++ {
			f.uid, f.view, f.index = b.view.UID(i), b.view, i
			if b.told != b.view {
				if at = seek(b.told, at, f.uid); at >= 0 {
					f.view, f.index = b.told, at
				} else {
					at = ^at
				}
			}
			if f.changedSince > 0 && f.view.ModSeq(f.index) <= f.changedSince {
				continue
			}
			if err := f.row(i); err != nil {
				return err
			}
		}
	}
	return nil
}

// row answers for message number i of the view. A message that is gone has no
// row: all that shows whether it is there is done before the row begins.
func (f *fetcher) row(i int) error {
	if len(f.long) > 0 {
		defer f.done()
		if err := f.prepare(); err != nil {
			return f.missing(err)
		}
	} else {
		f.msg = nil
	}
	b := f.appendFetchStart(f.buf(), i)
	flags := f.view.Flags(f.index)
	newlySeen := f.setSeen && !f.box.readOnly && flags&mailbox.Seen == 0
	if newlySeen {
		f.seen = append(f.seen, f.uid)
		flags |= mailbox.Seen
	}
	for _, it := range f.short {
		var err error
		if b, err = f.appendShort(b, it, flags); err != nil {
			return f.missing(err)
		}
		b = append(b, ' ')
	}
	if newlySeen && f.items&itemFlags == 0 {
		b, _ = f.appendShort(b, itemFlags, flags)
		b = append(b, ' ')
	}
	if len(f.long) > 0 && f.allRefused() {
		if len(f.short) == 0 {
			b, _ = f.appendShort(b, itemUID, flags) // a row must not be empty
			b = append(b, ' ')
		}
		b = append(b[:len(b)-1], ")\r\n"...)
		return f.put(b)
	}
	if len(f.long) == 0 {
		b = append(b[:len(b)-1], ")\r\n"...)
		return f.put(b)
	}
	if err := f.put(b); err != nil {
		return err
	}
	return f.writeLong()
}

// allRefused reports whether no long item of the message can be told.
func (f *fetcher) allRefused() bool {
	for k := range f.long {
		if !f.decodings[k].refused {
			return false
		}
	}
	return true
}

// prepare finds what the long items need, while the row can still be left out.
func (f *fetcher) prepare() (err error) {
	if f.msg, err = f.box.mbox.Message(f.uid); err != nil {
		return err
	}
	if f.needText {
		if f.body, err = f.msg.Open(); err != nil {
			return err
		}
		if _, err = f.msg.VirtualSize(); err != nil {
			return err
		}
	}
	if f.needTree {
		if f.structure, err = f.msg.Parts(f.ctx, f.body); err != nil {
			return err
		}
	}
	for k := range f.long {
		if s := &f.long[k]; s.decodes() {
			if f.decodings == nil {
				f.decodings = make(map[int]decoding)
			}
			if f.decodings[k], err = f.decoding(s); err != nil {
				return err
			}
		}
	}
	f.texts, f.spans = f.texts[:0], append(f.spans[:0], make([]span, len(f.long))...)
	// A message that has to be parsed for its structure needs not be for its envelope.
	for _, structures := range [...]bool{true, false} {
		for k := range f.long {
			s := &f.long[k]
			if (s.item&(itemBody|itemBodyStructure) != 0) != structures {
				continue
			}
			from := len(f.texts)
			if f.texts, err = f.appendEarly(f.texts, s); err != nil {
				return err
			}
			f.spans[k] = span{from, len(f.texts)}
		}
	}
	return nil
}

// appendEarly appends a long item that the cache may have.
func (f *fetcher) appendEarly(b []byte, s *section) ([]byte, error) {
	switch {
	case s.item == itemEnvelope:
		return f.msg.AppendEnvelope(f.ctx, append(b, "ENVELOPE "...))
	case s.item == itemBody:
		return f.msg.AppendBody(f.ctx, append(b, "BODY "...))
	case s.item == itemBodyStructure:
		return f.msg.AppendBodyStructure(f.ctx, append(b, "BODYSTRUCTURE "...))
	case s.isFields():
		return f.msg.AppendFields(f.ctx, b, s.fields)
	}
	return b, nil
}

// writeLong writes the items that may be long, and ends the row. As the row has
// begun, an error ends the session.
func (f *fetcher) writeLong() error {
	first := true
	for k := range f.long {
		if f.decodings[k].refused {
			continue
		}
		if !first {
			if err := f.write(" "); err != nil {
				return err
			}
		}
		first = false
		s, text := &f.long[k], f.texts[f.spans[k].first:f.spans[k].end]
		if s.item != 0 {
			if err := f.copyBytes(text); err != nil {
				return err
			}
			continue
		}
		if s.decodes() {
			if err := f.writeBinary(s, f.decodings[k]); err != nil {
				return f.failed(err)
			}
			continue
		}
		if err := f.writeSection(s, text); err != nil {
			return f.failed(err)
		}
	}
	return f.write(")\r\n")
}

// missing skips a message that is gone or, as imap_fetch_failure says, cannot be read.
func (f *fetcher) missing(err error) error {
	if errors.Is(err, mailbox.ErrExpunged) {
		f.expunged = true
		return nil
	}
	f.log.Errorf("Mailbox %s: UID=%d: FETCH failed: %v", f.box.name, f.uid, err)
	if f.set.FetchFailure == "disconnect-immediately" {
		f.byebye("FETCH failed", "FETCH failed")
		f.end(err)
		return err
	}
	f.broken = err
	return nil
}

// failed ends the session, because a row cannot be finished.
func (f *fetcher) failed(err error) error {
	if f.ended == nil {
		f.log.Errorf("Mailbox %s: UID=%d: FETCH failed: %v", f.box.name, f.uid, err)
		f.bye = "FETCH failed"
		f.end(err)
	}
	return f.ended
}

// appendShort appends an item that is short.
func (f *fetcher) appendShort(b []byte, it item, flags mailbox.Flags) ([]byte, error) {
	switch it {
	case itemUID:
		b = append(b, "UID "...)
		return strconv.AppendUint(b, uint64(f.uid), 10), nil
	case itemFlags:
		return f.box.appendFlags(b, f.view, f.index, flags), nil
	case itemMailbox:
		return f.appendName(append(b, "X-MAILBOX "...), f.box.name), nil
	case itemRealUID:
		b = append(b, "X-REAL-UID "...)
		return strconv.AppendUint(b, uint64(f.uid), 10), nil
	case itemModSeq:
		return f.box.appendModSeq(b, f.view.ModSeq(f.index)), nil
	}
	if it == itemSize {
		if size, ok := f.view.VirtualSize(f.index); ok {
			b = append(b, "RFC822.SIZE "...)
			return strconv.AppendInt(b, size, 10), nil
		}
	}
	if f.msg == nil {
		var err error
		if f.msg, err = f.box.mbox.Message(f.uid); err != nil {
			return b, err
		}
	}
	switch it {
	case itemSize:
		size, err := f.msg.VirtualSize()
		b = append(b, "RFC822.SIZE "...)
		return strconv.AppendInt(b, size, 10), err
	case itemPreview:
		return f.appendPreview(b)
	case itemEmailID, itemThreadID:
		return f.appendObjectID(b, it)
	case itemGUID:
		guid, err := f.msg.GUID()
		return imapwire.AppendAString(append(b, "X-GUID "...), guid), err
	}
	return f.appendDate(b, it)
}

func (f *fetcher) appendDate(b []byte, it item) ([]byte, error) {
	name, date := "INTERNALDATE", f.msg.Received
	switch it {
	case itemSaveDate:
		name, date = "SAVEDATE", f.msg.Saved
	case itemXSaveDate:
		name, date = "X-SAVEDATE", f.msg.Saved
	}
	t, err := date()
	b = append(b, name...)
	b = append(b, ' ', '"')
	b = imapwire.AppendDateTime(b, t.Local())
	return append(b, '"'), err
}

// done forgets the message at hand.
func (f *fetcher) done() {
	if f.body != nil {
		f.body.Close()
	}
	f.msg, f.body, f.structure = nil, nil, nil
}

// markSeen stores what the client has been told about \Seen.
func (f *fetcher) markSeen() error {
	if len(f.seen) == 0 {
		return nil
	}
	change := mailbox.FlagChange{
		UIDs: f.seen, Op: mailbox.FlagsAdd, Flags: mailbox.Seen, UnchangedSince: mailbox.Unconditional,
	}
	if _, err := f.box.mbox.SetFlags(f.ctx, change); err != nil {
		return err
	}
	f.expect = expected(change, nil)
	return nil
}

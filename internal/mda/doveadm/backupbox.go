package doveadm

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// Bounds of what is committed together: a kill costs no more than that much
// copying, and memory and open files do not grow with the mailbox.
const (
	backupBatch      = 100
	backupBatchBytes = 16 << 20
)

// errDiverged says that a mailbox of the destination cannot become equal to the source
// by adding and removing messages.
var errDiverged = errors.New("the mailbox has messages under uids that others have in the source")

// mailbox makes one mailbox of the destination equal. A run that was killed left a
// beginning of the messages, each complete, under their uids; the next goes on there.
func (r *backupRun) mailbox(ctx context.Context, want *boxIdentity) error {
	src, err := r.src.openBox(ctx, want.name)
	if err != nil {
		return err
	}
	defer src.Close() //nolint:errcheck // nothing was changed
	if err := r.identify(ctx, want); err != nil || r.noMail {
		return err
	}
	err = r.messages(ctx, src, want.name)
	if !errors.Is(err, errDiverged) || r.add {
		return err
	}
	r.dst.in.log.infof("Mailbox %s: %v; it is copied anew", want.name, err)
	if err := r.dst.CreateAs(ctx, want.name, want.id); err != nil {
		return err
	}
	return r.messages(ctx, src, want.name)
}

// identify makes the mailbox of the destination with the identity of the source, in
// the place of another one of that name.
func (r *backupRun) identify(ctx context.Context, want *boxIdentity) error {
	made, err := r.dst.OnDisk(ctx, want.name)
	if err != nil {
		return err
	}
	if made {
		if r.add {
			return nil
		}
		b, err := r.dst.openBox(ctx, want.name)
		if err != nil {
			return err
		}
		id := mailbox.Identity{GUID: b.GUID(), UIDValidity: b.snap.UIDValidity()}
		b.Close() //nolint:errcheck // nothing was changed
		if id == want.id {
			return nil
		}
	}
	return r.dst.CreateAs(ctx, want.name, want.id)
}

// A boxCopy is one mailbox of both sides.
type boxCopy struct {
	*backupRun
	src, dst *box
	same     map[flagSet][]uint32 // messages of the destination that get these flags
	extra    []uint32             // of the destination
	missing  []int                // of the source, by number
	guids    map[[16]byte]bool    // what the destination has; only where uids do not tell
}

// A flagSet is the flags and keywords of a message.
type flagSet struct {
	flags    mailbox.Flags
	keywords string // sorted, separated by blanks
}

func flagsOf(s *mailbox.Snapshot, i int) flagSet {
	keywords := s.Keywords(i)
	slices.Sort(keywords)
	return flagSet{s.Flags(i), strings.Join(keywords, " ")}
}

func (r *backupRun) messages(ctx context.Context, src *box, name string) error {
	dst, err := r.dst.openBox(ctx, name)
	if err != nil {
		return err
	}
	defer dst.Close() //nolint:errcheck // what was to be saved is
	c := &boxCopy{backupRun: r, src: src, dst: dst, same: make(map[flagSet][]uint32)}
	if src.snap.KeepsModSeq() {
		if err := dst.EnableModSeq(ctx); err != nil {
			return err
		}
	}
	if err := c.compare(ctx); err != nil {
		return err
	}
	if !r.add {
		if err := dst.expunge(ctx, c.extra); err != nil {
			return err
		}
	}
	if err := c.setFlags(ctx); err != nil {
		return err
	}
	if err := c.save(ctx); err != nil {
		return err
	}
	if r.add {
		return nil
	}
	if err := c.raiseNextUID(ctx); err != nil {
		return err
	}
	return dst.Raise(ctx, src.snap.Marks())
}

// compare finds what differs.
func (c *boxCopy) compare(ctx context.Context) error {
	s, d := c.src.snap, c.dst.snap
	i, j := 0, 0
	for i < s.Len() || j < d.Len() {
		if (i+j)%1000 == 0 && ctx.Err() != nil {
			return errors.Join(errReported, ctx.Err())
		}
		switch {
		case i == s.Len() || j < d.Len() && d.UID(j) < s.UID(i):
			c.extra = append(c.extra, d.UID(j))
			j++
		case j == d.Len() || s.UID(i) < d.UID(j):
			if err := c.lacks(ctx, i); err != nil {
				return err
			}
			i++
		default:
			if err := c.both(ctx, i, j); err != nil {
				return err
			}
			i, j = i+1, j+1
		}
	}
	return nil
}

// lacks notes a message that the destination does not have under its uid.
func (c *boxCopy) lacks(ctx context.Context, i int) error {
	if ok, err := c.filter.wants(c.src, i); !ok || err != nil {
		if errors.Is(err, mailbox.ErrExpunged) {
			err = nil
		}
		return err
	}
	if c.src.snap.UID(i) >= c.dst.snap.UIDNext() {
		c.missing = append(c.missing, i)
		return nil
	}
	if !c.add {
		return errDiverged
	}
	known, err := c.knows(ctx, c.src.snap.UID(i))
	if err == nil && !known {
		c.missing = append(c.missing, i)
	}
	return err
}

// knows reports whether the destination has the message of the source under whatever
// uid.
func (c *boxCopy) knows(ctx context.Context, uid uint32) (bool, error) {
	if c.guids == nil {
		c.guids = make(map[[16]byte]bool)
		for j := range c.dst.snap.Len() {
			if err := ctx.Err(); err != nil {
				return false, errors.Join(errReported, err)
			}
			guid, err := c.dst.guidOf(ctx, c.dst.snap.UID(j))
			if err == nil {
				c.guids[guid128(guid)] = true
			} else if !errors.Is(err, mailbox.ErrExpunged) {
				return false, err
			}
		}
	}
	guid, err := c.src.guidOf(ctx, uid)
	if errors.Is(err, mailbox.ErrExpunged) {
		return true, nil
	}
	return c.guids[guid128(guid)], err
}

// both compares messages that have the same uid.
func (c *boxCopy) both(ctx context.Context, i, j int) error {
	uid := c.src.snap.UID(i)
	same, err := c.equal(uid)
	switch {
	case errors.Is(err, mailbox.ErrExpunged):
		return nil
	case err != nil:
		return err
	case !same && !c.add:
		return errDiverged
	case !same:
		c.extra = append(c.extra, uid)
		return c.lacks(ctx, i)
	}
	if f := flagsOf(c.src.snap, i); f != flagsOf(c.dst.snap, j) {
		c.same[f] = append(c.same[f], uid)
	}
	return nil
}

// equal reports whether the messages with the uid are the same: by GUID, or in an
// mbox, which cannot keep that of another format, by size and date.
func (c *boxCopy) equal(uid uint32) (bool, error) {
	a, err := c.src.Message(uid)
	if err != nil {
		return false, err
	}
	b, err := c.dst.Message(uid)
	if err != nil {
		return false, err
	}
	if c.src.Location().Format == "mbox" != (c.dst.Location().Format == "mbox") {
		return alike(a, b)
	}
	ga, err := a.GUID()
	if err != nil {
		return false, err
	}
	gb, err := b.GUID()
	return ga == gb || guid128(ga) == guid128(gb), err
}

func alike(a, b *mailbox.Message) (bool, error) {
	sa, err := a.VirtualSize()
	if err != nil {
		return false, err
	}
	sb, err := b.VirtualSize()
	if err != nil || sa != sb {
		return false, err
	}
	da, err := a.Received()
	if err != nil {
		return false, err
	}
	db, err := b.Received()
	return da.Unix() == db.Unix(), err
}

// guid128 is the short form of a GUID that indexes have: of texts that are no 128
// bits in hexadecimal digits, a part of the SHA-1.
func guid128(guid string) (id [16]byte) {
	if b, err := hex.DecodeString(guid); err == nil && len(b) == len(id) {
		return [16]byte(b)
	}
	sum := sha1.Sum([]byte(guid))
	return [16]byte(sum[4:])
}

func (c *boxCopy) setFlags(ctx context.Context) error {
	for f, uids := range c.same {
		change := mailbox.FlagChange{Op: mailbox.FlagsReplace, Flags: f.flags, Keywords: strings.Fields(f.keywords), UnchangedSince: mailbox.Unconditional}
		err := eachBatch(ctx, uids, func(uids []uint32) error {
			change.UIDs = uids
			_, err := c.dst.SetFlags(ctx, change)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// save copies the messages that are missing, in the order of their uids.
func (c *boxCopy) save(ctx context.Context) error {
	var saves []*mailbox.Save
	var uids []uint32 // that they were to get; 0 is any
	size := int64(0)
	commit := func() error {
		saved, err := mailbox.CommitAll(ctx, saves)
		for i := range saved {
			// Files that a killed run left without their records come to light when their names
			// are wanted, and take the uids.
			if uids[i] != 0 && saved[i].UID != uids[i] && !c.add {
				err = errDiverged
			}
		}
		saves, uids, size = saves[:0], uids[:0], 0
		return err
	}
	defer func() {
		for _, s := range saves {
			s.Abort()
		}
	}()
	for _, i := range c.missing {
		if err := ctx.Err(); err != nil {
			return errors.Join(errReported, err)
		}
		uid := c.src.snap.UID(i)
		if uid < c.dst.snap.UIDNext() {
			uid = 0
		}
		s, err := c.read(ctx, i, uid)
		if errors.Is(err, mailbox.ErrExpunged) {
			continue // meanwhile
		}
		if err != nil {
			return failed(err, "UID %d", c.src.snap.UID(i))
		}
		saves, uids, size = append(saves, s), append(uids, uid), size+s.Size()
		if len(saves) < backupBatch && size < backupBatchBytes {
			continue
		}
		if err := commit(); err != nil {
			return err
		}
	}
	return commit()
}

// read copies the text of message i and all that is known of it. The copy is to get a uid, or any
// if that is 0.
func (c *boxCopy) read(ctx context.Context, i int, uid uint32) (*mailbox.Save, error) {
	snap := c.src.snap
	msg, err := c.src.Message(snap.UID(i))
	if err != nil {
		return nil, err
	}
	opt := mailbox.SaveOptions{Flags: snap.Flags(i), Keywords: snap.Keywords(i), UID: uid}
	if snap.KeepsModSeq() {
		opt.MinModSeq = snap.ModSeq(i)
	}
	if opt.Received, err = msg.Received(); err != nil {
		return nil, err
	}
	if opt.GUID, err = msg.GUID(); err != nil {
		return nil, err
	}
	if opt.POP3UIDL, err = msg.POP3UIDL(); err != nil {
		return nil, err
	}
	body, err := msg.Open()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	s, err := c.dst.Save(ctx, opt)
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(s, io.NewSectionReader(body, 0, body.Size())); err != nil {
		s.Abort()
		return nil, err
	}
	return s, nil
}

// raiseNextUID has the next uid be that of the source, if messages at its end were
// expunged there. Formats keep it in places of their own; a message that comes and
// goes moves it in all of them.
func (c *boxCopy) raiseNextUID(ctx context.Context) error {
	snap, err := c.dst.Sync(ctx)
	if err != nil || snap.UIDNext() >= c.src.snap.UIDNext() {
		return err
	}
	s, err := c.dst.Save(ctx, mailbox.SaveOptions{UID: c.src.snap.UIDNext() - 1})
	if err != nil {
		return err
	}
	defer s.Abort()
	if _, err := io.WriteString(s, "Subject: backup in progress\n\n"); err != nil {
		return err
	}
	saved, err := s.Commit(ctx)
	if err != nil {
		return err
	}
	return c.dst.Expunge(ctx, []uint32{saved.UID})
}

package store

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/quota"
)

var _ = dovecot.RegisterPlugin("trash", "trash")

// maxTrash bounds what is read of the file, maxEmptied how often room is made for one message: what
// messages took may not be all that is needed.
const (
	maxTrash   = 64 << 10
	maxEmptied = 3
)

// A trash is Dovecot's plugin trash: where a quota has no room, the oldest messages go of mailboxes
// that a file names. A nil one has none.
type trash struct {
	u    *User
	path string // of the file
}

// A trashBox is a mailbox that is emptied: those with a smaller priority first.
type trashBox struct {
	priority int
	name     string
}

// newTrash returns that of a user; nil if the plugin is not asked for, or not set up.
func newTrash(u *User) (*trash, error) {
	if !u.HasPlugin("trash") {
		return nil, nil
	}
	if !u.HasPlugin("quota") {
		return nil, errors.New("Can't load plugin trash_plugin: Plugin quota must be loaded also (you must set: mail_plugins=$mail_plugins quota)")
	}
	set, err := u.plugin()
	if err != nil {
		return nil, err
	}
	path, _, err := set.get("trash")
	if err != nil || path == "" {
		return nil, err
	}
	return &trash{u, path}, nil
}

// parseTrash reads lines of priority and mailbox. Others are skipped.
func parseTrash(r io.Reader) (boxes []trashBox, err error) {
	lines := bufio.NewScanner(io.LimitReader(r, maxTrash))
	for lines.Scan() {
		number, name, _ := strings.Cut(strings.TrimSuffix(lines.Text(), "\r"), " ")
		if name == "" || strings.HasPrefix(number, "#") {
			continue
		}
		priority, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("Invalid priority for mailbox '%s'", name)
		}
		if !utf8.ValidString(name) {
			return nil, fmt.Errorf("Mailbox name not UTF-8: %q", name)
		}
		boxes = append(boxes, trashBox{priority, name})
	}
	slices.SortStableFunc(boxes, func(a, b trashBox) int { return cmp.Compare(a.priority, b.priority) })
	return boxes, lines.Err()
}

// makeRoom expunges messages that take at least so much, or none.
func (t *trash) makeRoom(ctx context.Context, need quota.Usage) (made bool) {
	if t == nil {
		return false
	}
	made, err := t.empty(ctx, need)
	if err != nil {
		t.u.log.Errorf("trash plugin: %v", err)
	}
	return made && err == nil
}

func (t *trash) empty(ctx context.Context, need quota.Usage) (bool, error) {
	f, err := os.Open(t.path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	boxes, err := parseTrash(f)
	if err != nil {
		return false, fmt.Errorf("%s: %w", t.path, err)
	}
	var all []*trashCursor
	defer func() {
		for _, c := range all {
			c.box.Close()
		}
	}()
	var found quota.Usage
	for len(boxes) > 0 && !covers(found, need) {
		same := 1
		for same < len(boxes) && boxes[same].priority == boxes[0].priority {
			same++
		}
		cursors, err := t.open(ctx, boxes[:same])
		all = append(all, cursors...)
		if err != nil {
			return false, err
		}
		if found, err = t.choose(cursors, found, need); err != nil {
			return false, err
		}
		boxes = boxes[same:]
	}
	if !covers(found, need) {
		return false, nil
	}
	for _, c := range all {
		if err := c.box.Expunge(ctx, c.chosen); err != nil {
			return false, err
		}
	}
	return true, nil
}

// covers reports whether what was found is as much as is needed.
func covers(found, need quota.Usage) bool {
	return found.Bytes >= need.Bytes && found.Messages >= need.Messages
}

// A trashCursor goes through the messages of a mailbox, the oldest first.
type trashCursor struct {
	box    *mailbox.Mailbox
	snap   *mailbox.Snapshot
	next   int
	oldest time.Time // when the next message came; zero if that is not known yet
	chosen []uint32
}

// open opens those of the mailboxes that exist.
func (t *trash) open(ctx context.Context, boxes []trashBox) (cursors []*trashCursor, err error) {
	for _, b := range boxes {
		p, err := t.u.resolve(b.name)
		if err != nil {
			return cursors, err
		}
		if made, err := t.u.made(p.ns, p.name); err != nil || !made {
			continue
		}
		box, err := t.u.Mailbox(ctx, b.name)
		if err != nil {
			return cursors, err
		}
		c := &trashCursor{box: box}
		cursors = append(cursors, c)
		if c.snap, err = box.Sync(ctx); err != nil {
			return cursors, err
		}
	}
	return cursors, nil
}

// choose adds the oldest messages of all until they are as much as is needed.
func (t *trash) choose(cursors []*trashCursor, found, need quota.Usage) (quota.Usage, error) {
	for !covers(found, need) {
		var oldest *trashCursor
		for _, c := range cursors {
			there, err := c.peek()
			if err != nil {
				return found, err
			}
			if there && (oldest == nil || c.oldest.Before(oldest.oldest)) {
				oldest = c
			}
		}
		if oldest == nil {
			return found, nil
		}
		size, err := t.take(oldest)
		if err != nil {
			return found, err
		}
		found = found.Plus(size)
	}
	return found, nil
}

// peek finds out when the next message came; there is false behind the last.
func (c *trashCursor) peek() (there bool, err error) {
	for c.next < c.snap.Len() && c.oldest.IsZero() {
		msg, err := c.box.Message(c.snap.UID(c.next))
		if err == nil {
			c.oldest, err = msg.Received()
		}
		if errors.Is(err, mailbox.ErrExpunged) {
			c.next++
			continue
		}
		if err != nil {
			return false, err
		}
	}
	return c.next < c.snap.Len(), nil
}

// take chooses the next message, and returns what it takes.
func (t *trash) take(c *trashCursor) (quota.Usage, error) {
	uid := c.snap.UID(c.next)
	c.next++
	c.oldest = time.Time{}
	msg, err := c.box.Message(uid)
	var size int64
	if err == nil && t.u.quota.virtual {
		size, err = msg.VirtualSize()
	} else if err == nil {
		size, err = msg.PhysicalSize()
	}
	if errors.Is(err, mailbox.ErrExpunged) {
		return quota.Usage{}, nil
	}
	c.chosen = append(c.chosen, uid)
	return quota.Usage{Bytes: size, Messages: 1}, err
}

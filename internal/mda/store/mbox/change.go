package mbox

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Rewrite is a message whose hidden fields are to say something else.
type Rewrite struct {
	Place
	Meta
}

// A Change is what is done to a file at once: messages are removed, headers of others
// rewritten. Places ascend.
type Change struct {
	Remove  []Place
	Rewrite []Rewrite
}

// Do changes the file. moved tells where the line break of a message that stays is
// afterwards; its argument must ascend from call to call. Some odd headers stay as
// they are. ErrMoved if a message is not where the index says; then nothing is changed.
func (b *Box) Do(c *Change) (moved func(off int64) int64, err error) {
	if b.readOnly {
		return nil, fmt.Errorf("%s: %w", b.opt.Path, unix.EACCES)
	}
	plan, err := b.plan(c)
	if err == nil {
		err = b.apply(plan)
	}
	if err != nil {
		return nil, err
	}
	to := mover{p: plan}
	return func(off int64) int64 { return to.to(off) }, nil
}

// plan looks where the messages are, and what has to change.
func (b *Box) plan(c *Change) (*plan, error) {
	p := b.parser()
	defer p.w.close()
	var edits []edit
	for _, pl := range c.Remove {
		m, err := p.check(pl)
		if err != nil {
			return nil, err
		}
		n, err := p.lineBreak(m.End)
		if err != nil {
			return nil, err
		}
		edits = appendRemoval(edits, span{m.From, m.End}, int64(n))
	}
	for i := range c.Rewrite {
		r := &c.Rewrite[i]
		m, err := p.check(r.Place)
		if err != nil {
			return nil, err
		}
		if r.Length == 0 {
			r.Length = m.End - m.Body
		}
		e, ok, err := p.rewrite(m, &r.Meta, padding)
		if errors.Is(err, errStays) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if ok {
			edits = append(edits, e)
		}
	}
	return newPlan(edits), nil
}

// appendRemoval adds what is removed, together with the removal before if they touch. From the
// begin of the file the line break that follows is removed, else that before.
func appendRemoval(edits []edit, s span, lineBreak int64) []edit {
	n := len(edits)
	if n == 0 || edits[n-1].end < s.start {
		edits, n = append(edits, edit{span: s}), n+1
	}
	e := &edits[n-1]
	e.end = s.end
	if e.start == 0 {
		e.end += lineBreak
	}
	return edits
}

// pseudoText is the message that keeps the base of a mailbox without messages, as
// other programs write it, whose users may see it.
const pseudoText = `Date: %s
From: Mail System Internal Data <MAILER-DAEMON@%s>
Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA
Message-ID: <%d@%s>
X-IMAP: %d %010d%s
Status: RO

This message holds what mail programs have to know of this folder. It is no
real message and not shown where it is understood. Please leave it where it is:
without it messages that come later may be taken for others.

`

// Clear leaves nothing in the file but the pseudo message.
func (b *Box) Clear(base *Base, now time.Time) error {
	if b.readOnly {
		return fmt.Errorf("%s: %w", b.opt.Path, unix.EACCES)
	}
	host, _ := os.Hostname()
	words := []byte(nil)
	for _, k := range base.Keywords {
		words = appendWord(words, k, false)
	}
	text := AppendFrom(nil, "MAILER_DAEMON", now)
	text = fmt.Appendf(text, pseudoText, now.Format(time.RFC1123Z), host, now.Unix(), host, base.UIDValidity, base.LastUID, words)
	return b.apply(newPlan([]edit{{span: span{0, b.size}, new: text}}))
}

package mailbox

import (
	"context"
	"time"
)

// SaveOptions are what a message is saved with besides its content.
type SaveOptions struct {
	Flags     Flags
	Keywords  []string
	Received  time.Time // INTERNALDATE; zero means now
	GUID      string    // empty for a new one
	UID       uint32    // wanted uid (replication); 0, or one that is taken: the next
	MinModSeq uint64    // replication
	POP3UIDL  string
	Sender    string // of the envelope, which only mbox keeps; empty if there is none
}

// SaveResult tells what a saved message became.
type SaveResult struct {
	UIDValidity uint32
	UID         uint32
	ModSeq      uint64
}

// A Save is a message being saved. Its methods belong to one goroutine.
type Save struct {
	b    *box
	m    *Mailbox // through which it is saved
	opt  SaveOptions
	w    Writer
	p    *saveParser // nil if nothing is to be cached of the message
	done bool

	filtered bool // the writer passes the text on
}

// Save begins to save a message. Nothing of it is visible before
// [Save.Commit].
func (m *Mailbox) Save(ctx context.Context, opt SaveOptions) (*Save, error) {
	if err := m.guardSave(&opt); err != nil {
		return nil, err
	}
	now := time.Now()
	if opt.Received.IsZero() {
		opt.Received = now
	}
	s := &Save{b: m.b, m: m, opt: opt, w: m.b.store.NewWriter(now), p: m.b.newSaveParser()}
	if f, ok := s.w.(filter); ok && s.p != nil {
		f.Tee(s.p.Write)
		s.filtered = true
	}
	return s, nil
}

// Write adds content. Lines may end in CRLF or LF; they are stored with LF.
func (s *Save) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if s.p != nil && !s.filtered {
		s.p.Write(p)
	}
	return n, wrap("save to "+s.b.loc.Name, err)
}

// Size returns the bytes written so far with every line end counted as CRLF
// (virtual size).
func (s *Save) Size() int64 { return s.w.VirtualSize() }

// Abort drops the message. After Commit it does nothing.
func (s *Save) Abort() {
	if !s.done {
		s.done = true
		s.p.close()
		s.w.Abort()
	}
}

// Commit makes the message part of the mailbox. It returns when the message is
// durable as mail_fsync demands. After an error the sender has to try again; only
// if the very last flush failed may the message have been saved nevertheless.
func (s *Save) Commit(ctx context.Context) (SaveResult, error) {
	var r [1]SaveResult
	err := commitAll(ctx, []*Save{s}, r[:])
	return r[0], err
}

// CommitAll commits saves of one mailbox together: all become messages, with
// ascending uids in the given order, or none (MULTIAPPEND, RFC 3502).
func CommitAll(ctx context.Context, saves []*Save) ([]SaveResult, error) {
	r := make([]SaveResult, len(saves))
	if err := commitAll(ctx, saves, r); err != nil {
		return nil, err
	}
	return r, nil
}

func commitAll(ctx context.Context, saves []*Save, results []SaveResult) error {
	if len(saves) == 0 {
		return nil
	}
	b := saves[0].b
	batch := &batch{done: make(chan struct{}), news: make([]New, len(saves))}
	for i, s := range saves {
		if err := s.finish(&batch.news[i]); err != nil {
			abortAll(saves)
			return wrap("save to "+b.loc.Name, err)
		}
	}
	settle, err := saves[0].m.reserveSaves(ctx, saves)
	if err == nil {
		err = b.appendBatch(ctx, batch)
		settle(err == nil)
	}
	if err != nil {
		abortAll(saves)
		return wrap("save to "+b.loc.Name, err)
	}
	for i, s := range saves {
		s.done = true
		s.w.Close()
		results[i] = SaveResult{UIDValidity: batch.uidValidity, UID: batch.news[i].UID, ModSeq: batch.news[i].modseq}
	}
	if b.mode.Saves() && !batch.durable {
		err = b.durable()
	}
	if err == nil {
		saved(saves, results)
	}
	return wrap("save to "+b.loc.Name, err)
}

func abortAll(saves []*Save) {
	for _, s := range saves {
		s.Abort()
	}
}

// finish completes the mail file and has it written to disk: the log must not
// know of a message whose text a power failure could take.
func (s *Save) finish(n *New) error {
	if s.done {
		return errClosed
	}
	if s.p != nil {
		s.p.identify(s.b, &s.opt)
	}
	err := s.w.Finish(&s.opt)
	*n = New{
		Writer: s.w, Flags: s.opt.Flags, Keywords: s.opt.Keywords, UIDL: s.opt.POP3UIDL != "",
		vsize: s.w.VirtualSize(), wantUID: s.opt.UID, minModSeq: s.opt.MinModSeq,
	}
	if s.p != nil && err == nil {
		n.cached = s.p.values(s.b, &s.opt)
	}
	return err
}

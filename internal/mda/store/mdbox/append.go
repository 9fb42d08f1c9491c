package mdbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/mda/store/commit"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/mda/store/journal"
)

// A Mailbox takes messages that were stored.
type Mailbox interface {
	// Add makes messages of the mailbox of what the appends say, which are all
	// for this mailbox, in one transaction. It sets Err of those that fail. The
	// map is locked meanwhile.
	//
	// If ready is not nil the messages are in the journal, but neither in the map nor durable. Add puts
	// what it is going to write into the journal, too, calls ready, and then writes; not if ready fails. If
	// kept is false, the journal was not up to it: what is written has to be flushed as if it were not there.
	Add(ctx context.Context, list []*Append, ready Ready)
}

// Ready makes what was put into the journal durable, and the messages part of the map: see [Mailbox].
type Ready func() (kept bool, err error)

// A Message is one that is stored or, if it is already, referred to once more.
type Message struct {
	Writer *dbox.Writer // the finished message, begun with [dbox.NewMessage]; or nil
	MapUID uint32       // of the message to refer to; of the new one when it is stored
}

// An Append is messages that a mailbox gets together, all or none.
type Append struct {
	Mailbox  Mailbox
	Messages []Message
	Value    any // the mailbox's own
	Err      error

	done chan struct{}
}

// maxRounds bounds how often a round starts over because the storage had to be
// rebuilt.
const maxRounds = 3

// Append stores messages and has the mailbox take them. Appends of sessions that
// come while another round is under way go into the next one together. When it
// returns, the mailbox's log has yet to be flushed; everything else is as durable
// as mail_fsync says.
func (s *Storage) Append(ctx context.Context, a *Append) error {
	a.done = make(chan struct{})
	s.queueMu.Lock()
	s.queue = append(s.queue, a)
	if s.leading {
		s.queueMu.Unlock()
		<-a.done
		return a.Err
	}
	s.leading = true
	s.queueMu.Unlock()

	// The work is not only this caller's.
	ctx = context.WithoutCancel(ctx)
	s.mu.Lock()
	all := s.takeQueue()
	err := s.rounds(ctx, all)
	s.mu.Unlock()
	for _, other := range all {
		if other.Err == nil {
			other.Err = err
		}
		close(other.done)
	}
	return a.Err
}

func (s *Storage) takeQueue() []*Append {
	s.queueMu.Lock()
	defer s.queueMu.Unlock()
	all := s.queue
	s.queue, s.leading = nil, false
	return all
}

// rounds does a round; again if the storage was rebuilt in between. mu is held.
func (s *Storage) rounds(ctx context.Context, all []*Append) error {
	for try := 0; ; try++ {
		err := s.round(ctx, all)
		if !errors.Is(err, errRebuilt) || try == maxRounds {
			return err
		}
	}
}

// A round is what is written for several appends.
type round struct {
	s      *Storage
	files  []*appendFile
	news   []*Message // in the order of places
	places []placed
	bytes  [][]byte // to be written to the last file
	refs   []uint32 // map uids to refer to once more
	good   []*Append

	recorded bool // the journal has what was written
	// direct says that all is in the journal, or will be: it is synced once, when the mailbox
	// has put in its part, and nothing that refers to the messages is written before.
	direct bool
	hold   journal.Hold // if there is a journal: messages are recorded before they are written
}

// A placed message lies in a file that may have no number yet.
type placed struct {
	file         *appendFile
	offset, size uint32
}

// round does one round. The map is locked all the time: who rebuilds the storage
// meanwhile would take what is written for lost messages. Nobody waits for m.N with
// the map locked, so their order does not matter.
func (s *Storage) round(ctx context.Context, all []*Append) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	r := &round{s: s, direct: s.recordable()}
	if s.journal != nil {
		r.hold = s.journal.Hold()
		defer r.hold.Release()
	}
	err := r.store(all)
	if err == nil {
		err = r.flush()
	}
	if err != nil {
		r.discard()
		return err
	}
	return r.enter(ctx, all)
}

// store writes the new messages into m.N.
func (r *round) store(all []*Append) error {
	for _, a := range all {
		for i := range a.Messages {
			if m := &a.Messages[i]; m.Writer != nil {
				if err := r.storeOne(m); err != nil {
					return err
				}
			}
		}
	}
	return r.writeGathered()
}

func (r *round) storeOne(m *Message) error {
	memory, size := m.Writer.Stored()
	f, err := r.fileFor(size)
	if err != nil {
		return err
	}
	r.news = append(r.news, m)
	r.places = append(r.places, placed{f, uint32(r.fileEnd()), uint32(size)})
	f.places++
	if int64(len(memory)) == size {
		r.bytes = append(r.bytes, memory)
		return nil
	}
	if err := r.writeGathered(); err != nil {
		return err
	}
	from := f.end
	if err := f.writeFrom(m.Writer.FD(), 0, size); err != nil {
		return sysError("write", r.s.dir.File(f.temp+fileName(f.id)), err)
	}
	return r.recordMessages(f, from, f.end, nil)
}

// fileEnd returns where the next message of the last file will be.
func (r *round) fileEnd() int64 {
	end := r.files[len(r.files)-1].end
	for _, b := range r.bytes {
		end += int64(len(b))
	}
	return end
}

// fileFor returns the file for the next message.
func (r *round) fileFor(size int64) (*appendFile, error) {
	if size > maxFileSize-1024 {
		return nil, fmt.Errorf("message of %d bytes is too large for mdbox", size)
	}
	if n := len(r.files); n > 0 {
		if r.fileEnd()+size <= r.s.opt.RotateSize {
			return r.files[n-1], nil
		}
		if err := r.writeGathered(); err != nil {
			return nil, err
		}
	}
	f := r.s.openLast(size, r.files)
	if f == nil {
		var err error
		if f, err = r.s.create(r.s.dir); err != nil {
			return nil, err
		}
	}
	r.files = append(r.files, f)
	return f, nil
}

// writeGathered writes the messages in memory to the last file.
func (r *round) writeGathered() error {
	if len(r.bytes) == 0 {
		return nil
	}
	f := r.files[len(r.files)-1]
	err := r.recordMessages(f, f.end, r.fileEnd(), r.bytes)
	if err != nil {
		return err
	}
	err = f.write(r.bytes)
	clear(r.bytes)
	r.bytes = r.bytes[:0]
	if err != nil {
		return sysError("write", r.s.dir.File(f.temp+fileName(f.id)), err)
	}
	return nil
}

// flush has the messages on disk before the map knows of them.
func (r *round) flush() error {
	if !r.s.opt.Fsync.Saves() {
		return nil
	}
	if r.s.journal != nil {
		return r.flushUnrecorded()
	}
	flush := commit.Data
	if r.s.volume.Ordered() {
		flush = commit.Content
	}
	for _, f := range r.files {
		if err := flush(f.fd); err != nil {
			return sysError("fdatasync", r.s.dir.File(f.temp+fileName(f.id)), err)
		}
	}
	return nil
}

// discard undoes what was written.
func (r *round) discard() {
	for _, f := range r.files {
		if r.recorded && f.id != 0 && r.s.journal.Cut(r.messages(f, f.start)) != nil {
			f.close() // what was written stays, nobody refers to it
			continue
		}
		f.discard(r.s.dir)
	}
}

// enter makes the transaction of the map, which is locked, flushes it, and has the mailboxes take
// their messages.
func (r *round) enter(ctx context.Context, all []*Append) error {
	s := r.s
	if err := r.countRefs(ctx, all); err != nil {
		r.discard()
		return err
	}
	newFile, err := r.nameFiles()
	if err == nil {
		r.record()
		if r.direct {
			return r.enterDirect(ctx)
		}
		err = s.commit()
	}
	if err != nil {
		r.discard()
		return err
	}
	r.keepLast()
	if err := s.flushMap(newFile); err != nil {
		// Nobody gets the messages.
		for _, a := range r.good {
			a.Err = err
		}
		r.giveBack()
		return err
	}
	r.add(ctx, nil)
	r.giveBack()
	return nil
}

// commit appends what was put into tx to the map's log.
func (s *Storage) commit() error {
	defer s.tx.Reset()
	return s.ix.Commit(&s.tx)
}

// countRefs finds out which appends are possible. Those that are not get their
// error; what they stored stays without references.
func (r *round) countRefs(ctx context.Context, all []*Append) error {
	var t table
	var more map[uint32]int // references to be added, by map uid
	for _, a := range all {
		a.Err = nil
		for i := range a.Messages {
			m := &a.Messages[i]
			if m.Writer != nil {
				continue
			}
			if t.st == nil {
				if err := r.s.ix.Load(); err != nil {
					return err
				}
				t, more = tableOf(r.s.ix.State()), make(map[uint32]int)
			}
			more[m.MapUID]++
			switch e, ok := t.find(m.MapUID); {
			case !ok:
				a.Err = fmt.Errorf("map uid %d: %w", m.MapUID, ErrExpunged)
			case int(e.refs)+more[m.MapUID] > maxRefs:
				a.Err = fmt.Errorf("map uid %d: %w", m.MapUID, ErrTooManyRefs)
			}
		}
		if a.Err != nil {
			for i := range a.Messages {
				if m := &a.Messages[i]; m.Writer == nil {
					more[m.MapUID]--
				}
			}
			continue
		}
		r.good = append(r.good, a)
		for i := range a.Messages {
			if m := &a.Messages[i]; m.Writer == nil {
				r.refs = append(r.refs, m.MapUID)
			}
		}
	}
	return nil
}

// nameFiles gives new files their numbers.
func (r *round) nameFiles() (newFile bool, err error) {
	h := mapHeaderOf(r.s.ix.State())
	for _, f := range r.files {
		if f.id == 0 {
			if err := r.s.name(f, r.s.dir, &h.highest); err != nil {
				return false, err
			}
			newFile = true
		}
	}
	if newFile {
		r.s.tx.Intro(&extMap)
		r.s.tx.ExtHeader(0, binary.LittleEndian.AppendUint32(nil, h.highest))
	}
	return newFile, nil
}

// record puts new messages and references into the transaction.
func (r *round) record() {
	tx := &r.s.tx
	if len(r.news) > 0 {
		uid := r.s.ix.State().Hdr.NextUID()
		news := make([]index.New, len(r.news))
		uids := make([]uint32, len(r.news))
		data := make([]byte, 0, mapRecordSize*len(r.news))
		for i, m := range r.news {
			m.MapUID = uid + uint32(i)
			news[i].UID, uids[i] = m.MapUID, m.MapUID
			p := &r.places[i]
			at := place{p.file.id, p.offset, p.size}
			data = at.append(data)
		}
		tx.Append(news...)
		tx.Intro(&extMap)
		tx.ExtRecords(uids, mapRecordSize, data)
		tx.Intro(&extRef)
		one := data[:0]
		for range uids {
			one = append(one, 1, 0)
		}
		tx.ExtRecords(uids, refRecordSize, one)
	}
	if len(r.refs) > 0 {
		tx.Intro(&extRef)
		tx.ExtAdd(r.refs, 1)
	}
}

// keepLast keeps the last file open for the next round and gives up the locks.
func (r *round) keepLast() {
	for i, f := range r.files {
		if i+1 < len(r.files) {
			f.close()
			continue
		}
		f.unlock()
		r.s.last.close()
		r.s.last = *f
	}
}

// add has the mailboxes take their messages.
func (r *round) add(ctx context.Context, ready Ready) {
	rest := append([]*Append(nil), r.good...)
	for len(rest) > 0 {
		box := rest[0].Mailbox
		var own, others []*Append
		for _, a := range rest {
			if a.Mailbox == box {
				own = append(own, a)
			} else {
				others = append(others, a)
			}
		}
		box.Add(ctx, own, ready)
		rest = others
	}
}

// giveBack takes the references of appends that failed back.
func (r *round) giveBack() {
	var uids []uint32
	for _, a := range r.good {
		if a.Err != nil {
			for i := range a.Messages {
				uids = append(uids, a.Messages[i].MapUID)
			}
		}
	}
	if len(uids) == 0 {
		return
	}
	r.s.tx.Intro(&extRef)
	r.s.tx.ExtAdd(uids, -1)
	if err := r.s.commit(); err != nil {
		// The messages stay until the storage is rebuilt.
		r.s.opt.Log.Errorf("mdbox storage %s: %v", r.s.opt.Dir, err)
	}
}

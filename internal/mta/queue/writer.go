package queue

import (
	"context"
	"fmt"
	"hash/crc32"
	"sync"
	"time"
)

// A Writer takes the content of a new message. It holds buffers only for what
// was written. Commit or Abort ends it.
type Writer struct {
	s       *Store
	id      string
	serial  uint64
	created time.Time
	blob    *blob
	size    int64
	crc     uint32
	large   file  // the content's own file, once it is too large
	flushed int64 // bytes in that file
	err     error // the first one sticks
	past    *Past // of a message that comes from another queue
}

// ID returns the queue ID.
func (w *Writer) ID() string { return w.id }

// Created returns the time that is in the queue ID.
func (w *Writer) Created() time.Time { return w.created }

// Size returns how many bytes were written.
func (w *Writer) Size() int64 { return w.size }

// Write takes a part of the content: lines ending in CRLF, not dot-stuffed.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.crc = crc32.Update(w.crc, castagnoli, p)
	if w.blob == nil {
		w.blob = newBlob()
	}
	n := len(p)
	for len(p) > 0 {
		p = p[w.blob.fill(p):]
		if w.blob.size >= w.s.lim.inline {
			if w.err = w.flush(); w.err != nil {
				return 0, w.err
			}
		}
	}
	w.size += int64(n)
	return n, nil
}

// flush moves the buffers to a file of the message's own.
func (w *Writer) flush() error {
	if w.large == nil {
		f, err := w.s.disk.create(w.largeName(), 0)
		if err != nil {
			return fmt.Errorf("mail queue: %s: %w", w.id, spaceError(err))
		}
		w.large = f
	}
	if err := w.large.writev(w.blob.vec(), w.flushed); err != nil {
		return fmt.Errorf("mail queue: %s: %w", w.id, spaceError(err))
	}
	w.flushed += w.blob.size
	w.blob.reset()
	return nil
}

func (w *Writer) largeName() string { return fileName(w.serial, ".msg") }

// Commit queues the message and returns when it is durable, or with an error
// when it is not queued. The context is looked at once, before. Commit takes
// env.Recipients over. It ends the Writer in both cases.
func (w *Writer) Commit(ctx context.Context, env *Envelope) error {
	err := w.err
	if err == nil {
		err = wait(ctx)
	}
	if err == nil && w.large != nil {
		err = w.finishLarge()
	}
	if err != nil {
		w.Abort()
		return err
	}
	m, err := w.commit(env)
	if err != nil {
		w.Abort()
		return fmt.Errorf("%s: %w", w.id, err)
	}
	if w.large != nil {
		w.large.Close()
	}
	w.blob = nil
	if env.Durable != nil {
		env.Durable()
	}
	if !env.Hold && w.past == nil {
		w.s.announce(m)
	}
	return nil
}

// finishLarge makes the message's own file durable.
func (w *Writer) finishLarge() error {
	err := w.flush()
	if err == nil {
		err = w.large.sync()
	}
	if err == nil {
		err = w.s.disk.sync()
	}
	if err != nil {
		return fmt.Errorf("mail queue: %s: %w", w.id, spaceError(err))
	}
	return nil
}

// heads keeps buffers for the envelopes.
var heads = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func (w *Writer) commit(env *Envelope) (*Message, error) {
	h := head{crc: w.crc, size: w.size, id: w.id, queued: w.created, env: *env}
	h.env.Durable = nil // of this process only
	if h.env.Arrival.IsZero() {
		h.env.Arrival = w.created
	}
	e := &entry{
		id: w.id, serial: w.serial, size: w.size,
		arrival: h.env.Arrival.UnixMicro(), queued: w.created.UnixMicro(),
	}
	if env.Hold {
		e.flags |= entryHold
	}
	if w.past != nil {
		e.begin(w.s, w.past, &h)
	}
	c := commit{e: e, kind: kindMessage, crc: w.crc}
	if w.large != nil {
		e.flags |= entryLarge
		c.kind, c.crc = kindLarge, 0
	} else if w.blob != nil {
		c.body, c.size, c.blob = w.blob.vec(), w.blob.size, w.blob
	}
	buf := heads.Get().(*[]byte)
	defer heads.Put(buf)
	*buf = append((*buf)[:0], zeros[:headerSize]...)
	*buf = appendHead(*buf, &h)
	c.head = *buf
	if len(c.head) > maxHead {
		return nil, errTooLarge(len(c.head))
	}
	e.head = uint32(len(c.head) - headerSize)
	if err := w.s.commit(&c); err != nil {
		return nil, err
	}
	m := e.message(h.env)
	m.e = e
	return m, nil
}

// Abort drops the message. It does nothing after Commit.
func (w *Writer) Abort() {
	if w.blob != nil {
		w.blob.release()
		w.blob = nil
	}
	if w.large != nil {
		w.large.Close()
		w.s.disk.remove(w.largeName()) //nolint:errcheck // removed at the next start otherwise
		w.large = nil
	}
	if w.err == nil {
		w.err = ErrClosed
	}
}

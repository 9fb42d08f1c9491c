package queuetool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// maildrop is the queue where postdrop(1) leaves mail until pickup(8) takes it.
const maildrop = "maildrop"

// openDropped opens a file in the maildrop of a queue directory that postdrop has
// completed. Users can put anything there, named pipes and links too.
func openDropped(dir, id string) (*os.File, fs.FileInfo, error) {
	const complete = 0o700
	path := filepath.Join(dir, maildrop, id)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Mode().Perm()&complete != complete) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// listDropped lists what waits in the maildrop, which comes first. What is no
// message is left to pickup(8), which says so.
func (b *backend) listDropped(out reply) error {
	names, err := os.ReadDir(filepath.Join(b.dir, maildrop))
	if err != nil {
		return nil //nolint:nilerr // there is none where nobody submits mail so
	}
	for _, name := range names {
		if e := b.droppedEntry(name.Name()); e != nil {
			if err := out.entry(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// droppedEntry shows one message of the maildrop; nil if it is none, or gone.
func (b *backend) droppedEntry(id string) *Entry {
	if !queue.ValidID(id) {
		return nil
	}
	f, info, err := openDropped(b.dir, id)
	if err != nil {
		return nil
	}
	defer f.Close()
	m, err := queuefile.Parse(f, info.Size())
	if err != nil || m.NoSender {
		return nil
	}
	e := &Entry{Queue: maildrop, ID: id, Arrival: m.Arrival.Unix(), Size: info.Size(), Sender: sender(m.Sender)}
	if m.Arrival.IsZero() {
		e.Arrival = info.ModTime().Unix()
	}
	for i := range m.Recipients {
		if r := &m.Recipients[i]; r.Type == queuefile.TypeRecipient {
			e.Recipients = append(e.Recipients, Recipient{Address: smtp.QuoteAddress(r.Address)})
		}
	}
	return e
}

// delete takes messages out of the queue, and out of the maildrop.
func (b *backend) delete(req *Request, out reply) error {
	if err := remove.all(b, req, out); err != nil || len(req.Queues) > 0 && !slices.Contains(req.Queues, maildrop) {
		return err
	}
	ids := req.IDs
	if slices.Contains(ids, all) {
		ids = nil
		names, _ := os.ReadDir(filepath.Join(b.dir, maildrop)) //nolint:errcheck // without one there is nothing to delete
		for _, name := range names {
			ids = append(ids, name.Name())
		}
	}
	for _, id := range ids {
		path := filepath.Join(b.dir, maildrop, id)
		if info, err := os.Lstat(path); !queue.ValidID(id) || err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := os.Remove(path); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // pickup(8) took it
			}
			return err
		}
		if err := out.changed(id, remove.did); err != nil {
			return err
		}
	}
	return nil
}

// sender is an envelope sender as the queue listing has it.
func sender(addr string) string {
	if addr == "" {
		return "MAILER-DAEMON"
	}
	return smtp.QuoteAddress(addr)
}

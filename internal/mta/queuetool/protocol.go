package queuetool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

// Request is what a command asks for.
type Request struct {
	Op   string   `json:"op"` // see ops
	IDs  []string `json:"ids,omitempty"`
	Site string   `json:"site,omitempty"`
}

// all is the ID that stands for every message.
const all = "ALL"

// Entry is one message of the queue. Field order is that of postqueue -j.
type Entry struct {
	Queue      string      `json:"queue_name"`
	ID         string      `json:"queue_id"`
	Arrival    int64       `json:"arrival_time"`
	Size       int64       `json:"message_size"`
	Expired    bool        `json:"forced_expire"`
	Sender     string      `json:"sender"`
	Recipients []Recipient `json:"recipients"`
}

// Recipient is one that is still to be tried.
type Recipient struct {
	Address string `json:"address"`
	Reason  string `json:"delay_reason,omitempty"`
}

// answer is one line of the server besides entries.
type answer struct {
	Changed string `json:"changed,omitempty"` // queue ID
	Content int64  `json:"content,omitempty"` // bytes that follow
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
}

// A Scheduler is told what to try again; *qmgr.Scheduler is one.
type Scheduler interface {
	Flush()                  // everything, now
	FlushMessage(id string)  // one message
	FlushSite(domain string) // mail for one domain
	Released(id string)      // a message is not on hold any more
}

// A backend is the queue, in this process.
type backend struct {
	store *queue.Store
	sched Scheduler // nil when the mta does not run
}

// reply is where the outcome of a request goes.
type reply interface {
	entry(*Entry) error
	changed(id string) error
	content(m *queue.Message, c *queue.Content) error
}

// ops are the requests, by name.
var ops = map[string]func(*backend, *Request, reply) error{
	"list":       (*backend).list,
	"cat":        (*backend).cat,
	"flush":      (*backend).flush,
	"flush-id":   (*backend).flushID,
	"flush-site": (*backend).flushSite,
	"delete":     each((*queue.Store).Delete, nil, "hold active incoming deferred"),
	"hold":       each((*queue.Store).Hold, nil, "active incoming deferred"),
	"release":    each((*queue.Store).Release, (Scheduler).Released, "hold"),
	"expire":     each((*queue.Store).Expire, nil, "hold deferred"),
	"requeue":    each((*queue.Store).Release, (Scheduler).FlushMessage, "hold active incoming deferred"),
}

func (b *backend) do(req *Request, out reply) error {
	op, ok := ops[req.Op]
	if !ok {
		return fmt.Errorf("unknown request %q", req.Op)
	}
	return op(b, req, out)
}

// order is that of the queue listing.
var order = []queue.Name{queue.Active, queue.Incoming, queue.Waiting, queue.Held}

func (b *backend) list(_ *Request, out reply) error {
	infos := b.store.List()
	slices.SortFunc(infos, func(x, y queue.Info) int {
		if c := slices.Index(order, x.Queue) - slices.Index(order, y.Queue); c != 0 {
			return c
		}
		if c := x.Arrival.Compare(y.Arrival); c != 0 {
			return c
		}
		return strings.Compare(x.ID, y.ID)
	})
	for i := range infos {
		m, err := b.store.Load(infos[i].ID)
		if errors.Is(err, queue.ErrNotFound) {
			continue // delivered meanwhile
		}
		if err != nil {
			return err
		}
		if err := out.entry(newEntry(&infos[i], m)); err != nil {
			return err
		}
	}
	return nil
}

// newEntry shows a message. Recipients without a reason come first, then those
// that share one together.
func newEntry(info *queue.Info, m *queue.Message) *Entry {
	e := &Entry{Queue: info.Queue.String(), ID: info.ID, Arrival: info.Arrival.Unix(), Size: info.Size, Expired: info.Expired, Sender: m.Sender}
	if e.Sender == "" {
		e.Sender = "MAILER-DAEMON"
	}
	for i := range m.Recipients {
		if m.Outcomes[i].State == queue.Pending {
			e.Recipients = append(e.Recipients, Recipient{Address: m.Recipients[i].Address, Reason: m.Outcomes[i].Text})
		}
	}
	slices.SortStableFunc(e.Recipients, func(x, y Recipient) int {
		return min(len(x.Reason), 1) - min(len(y.Reason), 1)
	})
	return e
}

func (b *backend) cat(req *Request, out reply) error {
	for _, id := range req.IDs {
		info, ok := b.store.Lookup(id)
		if !ok {
			return fmt.Errorf("open queue file %s: No such file or directory", id)
		}
		m, err := b.store.Load(id)
		if err != nil {
			return err
		}
		c, err := b.store.Content(m)
		if err != nil {
			return err
		}
		err = errors.Join(out.entry(newEntry(&info, m)), out.content(m, c))
		c.Close() //nolint:errcheck // it was only read
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *backend) flush(*Request, reply) error {
	b.sched.Flush()
	return nil
}

func (b *backend) flushID(req *Request, _ reply) error {
	for _, id := range req.IDs {
		b.sched.FlushMessage(id)
	}
	return nil
}

func (b *backend) flushSite(req *Request, _ reply) error {
	b.sched.FlushSite(req.Site)
	return nil
}

// each makes the request that changes messages: those named, or all, as far as
// they are in one of the queues.
func each(change func(*queue.Store, string) error, after func(Scheduler, string), queues string) func(*backend, *Request, reply) error {
	return func(b *backend, req *Request, out reply) error {
		for _, info := range b.selected(req.IDs) {
			if !slices.Contains(strings.Fields(queues), info.Queue.String()) {
				continue
			}
			if err := change(b.store, info.ID); err != nil {
				if errors.Is(err, queue.ErrNotFound) {
					continue
				}
				return err
			}
			if after != nil && b.sched != nil {
				after(b.sched, info.ID)
			}
			if err := out.changed(info.ID); err != nil {
				return err
			}
		}
		return nil
	}
}

func (b *backend) selected(ids []string) []queue.Info {
	if slices.Contains(ids, all) {
		return b.store.List()
	}
	var infos []queue.Info
	for _, id := range ids {
		if info, ok := b.store.Lookup(id); ok {
			infos = append(infos, info)
		}
	}
	return infos
}

// requestTimeout bounds how long a client may take to send its request, or to
// read a piece of the answer.
const requestTimeout = time.Minute

// maxRequest bounds a request.
const maxRequest = 1 << 20

// Serve answers commands until l is closed.
func Serve(ctx context.Context, l net.Listener, store *queue.Store, sched Scheduler) error {
	b := &backend{store, sched}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go b.serve(conn)
	}
}

func (b *backend) serve(conn net.Conn) {
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(requestTimeout))
	var req Request
	if err := json.NewDecoder(io.LimitReader(conn, maxRequest)).Decode(&req); err != nil {
		return
	}
	out := newStream(&deadlineWriter{conn})
	final := answer{Done: true}
	if err := b.do(&req, out); err != nil {
		final.Error = err.Error()
	}
	out.enc.Encode(final) //nolint:errcheck // a client that is gone does not want to know
	out.w.Flush()         //nolint:errcheck // as above
}

// deadlineWriter gives each write its own time.
type deadlineWriter struct{ conn net.Conn }

func (d *deadlineWriter) Write(p []byte) (int, error) {
	d.conn.SetWriteDeadline(time.Now().Add(requestTimeout))
	return d.conn.Write(p)
}

// stream is the reply that goes over the socket.
type stream struct {
	w   *bufio.Writer
	enc *json.Encoder
}

func newStream(w io.Writer) *stream {
	s := &stream{w: bufio.NewWriterSize(w, 32<<10)}
	s.enc = json.NewEncoder(s.w)
	s.enc.SetEscapeHTML(false)
	return s
}

func (s *stream) entry(e *Entry) error    { return s.enc.Encode(e) }
func (s *stream) changed(id string) error { return s.enc.Encode(answer{Changed: id}) }

func (s *stream) content(m *queue.Message, c *queue.Content) error {
	if err := s.enc.Encode(m.Envelope); err != nil {
		return err
	}
	if err := s.enc.Encode(answer{Content: c.Size()}); err != nil {
		return err
	}
	_, err := c.WriteTo(s.w)
	return err
}

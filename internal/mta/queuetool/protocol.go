package queuetool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/flush"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// Request is what a command asks for.
type Request struct {
	Op     string   `json:"op"` // see ops
	IDs    []string `json:"ids,omitempty"`
	Queues []string `json:"queues,omitempty"` // restrict a change to these
	Site   string   `json:"site,omitempty"`
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
	Did     string `json:"did,omitempty"`     // what was done to it: "removed"
	Content *int64 `json:"content,omitempty"` // bytes that follow
	Done    bool   `json:"done,omitempty"`
	Error   string `json:"error,omitempty"`
}

// A Scheduler is told what to try again; *qmgr.Scheduler is one.
type Scheduler interface {
	Flush()                 // everything, now
	FlushMessage(id string) // one message
	// FlushSite tries the mail for one domain; [flush.ErrDenied] says that it
	// is none of those for which that can be asked.
	FlushSite(ctx context.Context, domain string) error
	Released(id string) // a message is not on hold any more
}

// A backend is the queue, in this process.
type backend struct {
	store  *queue.Store
	sched  Scheduler // nil when the mta does not run
	access *Access   // of users; nil where only root can ask
	dir    string    // queue_directory, where the maildrop is
}

// reply is where the outcome of a request goes.
type reply interface {
	entry(*Entry) error
	changed(id, did string) error
	content(m *queue.Message, c *queue.Content) error
}

// who is the user that asks.
type who struct {
	root bool // the superuser or the mail system
	uid  int
}

// right is what a request needs.
type right int

const (
	listing right = iota
	flushing
	reading // mail: root's alone, as all that follows
	changing
)

// An op is one request.
type op struct {
	run func(*backend, *Request, reply) error
	may right
}

// ops are the requests, by name.
var ops = map[string]op{
	"list":       {(*backend).list, listing},
	"flush":      {(*backend).flush, flushing},
	"flush-id":   {(*backend).flushID, flushing},
	"flush-site": {(*backend).flushSite, flushing},
	"cat":        {(*backend).cat, reading},
	"delete":     {(*backend).delete, changing},
	"requeue":    {requeue.all, changing},
	"hold":       {hold.all, changing},
	"expire":     {expire.all, changing},
	"release":    {release.all, changing},
}

func (b *backend) do(req *Request, out reply, asks who) error {
	op, ok := ops[req.Op]
	if !ok {
		return fmt.Errorf("unknown request %q", req.Op)
	}
	if err := b.access.check(op.may, asks); err != nil {
		return err
	}
	return op.run(b, req, out)
}

// order is that of the queue listing.
var order = []queue.Name{queue.Active, queue.Incoming, queue.Waiting, queue.Held}

func (b *backend) list(_ *Request, out reply) error {
	if err := b.listDropped(out); err != nil {
		return err
	}
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
	e := &Entry{Queue: info.Queue.String(), ID: info.ID, Arrival: info.Arrival.Unix(), Size: info.Size, Expired: info.Expired, Sender: sender(m.Sender)}
	for i := range m.Recipients {
		if m.Outcomes[i].State == queue.Pending && !m.Recipients[i].Expanded {
			e.Recipients = append(e.Recipients, Recipient{Address: smtp.QuoteAddress(m.Recipients[i].Address), Reason: m.Outcomes[i].Text})
		}
	}
	rank := map[string]int{"": 0}
	for _, r := range e.Recipients {
		if _, known := rank[r.Reason]; !known {
			rank[r.Reason] = len(rank)
		}
	}
	slices.SortStableFunc(e.Recipients, func(x, y Recipient) int { return rank[x.Reason] - rank[y.Reason] })
	return e
}

func (b *backend) cat(req *Request, out reply) error {
	for _, id := range req.IDs {
		info, ok := b.store.Lookup(id)
		if !ok {
			return fmt.Errorf("open queue file %s: %s", id, reason(syscall.ENOENT))
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

// errNoScheduler answers who asks for deliveries where nothing delivers.
var errNoScheduler = errors.New("mail system is down")

func (b *backend) flush(*Request, reply) error {
	if b.sched == nil {
		return errNoScheduler
	}
	b.sched.Flush()
	return nil
}

func (b *backend) flushID(req *Request, _ reply) error {
	if b.sched == nil {
		return errNoScheduler
	}
	for _, id := range req.IDs {
		b.sched.FlushMessage(id)
	}
	return nil
}

func (b *backend) flushSite(req *Request, _ reply) error {
	if b.sched == nil {
		return errNoScheduler
	}
	err := b.sched.FlushSite(context.Background(), req.Site)
	if errors.Is(err, flush.ErrDenied) {
		return fmt.Errorf("Flush service is not configured for destination %q", req.Site) //nolint:staticcheck // postqueue's words
	}
	return err
}

// A change is what postsuper does to messages.
type change struct {
	did   string // said of each message
	from  []queue.Name
	apply func(*queue.Store, string) error
	after func(Scheduler, string)     // the mta runs
	skip  func(info *queue.Info) bool // nothing is to be done
}

var (
	fresh = []queue.Name{queue.Incoming, queue.Active, queue.Waiting}

	remove  = change{did: "removed", from: append(fresh, queue.Held), apply: (*queue.Store).Delete}
	requeue = change{did: "requeued", from: append(fresh, queue.Held), apply: (*queue.Store).Release, after: (Scheduler).FlushMessage}
	hold    = change{did: "placed on hold", from: fresh, apply: (*queue.Store).Hold}
	release = change{did: "released from hold", from: []queue.Name{queue.Held}, apply: (*queue.Store).Release, after: (Scheduler).Released}
	expire  = change{did: "expired", from: []queue.Name{queue.Waiting, queue.Held}, apply: (*queue.Store).Expire,
		skip: func(info *queue.Info) bool { return info.Expired }}
)

// all applies a change to the messages named, or to all, as far as they are in
// one of its queues.
func (c *change) all(b *backend, req *Request, out reply) error {
	for _, info := range b.selected(req.IDs) {
		if !slices.Contains(c.from, info.Queue) || !req.within(info.Queue) || c.skip != nil && c.skip(&info) {
			continue
		}
		if err := c.apply(b.store, info.ID); err != nil {
			if errors.Is(err, queue.ErrNotFound) {
				continue
			}
			return err
		}
		if c.after != nil && b.sched != nil {
			c.after(b.sched, info.ID)
		}
		if err := out.changed(info.ID, c.did); err != nil {
			return err
		}
	}
	return nil
}

// within reports whether a request is about a queue.
func (r *Request) within(q queue.Name) bool {
	return len(r.Queues) == 0 || slices.Contains(r.Queues, q.String())
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

// Serve answers commands until l is closed, about the queue in dir and its store. Changes are logged. Everyone may connect; what access
// allows is for the user that the kernel names.
func Serve(ctx context.Context, l net.Listener, dir string, store *queue.Store, sched Scheduler, access *Access, log *maillog.Logger) error {
	b := &backend{store, sched, access, dir}
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
		go b.serve(conn, log)
	}
}

func (b *backend) serve(conn net.Conn, log *maillog.Logger) {
	defer conn.Close()
	defer func() {
		if p := recover(); p != nil {
			log.Print(maillog.Panic, fmt.Sprintf("%v %s", p, debug.Stack()))
		}
	}()
	conn.SetReadDeadline(time.Now().Add(requestTimeout))
	out := newStream(&deadlineWriter{conn}, log)
	final := answer{Done: true}
	if err := b.answer(conn, out, peer(conn)); err != nil {
		final.Error = err.Error()
	}
	out.enc.Encode(final) //nolint:errcheck // a client that is gone does not want to know
	out.w.Flush()         //nolint:errcheck // as above
}

// answer reads one request and carries it out.
func (b *backend) answer(in io.Reader, out reply, asks who) error {
	var req Request
	if err := json.NewDecoder(io.LimitReader(in, maxRequest)).Decode(&req); err != nil {
		return fmt.Errorf("bad request: %w", err)
	}
	return b.do(&req, out, asks)
}

// peer is who is at the other end. Nobody knows of one whom the kernel does not name.
func peer(conn net.Conn) who {
	unknown := who{uid: -1}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return unknown
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return unknown
	}
	var cred *unix.Ucred
	raw.Control(func(fd uintptr) { //nolint:errcheck // cred stays nil
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || cred == nil {
		return unknown
	}
	return who{root: cred.Uid == 0 || int(cred.Uid) == os.Geteuid(), uid: int(cred.Uid)}
}

// deadlineWriter gives each write its own time.
type deadlineWriter struct{ conn net.Conn }

func (d *deadlineWriter) Write(p []byte) (int, error) {
	d.conn.SetWriteDeadline(time.Now().Add(requestTimeout))
	return d.conn.Write(p)
}

// stream is the reply that goes over the socket.
type stream struct {
	w    *bufio.Writer
	enc  *json.Encoder
	log  *maillog.Logger
	line []byte // kept for the next one
}

func newStream(w io.Writer, log *maillog.Logger) *stream {
	s := &stream{w: bufio.NewWriterSize(w, 32<<10), log: log}
	s.enc = json.NewEncoder(s.w)
	s.enc.SetEscapeHTML(false)
	return s
}

func (s *stream) entry(e *Entry) error {
	s.line = append(appendEntry(s.line[:0], e), '\n')
	_, err := s.w.Write(s.line)
	return err
}

func (s *stream) changed(id, did string) error {
	s.log.Infof("%s: %s", id, did)
	return s.enc.Encode(answer{Changed: id, Did: did})
}

func (s *stream) content(m *queue.Message, c *queue.Content) error {
	if err := s.enc.Encode(m.Envelope); err != nil {
		return err
	}
	size := c.Size()
	if err := s.enc.Encode(answer{Content: &size}); err != nil {
		return err
	}
	_, err := c.WriteTo(s.w)
	return err
}

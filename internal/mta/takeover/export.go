package takeover

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// An exporter writes our queue as Postfix's.
type exporter struct {
	layout
	store *queue.Store
	warn  time.Duration // delay_warning_time; 0 for no warnings
	say   func(format string, args ...any)
}

const (
	// batchSize is how many messages change hands at once.
	batchSize = 256
	// writers is how many files are written at once: syncs wait for the disk.
	writers = 16
)

// run exports all messages, and returns how many it did and how many it could not.
func (e *exporter) run(ctx context.Context) (done, left int, err error) {
	for _, q := range slices.Concat(exported, logNames) {
		if err := os.MkdirAll(e.staged(q, ""), 0o700); err != nil {
			return 0, 0, err
		}
	}
	if err := dropSubmitted(e.dir, e.store, e.say); err != nil {
		return 0, 0, err
	}
	if done, err = e.finish(e.store); err != nil {
		return done, 0, err
	}
	list := e.store.List()
	slices.SortFunc(list, func(a, b queue.Info) int { return a.Arrival.Compare(b.Arrival) })
	for batch := range slices.Chunk(list, batchSize) {
		if err := ctx.Err(); err != nil {
			return done, left, context.Cause(ctx)
		}
		n, err := e.batch(batch)
		done += n
		left += len(batch) - n
		if err != nil {
			return done, left, err
		}
	}
	return done, left, nil
}

// A parcel is a message that is ready to change hands.
type parcel struct {
	id    string
	queue string
	err   error
}

// batch exports some messages: first all files, durable; then the messages are
// taken out of the queue, durably; then the files go where Postfix finds them.
func (e *exporter) batch(infos []queue.Info) (int, error) {
	parcels := e.writeAll(infos)
	touched := make(map[string]bool)
	for _, q := range slices.Concat(exported, logNames) {
		touched[e.staged(q, "")] = true
	}
	if err := syncDirs(touched); err != nil {
		return 0, err
	}
	step()
	for _, p := range parcels {
		if err := e.store.Delete(p.id); err != nil {
			return 0, err
		}
	}
	step()
	if err := e.store.Sync(); err != nil {
		return 0, err
	}
	clear(touched)
	for _, p := range parcels {
		if err := e.place(p.queue, p.id, touched); err != nil {
			return 0, err
		}
	}
	return len(parcels), syncDirs(touched)
}

// writeAll writes the files of a batch. Messages that cannot be read stay.
func (e *exporter) writeAll(infos []queue.Info) []parcel {
	parcels := make([]parcel, len(infos))
	var work sync.WaitGroup
	turns := make(chan struct{}, writers)
	for i := range infos {
		turns <- struct{}{}
		work.Go(func() {
			defer func() { <-turns }()
			parcels[i] = e.write(&infos[i])
		})
	}
	work.Wait()
	return slices.DeleteFunc(parcels, func(p parcel) bool {
		if p.err != nil {
			e.say("%s stays in the queue: %v", p.id, errors.Join(p.err, e.drop(p.queue, p.id)))
		}
		return p.err != nil
	})
}

// write makes the file and the logs of one message, and makes them durable.
func (e *exporter) write(inf *queue.Info) parcel {
	p := parcel{id: inf.ID, queue: destination(inf)}
	m, err := e.store.Load(inf.ID)
	if err != nil {
		p.err = err
		return p
	}
	content, err := e.store.Content(m)
	if err != nil {
		p.err = err
		return p
	}
	defer content.Close()
	msg := e.message(m, content)
	step()
	p.err = e.create(&p, inf, func(f *os.File) error { return msg.Compose(f, content.NewReader()) })
	if p.err == nil {
		p.err = e.writeLogs(m, msg)
	}
	return p
}

// destination is the queue that a message goes to.
func destination(inf *queue.Info) string {
	switch inf.Queue {
	case queue.Held:
		return "hold"
	case queue.Waiting:
		return "deferred"
	}
	return "incoming"
}

// create writes the queue file.
func (e *exporter) create(p *parcel, inf *queue.Info, compose func(*os.File) error) error {
	f, err := os.OpenFile(e.staged(p.queue, p.id), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := compose(f); err != nil {
		return err
	}
	if err := e.clear(p.id, f); err != nil {
		return err
	}
	mode := uint32(modeComplete)
	if inf.Expired {
		mode |= modeExpired
	}
	// The time is that of the next attempt; it must not be ahead elsewhere.
	at := time.Now()
	if p.queue == "deferred" {
		at = inf.Next
	}
	if err := os.Chtimes(f.Name(), at, at); err != nil {
		return err
	}
	if err := unix.Fchmod(int(f.Fd()), mode); err != nil {
		return err
	}
	step()
	return f.Sync()
}

// message makes the file's content of what is known of m. The options say where
// SMTPUTF8 is needed, which Postfix finds out when mail arrives.
func (e *exporter) message(m *queue.Message, content *queue.Content) *queuefile.Message {
	msg := &queuefile.Message{
		Size: new(queuefile.Size), Arrival: m.Arrival, Created: m.Queued,
		FullName: m.FullName, Sender: m.Sender, VERP: m.VERP, Filter: m.Filter,
		Encoding: m.Encoding, Ret: int(m.Ret), EnvID: m.EnvID, Context: m.RewriteContext,
		Warn: e.warning(m), Trace: traceFlags(m), Attributes: attributes(m),
	}
	if m.SMTPUTF8 {
		msg.Size.Options |= queuefile.UTF8Requested
		if !isASCII([]byte(m.Sender)) {
			msg.Size.Options |= queuefile.UTF8Sender
		}
		if !isASCII(header(content)) {
			msg.Size.Options |= queuefile.UTF8Header
		}
	}
	for i := range m.Recipients {
		r := &m.Recipients[i]
		rcpt := queuefile.Recipient{
			Address: r.Address, Original: r.Original, Orcpt: r.DSNOrcpt, Notify: int(r.Notify), Type: queuefile.TypeRecipient,
		}
		if m.Outcomes[i].State != queue.Pending || r.Expanded {
			rcpt.Type = queuefile.TypeDone
		}
		msg.Recipients = append(msg.Recipients, rcpt)
	}
	return msg
}

// warning is when Postfix is to tell the sender of the delay: see letter, which
// reads it.
func (e *exporter) warning(m *queue.Message) int64 {
	switch {
	case e.warn == 0 || m.Sender == "":
		return 0
	case m.Warned:
		return -1
	}
	return m.Arrival.Add(e.warn).Unix()
}

func traceFlags(m *queue.Message) int {
	switch {
	case m.Traced:
		return 0
	case m.Verify:
		return queuefile.TraceProbe
	case m.Trace == queue.TraceVerify:
		return queuefile.TraceVerify
	case m.Trace == queue.TraceRecord:
		return queuefile.TraceRecord
	}
	return 0
}

// attributes are those in which Postfix keeps client and login.
func attributes(m *queue.Message) []queuefile.Attribute {
	c, s := &m.Client, &m.SASL
	all := []queuefile.Attribute{
		{Name: queuefile.AttrLogIdent, Value: m.ID},
		{Name: queuefile.AttrSASLMech, Value: s.Method},
		{Name: queuefile.AttrSASLUser, Value: s.Username},
		{Name: queuefile.AttrSASLFrom, Value: s.Sender},
	}
	if c.Addr == "" {
		return all
	}
	addr, family := c.Addr, "2"
	if strings.Contains(addr, ":") {
		addr, family = ipv6Prefix+addr, "10"
	}
	return append(all, []queuefile.Attribute{
		{Name: queuefile.AttrLogName, Value: c.Name},
		{Name: queuefile.AttrLogAddr, Value: addr},
		{Name: queuefile.AttrLogPort, Value: c.Port},
		{Name: queuefile.AttrLogOrigin, Value: c.Name + "[" + c.Addr + "]"},
		{Name: queuefile.AttrLogHelo, Value: c.Helo},
		{Name: queuefile.AttrLogProto, Value: c.Proto},
		{Name: queuefile.AttrName, Value: c.Name},
		{Name: queuefile.AttrReverse, Value: c.Name},
		{Name: queuefile.AttrAddr, Value: addr},
		{Name: queuefile.AttrPort, Value: c.Port},
		{Name: queuefile.AttrHelo, Value: c.Helo},
		{Name: queuefile.AttrProto, Value: c.Proto},
		{Name: queuefile.AttrFamily, Value: family},
	}...)
}

func isASCII(b []byte) bool {
	return !slices.ContainsFunc(b, func(c byte) bool { return c >= 0x80 })
}

// maxHeader is how much of a message is looked at for its header.
const maxHeader = 256 << 10

func header(content *queue.Content) []byte {
	b := make([]byte, min(content.Size(), maxHeader))
	n, err := content.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return nil
	}
	h, _, _ := bytes.Cut(b[:n], []byte("\r\n\r\n"))
	return h
}

// writeLogs writes what is known of recipients, in the logs in which Postfix
// keeps it: why some wait, which failures and successes are still to be reported.
func (e *exporter) writeLogs(m *queue.Message, msg *queuefile.Message) error {
	var logs [len(stateLogs)][]queuefile.Entry
	for i := range m.Outcomes {
		o := &m.Outcomes[i]
		if int(o.State) < len(logs) && *o != (queue.Outcome{}) && (o.State != queue.Pending || !m.Recipients[i].Expanded) {
			logs[o.State] = append(logs[o.State], entry(&m.Recipients[i], o, msg.Recipients[i].Offset))
		}
	}
	for state, entries := range logs {
		if len(entries) == 0 {
			continue
		}
		if err := writeLog(e.staged(stateLogs[state], m.ID), entries); err != nil {
			return err
		}
	}
	return nil
}

// stateLogs are the logs for the states of a recipient.
var stateLogs = [...]string{queue.Pending: logDefer, queue.Failed: logBounce, queue.Delivered: logTrace}

func entry(r *queue.Recipient, o *queue.Outcome, offset int64) queuefile.Entry {
	e := queuefile.Entry{
		Recipient: r.Address, Original: r.Original, Orcpt: r.DSNOrcpt, Notify: int(r.Notify), Offset: offset,
		Status: o.DSN, Action: o.Action, Reason: o.Text,
	}
	e.MTAType, e.MTAName, _ = strings.Cut(o.RemoteMTA, "; ")
	e.DiagType, e.DiagText, _ = strings.Cut(o.RemoteCode, "; ")
	return e
}

func writeLog(path string, entries []queuefile.Entry) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := queuefile.WriteLog(f, entries); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	step()
	return f.Sync()
}

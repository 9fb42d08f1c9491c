package mailbox

import (
	"bytes"
	"context"
	"encoding/hex"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/index"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// maxHeaderKept is how much of a header is kept while its message is saved. Fields of longer
// ones are not cached then.
const maxHeaderKept = 64 << 10

// A saveParser looks at a message that is being saved, as far as the mailbox's cache wants to know
// of it. Bytes are given to it as they come, and seen as they are stored.
type saveParser struct {
	plan   *cache.Plan
	parser *message.Parser // nil if the structure is not wanted
	header []byte          // if fields are wanted
	done   bool            // with the header
	cr     bool            // a CR was seen that may belong to a line end
}

var parserPool = sync.Pool{New: func() any { return message.NewParser(message.Limits{}) }}

// newSaveParser returns nil if nothing of a new message is to be cached.
func (b *box) newSaveParser() *saveParser {
	plan := b.values.planNew()
	if plan.Empty() || b.set.CacheMinMailCount > 0 && !b.cacheableNew() {
		return nil
	}
	p := &saveParser{plan: plan, done: len(plan.Headers) == 0}
	if plan.Wants(structureFields...) || plan.Wants(cache.Envelope, cache.SentDate) {
		p.parser = parserPool.Get().(*message.Parser)
		p.parser.Reset()
	}
	return p
}

// cacheableNew is cacheable for a mailbox of which only the header may have been read.
func (b *box) cacheableNew() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ready && b.ix.Load() == nil && b.cacheable(b.ix.State())
}

// Write never fails. CRLF becomes LF, as in the file.
func (p *saveParser) Write(b []byte) {
	if p.parser == nil && p.done {
		return
	}
	if p.cr && len(b) > 0 {
		if p.cr = false; b[0] != '\n' {
			p.text([]byte{'\r'})
		}
	}
	for len(b) > 0 {
		i := bytes.IndexByte(b, '\r')
		switch {
		case i < 0:
			p.text(b)
			return
		case i+1 == len(b):
			p.cr = true
			p.text(b[:i])
			return
		case b[i+1] == '\n':
			p.text(b[:i])
		default:
			p.text(b[:i+1])
		}
		b = b[i+1:]
	}
}

func (p *saveParser) text(b []byte) {
	if p.parser != nil {
		p.parser.Write(b) //nolint:errcheck // it never fails
	}
	if p.done || len(b) == 0 {
		return
	}
	from := max(len(p.header)-2, 0)
	p.header = append(p.header, b...)
	if end := headerEnd(p.header, from); end > 0 {
		p.header, p.done = p.header[:end], true
	} else if len(p.header) > maxHeaderKept {
		p.header, p.done = nil, true
	}
}

// close gives up what was not finished.
func (p *saveParser) close() {
	if p != nil && p.parser != nil {
		parserPool.Put(p.parser)
		p.parser = nil
	}
}

// values returns what is to be cached of the message, which is complete.
func (p *saveParser) values(b *box, opt *SaveOptions) []byte {
	defer p.close()
	if p.cr {
		p.cr = false
		p.text([]byte{'\r'})
	}
	v := valueBuilder{c: b.values.Cache, plan: p.plan, b: make([]byte, 0, 512)}
	if p.parser != nil {
		s, _ := p.parser.Close()
		v.structure(s, -1)
		if v.wants(cache.Envelope) {
			v.put(cache.Envelope, inner(s.AppendEnvelope(nil)))
		}
		if v.wants(cache.SentDate) {
			v.sentDate(s)
		}
		if v.wants(cache.PhysicalSize) {
			v.putU64(cache.PhysicalSize, s.PhysicalSize())
		}
	}
	if p.header != nil {
		v.headers(p.header, p.plan.Headers)
	}
	if v.wants(cache.ReceivedDate) {
		v.putU32(cache.ReceivedDate, opt.Received.Unix())
	}
	if v.wants(cache.SaveDate) && b.loc.Format != "mdbox" { // there the index has it
		v.putU32(cache.SaveDate, b.pool.now().Unix())
	}
	if v.wants(cache.GUID) && opt.GUID != "" && b.loc.Format != "mbox" {
		v.put(cache.GUID, []byte(opt.GUID))
	}
	return v.b
}

// identify gives the message of an sdbox a GUID already now, if it is to be cached.
func (p *saveParser) identify(b *box, opt *SaveOptions) {
	if opt.GUID == "" && b.loc.Format == "sdbox" && p.plan.Wants(cache.GUID) {
		guid := dbox.NewGUID()
		opt.GUID = hex.EncodeToString(guid[:])
	}
}

// cacheNew adds to the transaction what is cached of new messages.
func (b *box) cacheNew(st *index.State, all []*batch) {
	var adds []cache.Add
	for n := range eachNew(all) {
		if len(n.cached) > 0 {
			adds = append(adds, cache.Add{UID: n.UID, Values: n.cached})
		}
	}
	if len(adds) > 0 {
		b.recordCache(context.Background(), st, adds)
	}
}

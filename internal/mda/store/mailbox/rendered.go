package mailbox

import (
	"context"
	"slices"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
)

// A rendering is one way to show the header or the structure of a message in IMAP.
type rendering int

const (
	renderedEnvelope rendering = iota
	renderedBody
	renderedBodyStructure
	renderings // how many there are
)

// A rendered is a text that was shown, and stays what it is as long as the message is there.
type rendered struct {
	text  string
	asked []cache.ID // what the cache was asked for it
}

// size estimates what it takes in memory.
func (r *rendered) size() int { return len(r.text) + 8*len(r.asked) + 64 }

// AppendEnvelope appends the IMAP ENVELOPE.
func (msg *Message) AppendEnvelope(ctx context.Context, b []byte) ([]byte, error) {
	return msg.appendRendered(ctx, b, renderedEnvelope, msg.envelope)
}

// AppendBody appends the IMAP BODY.
func (msg *Message) AppendBody(ctx context.Context, b []byte) ([]byte, error) {
	return msg.appendRendered(ctx, b, renderedBody, msg.body)
}

// AppendBodyStructure appends the IMAP BODYSTRUCTURE.
func (msg *Message) AppendBodyStructure(ctx context.Context, b []byte) ([]byte, error) {
	return msg.appendRendered(ctx, b, renderedBodyStructure, msg.bodyStructure)
}

// appendRendered appends a text from memory, or renders it. Either way the cache learns what the
// session is interested in.
func (msg *Message) appendRendered(ctx context.Context, b []byte, what rendering,
	render func(context.Context, []byte) ([]byte, error),
) ([]byte, error) {
	kept := msg.b.pool.cache
	if r := kept.rendered(msg.b, msg.uid, what); r != nil {
		msg.withView(func(v *cache.View) { v.Ask(r.asked, msg.uid, msg.st.Hdr.FirstNewUID()) })
		return append(b, r.text...), nil
	}
	msg.withView(func(v *cache.View) { v.Record() })
	from := len(b)
	b, err := render(ctx, b)
	var asked []cache.ID
	msg.withView(func(v *cache.View) { asked = slices.Clone(v.Recorded()) })
	if err == nil && msg.m != nil {
		kept.putRendered(msg.b, msg.uid, what, &rendered{string(b[from:]), asked})
	}
	return b, err
}

package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/headercheck"
	"github.com/dovetail-mail/dovetail/internal/mta/mime"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/mta/rfc822"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
)

// outgoing is what is changed of mail when it leaves this system: addresses by smtp_generic_maps
// (generic(5)), in the envelope and in the header, and lines by smtp_header_checks and its kin
// (header_checks(5)).
type outgoing struct {
	agent     *Agent
	resolver  *resolve.Resolver
	param     string // smtp_generic_maps
	generic   resolve.Maps
	propagate bool
	header    [3]*headercheck.Checks // by class
	body      *headercheck.Checks
	mime      mime.Options
}

// newOutgoing returns nil where nothing is changed.
func newOutgoing(a *Agent, c *Config) (*outgoing, error) {
	prefix := a.protocol.prefix()
	o := &outgoing{agent: a, resolver: c.Rewrite, param: prefix + "generic_maps"}
	var err error
	if o.generic, err = c.Tables.OpenMaps(o.param, a.set.GenericMaps); err != nil {
		return nil, err
	}
	any := !o.generic.Empty()
	for _, one := range []struct {
		dst          **headercheck.Checks
		param, value string
	}{
		{&o.header[mime.Primary], "header_checks", a.set.HeaderChecks}, {&o.header[mime.Part], "mime_header_checks", a.set.MIMEHeaderChecks},
		{&o.header[mime.Nested], "nested_header_checks", a.set.NestedHeaderChecks}, {&o.body, "body_checks", a.set.BodyChecks},
	} {
		if *one.dst, err = headercheck.New(prefix+one.param, one.value, c.Tables, a.log); err != nil {
			return nil, err
		}
		any = any || *one.dst != nil
	}
	if !any {
		return nil, nil
	}
	if c.Rewrite != nil {
		o.propagate = c.Rewrite.Propagates("generic")
	}
	set := a.shared
	o.mime = mime.Options{HeaderLimit: set.HeaderSizeLimit, MaxDepth: set.MIMENestingLimit, MaxBoundary: set.MIMEBoundaryLimit}
	return o, nil
}

// errLookup is a table that could not be asked.
var errLookup = errors.New("lookup failed")

// address returns what an address is outside.
func (o *outgoing) address(ctx context.Context, addr string) (string, error) {
	if addr == "" || o.generic.Empty() {
		return addr, nil
	}
	addrs, err := o.resolver.Map(ctx, o.agent.log, o.param, o.generic, addr, o.propagate)
	if err != nil {
		return "", fmt.Errorf("%w: %s: %w", errLookup, o.param, err)
	}
	if len(addrs) == 0 {
		return addr, nil
	}
	if len(addrs) > 1 {
		o.agent.log.Warningf("multi-valued %s entry for %s", o.param, rfc822.Quote(addr))
	}
	return addrs[0], nil
}

// envelope fills in the addresses of a transaction.
func (o *outgoing) envelope(ctx context.Context, x *transaction) error {
	var err error
	if x.sender, err = o.address(ctx, x.sender); err != nil {
		return err
	}
	if o.generic.Empty() {
		return nil
	}
	x.outside = make(map[int]string, len(x.s.rcpts))
	for _, i := range x.s.rcpts {
		if x.outside[i], err = o.address(ctx, x.req.Recipients[i].Address); err != nil {
			return err
		}
	}
	return nil
}

// lookupStatus is for mail whose addresses or lines could not be looked up.
func (s *session) lookupStatus() *deliver.Status {
	return s.fail(deliver.Deferred, wire.Enhanced{4, 3, 0}, "mail system configuration error: table lookup failed")
}

// A changer writes the changed content of one message. It is a [mime.Handler].
type changer struct {
	*outgoing
	ctx     context.Context
	w       io.Writer
	message string // queue id
	out     []byte // scratch
	err     error  // the first one
}

// copy writes the content to w as it leaves.
func (o *outgoing) copy(ctx context.Context, w io.Writer, message string, content io.WriterTo) error {
	c := &changer{outgoing: o, ctx: ctx, w: w, message: message}
	state := mime.New(o.mime, c)
	lines := mime.Lines{Limit: o.agent.shared.LineLengthLimit, Line: state.Line}
	if _, err := content.WriteTo(&lines); err != nil {
		return err
	}
	lines.End()
	state.End()
	return c.err
}

// Header implements [mime.Handler].
func (c *changer) Header(class mime.Class, header []byte) {
	line, keep := c.check(c.header[class], headercheck.Header, header)
	if !keep {
		return
	}
	if class == mime.Primary && !c.generic.Empty() {
		line = c.addresses(line)
	}
	for part := range bytes.SplitSeq(line, []byte{'\n'}) {
		c.write(part, true)
	}
}

// HeaderEnd implements [mime.Handler].
func (c *changer) HeaderEnd() {}

// Body implements [mime.Handler].
func (c *changer) Body(line []byte, more bool, _ int64) {
	if line, keep := c.check(c.body, headercheck.Body, line); keep {
		c.write(line, !more)
	}
}

// Problem implements [mime.Handler].
func (c *changer) Problem(mime.Problem, []byte) {}

// check looks a line up and does what the table says, as far as that is possible here.
func (c *changer) check(checks *headercheck.Checks, kind headercheck.Context, line []byte) (out []byte, keep bool) {
	if checks == nil || c.err != nil {
		return line, true
	}
	v, err := checks.Check(c.ctx, kind, line)
	if err != nil {
		c.err = fmt.Errorf("%w: %s: %w", errLookup, checks.Param(), err)
		return nil, false
	}
	switch v.Action {
	case headercheck.None:
	case headercheck.Warn:
		c.log("warning", kind, line, v.Text)
	case headercheck.Info:
		c.log("info", kind, line, v.Text)
	case headercheck.Replace:
		c.log("replace", kind, line, v.Text)
		return []byte(v.Text), true
	case headercheck.Prepend:
		c.log("prepend", kind, line, v.Text)
		c.write([]byte(v.Text), true)
	case headercheck.Strip:
		c.log("strip", kind, line, v.Text)
		return nil, false
	case headercheck.Ignore:
		return nil, false
	default: // it is too late for them
		c.agent.log.Warningf("unsupported command in %s map: %s", checks.Param(), v)
	}
	return line, true
}

// log tells of an action, and what it is about.
func (c *changer) log(action string, kind headercheck.Context, line []byte, text string) {
	if text != "" {
		text = ": " + text
	}
	c.agent.log.Infof("%s: %s: %s %.60s%s", c.message, action, kind, line, text)
}

// addresses replaces those of a header of addresses.
func (c *changer) addresses(header []byte) []byte {
	name, value, ok := bytes.Cut(header, []byte{':'})
	if !ok || !rfc822.IsAddressHeader(string(bytes.TrimRight(name, " \t"))) {
		return header
	}
	tokens := rfc822.ParseList(string(value), c.agent.shared.AddressTokenLimit)
	changed := false
	for i := range tokens {
		if tokens[i].Kind != rfc822.Address {
			continue
		}
		was := rfc822.External(tokens[i].List)
		now, err := c.address(c.ctx, rfc822.Unquote(was))
		if err != nil {
			c.err = err
			return header
		}
		if now = rfc822.Quote(now); now != was {
			changed = true
			tokens[i].List = rfc822.Scan(now, 0)
		}
	}
	if !changed {
		return header
	}
	text := rfc822.Header(tokens, func(text string) {
		c.agent.log.Warningf("stripping too many comments from address: %.100q...", text)
	})
	folded := rfc822.AppendFolded(append(append([]byte(nil), name...), ": "...), text)
	return bytes.ReplaceAll(folded, []byte("\n"), []byte("\n\t"))
}

// write writes a line, or a piece of one.
func (c *changer) write(line []byte, ends bool) {
	if c.err != nil {
		return
	}
	c.out = append(c.out[:0], line...)
	if ends {
		c.out = append(c.out, "\r\n"...)
	}
	_, c.err = c.w.Write(c.out)
}

var _ mime.Handler = (*changer)(nil)

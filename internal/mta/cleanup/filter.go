package cleanup

import (
	"bytes"
	"fmt"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/headercheck"
	"github.com/dovetail-mail/dovetail/internal/mta/mime"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// checks are what the content of messages is looked at for.
type checks struct {
	header [3]*headercheck.Checks // by class
	body   *headercheck.Checks
	limit  int64 // bytes of each part that body sees; 0 for all
	mime   mime.Options
	reject *[256]bool // characters; nil for none
	strip  *[256]bool
	line   int
}

// openChecks returns nil where nothing is looked for.
func openChecks(set *Settings, open resolve.Opener, log *maillog.Logger) (*checks, error) {
	c := &checks{limit: set.BodyChecksSizeLimit, line: set.LineLengthLimit}
	any := false
	for _, one := range []struct {
		dst          **headercheck.Checks
		param, value string
	}{
		{&c.header[mime.Primary], "header_checks", set.HeaderChecks}, {&c.header[mime.Part], "mime_header_checks", set.MIMEHeaderChecks},
		{&c.header[mime.Nested], "nested_header_checks", set.NestedHeaderChecks}, {&c.body, "body_checks", set.BodyChecks},
	} {
		var err error
		if *one.dst, err = headercheck.New(one.param, one.value, open, log); err != nil {
			return nil, err
		}
		any = any || *one.dst != nil
	}
	c.reject, c.strip = characters(set.MessageRejectChars), characters(set.MessageStripChars)
	c.mime = mime.Options{
		Opaque: set.DisableMIMEInput, HeaderLimit: set.HeaderSizeLimit, MaxDepth: set.MIMENestingLimit, MaxBoundary: set.MIMEBoundaryLimit,
	}
	if !set.DisableMIMEInput {
		c.mime.Report = set.strictness(any && (c.header != [3]*headercheck.Checks{}))
	}
	if !any && c.reject == nil && c.strip == nil && c.mime.Report == 0 {
		return nil, nil
	}
	return c, nil
}

// strictness says which mistakes of MIME are refused.
func (set *Settings) strictness(headerChecks bool) (p mime.Problem) {
	if set.Strict8BitMIME || set.Strict7BitHeaders {
		p |= mime.Header8Bit
	}
	if set.Strict8BitMIME || set.Strict8BitMIMEBody {
		p |= mime.Body8Bit
	}
	if set.StrictEncodingDomain {
		p |= mime.EncodingDomain
	}
	if p != 0 || headerChecks {
		p |= mime.TooDeep
	}
	return p
}

// characters reads a set of characters, with C escapes.
func characters(text string) *[256]bool {
	if text == "" {
		return nil
	}
	set := new([256]bool)
	for _, c := range unescape(text) {
		set[c] = true
	}
	return set
}

// unescape replaces C escapes: \a \b \f \n \r \t \v, and one to three octal digits. A
// backslash before anything else goes.
func unescape(text string) (b []byte) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' {
			b = append(b, c)
			continue
		}
		if i++; i == len(text) {
			break
		}
		if k := bytes.IndexByte([]byte("abfnrtv"), text[i]); k >= 0 {
			b = append(b, "\a\b\f\n\r\t\v"[k])
			continue
		}
		if text[i] < '0' || text[i] > '7' {
			b = append(b, text[i])
			continue
		}
		value := 0
		for n := 0; n < 3 && i < len(text) && text[i] >= '0' && text[i] <= '7'; n++ {
			value = value*8 + int(text[i]-'0')
			i++
		}
		i--
		b = append(b, byte(value))
	}
	return b
}

// A filter looks at the content of a message, line by line, and writes what is to go on.
type filter struct {
	m     *Message
	mime  *mime.State
	on    bool // checks are made; actions may end them
	lines mime.Lines
	inner []byte // scratch: a line without characters
	outer []byte // scratch: a line with its end

	hold, discard       bool
	transport, redirect string
	bcc                 []string
}

func newFilter(m *Message) *filter {
	f := &filter{m: m, on: true}
	f.mime = mime.New(m.c.checks.mime, f)
	f.lines = mime.Lines{Limit: m.c.checks.line, Line: f.input}
	return f
}

// end ends the content.
func (f *filter) end() {
	f.lines.End()
	m := f.m
	if m.dropped {
		return
	}
	f.mime.End()
	if problems := f.mime.Problems() &^ mime.HeaderTooLong; problems != 0 && !m.hasReason {
		m.refuseContent("5.6.0 " + problems.String())
	}
}

// input passes a line on without the characters that it must not have. Once a message is
// refused or thrown away nobody looks at the rest.
func (f *filter) input(line []byte, more bool) {
	if f.m.dropped {
		return
	}
	c := f.m.c.checks
	if f.on && c.reject != nil {
		for _, b := range line {
			if c.reject[b] {
				f.act(headercheck.Content, line, headercheck.Verdict{Action: headercheck.Reject, Text: "disallowed character"})
				return
			}
		}
	}
	if f.on && c.strip != nil {
		f.inner = f.inner[:0]
		for _, b := range line {
			if !c.strip[b] {
				f.inner = append(f.inner, b)
			}
		}
		line = f.inner
	}
	f.mime.Line(line, more)
}

// Header is for the MIME parser: it looks a header up and writes it.
func (f *filter) Header(class mime.Class, header []byte) {
	m := f.m
	name, value, _ := bytes.Cut(header, []byte{':'})
	if isMIMEHeader(name) {
		class = mime.Part
		if equalFold(name, "content-transfer-encoding") {
			m.noteEncoding(value)
		}
	}
	if checks := m.c.checks.header[class]; f.on && checks != nil {
		v, err := checks.Check(m.ctx, headercheck.Header, header)
		if err != nil {
			m.lookupFailed(checks.Param(), "")
		}
		replaced, keep := f.act(headercheck.Header, header, v)
		if !keep {
			return
		}
		header = replaced
	}
	if class == mime.Primary {
		m.wholeHeader(header)
	} else {
		m.outHeader(header)
	}
}

func isMIMEHeader(name []byte) bool {
	for _, one := range mimeHeaders {
		if equalFold(name, one) {
			return true
		}
	}
	return false
}

// HeaderEnd is for the MIME parser.
func (f *filter) HeaderEnd() { f.m.lastHeader() }

// Body is for the MIME parser: it looks a line up and writes it.
func (f *filter) Body(line []byte, more bool, offset int64) {
	m := f.m
	if m.dropped {
		return
	}
	c := m.c.checks
	if f.on && c.body != nil && (c.limit == 0 || offset < c.limit) {
		v, err := c.body.Check(m.ctx, headercheck.Body, line)
		if err != nil {
			m.lookupFailed(c.body.Param(), "")
		}
		var keep bool
		if line, keep = f.act(headercheck.Body, line, v); !keep {
			return
		}
	}
	m.write(line)
	if !more {
		m.write(crlf)
	}
}

// Problem is for the MIME parser.
func (f *filter) Problem(p mime.Problem, text []byte) {
	if p == mime.HeaderTooLong {
		return
	}
	m := f.m
	recipient := "unknown"
	if m.recipient != "" {
		recipient = m.logRecipient()
	}
	m.c.log.Infof("%s: reject: mime-error %s: %s from %s; from=<%s> to=<%s>", m.id, p, printable(string(text[:min(len(text), 100)])),
		m.logClient(), m.logSender(), recipient)
}

// wholeHeader does with a header what is done with those that come line by line.
func (m *Message) wholeHeader(header []byte) {
	for line := range bytes.SplitSeq(header, lfByte) {
		line = append(m.filter.outer[:0], line...)
		line = append(line, crlf...)
		m.filter.outer = line
		m.take(line, m.headerLine(line))
	}
	m.endHeader()
}

var _ mime.Handler = (*filter)(nil)

// logClient is where the message comes from, as the log has it.
func (m *Message) logClient() string {
	if m.origin.Client == "" {
		return "local"
	}
	return m.origin.Client
}

// contextOf is the log's description of what an action is about.
func (m *Message) contextOf(action string, kind headercheck.Context, line []byte) []byte {
	b := fmt.Appendf(nil, "%s: %s: %s %s from %s;", m.id, action, kind, printable(string(line[:min(len(line), 200)])), m.logClient())
	return m.appendContext(b)
}

// appendContext appends what is known of the transaction.
func (m *Message) appendContext(b []byte) []byte {
	b = fmt.Appendf(b, " from=<%s>", m.logSender())
	if m.recipient != "" {
		b = fmt.Appendf(b, " to=<%s>", m.logRecipient())
	}
	if m.origin.Proto != "" {
		b = fmt.Appendf(b, " proto=%s", m.origin.Proto)
	}
	if m.origin.Helo != "" {
		b = fmt.Appendf(b, " helo=<%s>", m.origin.Helo)
	}
	return b
}

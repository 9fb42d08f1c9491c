package imapwire

import (
	"bytes"
	"io"
	"sync"
)

// Limits bound what a client may make a [Decoder] hold. Zero fields mean the
// defaults.
type Limits struct {
	Line  int // bytes of one command with its literals (imap_max_line_length); 64 KB
	Args  int // arguments of one command, nested ones included; 10000
	Depth int // nesting of lists; 50
	// NonSync is the largest non-synchronizing literal, 4096 for LITERAL-
	// (RFC 7888); 0 means any that fits elsewhere (LITERAL+).
	NonSync int64
}

// An Error is a mistake of the client.
type Error struct {
	Text  string // Dovecot's, without period
	Fatal bool   // what follows on the connection cannot be told apart: disconnect
}

func (e *Error) Error() string { return e.Text }

// The mistakes that a Decoder finds.
var (
	ErrTag         = &Error{Text: "Invalid tag"}
	ErrName        = &Error{Text: "Invalid command name"}
	errAtom        = &Error{Text: "Invalid characters in atom"}
	err8bit        = &Error{Text: "8bit data in atom"}
	errQuote       = &Error{Text: `Missing '"'`}
	errNUL         = &Error{Text: "NULs not allowed in strings"}
	errClose       = &Error{Text: "Unexpected ')'"}
	errOpen        = &Error{Text: "Missing ')'"}
	errDepth       = &Error{Text: "Too many '('"}
	errCount       = &Error{Text: "Too many arguments"}
	errCR          = &Error{Text: "CR sent without LF"}
	errTooLong     = &Error{Text: "Too long argument"}
	errLiteral8    = &Error{Text: "literal8 not allowed here"}
	errLiteral     = &Error{Text: "Invalid literal size"}
	errLiteralSize = &Error{Text: "Literal size too large", Fatal: true}
	errNonSync     = &Error{Text: "Non-synchronizing literal size too large", Fatal: true}
)

const (
	bufSize = 4 << 10  // of a pooled buffer
	keepBuf = 16 << 10 // larger buffers are not kept for reuse
	keepArg = 256      // likewise
)

// scratch is what a Decoder needs only while it reads.
type scratch struct {
	buf  []byte
	args []Arg
	open []int32 // indexes in args of the lists that are open
}

var scratchPool = sync.Pool{New: func() any { return &scratch{buf: make([]byte, 0, bufSize)} }}

// A Decoder reads commands from a connection. See the package comment.
type Decoder struct {
	src     io.Reader
	proceed func() error
	lim     Limits

	*scratch     // nil between commands of an idle connection
	mark     int // start of what buf must keep
	pos      int // next byte to look at
	eol      bool
	lit      LiteralHeader // announced and not yet read
	inLit    bool          // lit is being read
	tag      []byte
	name     []byte
}

// NewDecoder returns a decoder of what src gives. Before it waits for a
// synchronizing literal it calls proceed, which writes the continuation request.
func NewDecoder(src io.Reader, lim Limits, proceed func() error) *Decoder {
	if lim.Line == 0 {
		lim.Line = 64 << 10
	}
	if lim.Args == 0 {
		lim.Args = 10000
	}
	if lim.Depth == 0 {
		lim.Depth = 50
	}
	return &Decoder{src: src, lim: lim, proceed: proceed, eol: true}
}

// Tag returns the tag of the current command; it is empty if that was invalid.
func (d *Decoder) Tag() []byte { return d.tag }

// Name returns the name of the current command in upper case; after UID it is
// that of both words, "UID FETCH".
func (d *Decoder) Name() []byte { return d.name }

// Buffered returns what was read from the connection and not yet looked at.
func (d *Decoder) Buffered() []byte {
	if d.scratch == nil {
		return nil
	}
	return d.buf[d.pos:]
}

// Feed makes p the next input, before what the connection gives.
func (d *Decoder) Feed(p []byte) {
	if len(p) == 0 {
		return
	}
	d.acquire()
	d.buf = append(d.buf, p...)
}

// Discard forgets buffered input, as STARTTLS demands (RFC 9051 6.2.1).
func (d *Decoder) Discard() {
	if d.scratch != nil {
		d.pos = len(d.buf)
	}
	d.Release()
}

// Release gives the buffer back if nothing is buffered. Arguments read before
// are invalid then.
func (d *Decoder) Release() {
	if d.scratch == nil || d.pos < len(d.buf) {
		return
	}
	if cap(d.tag)+cap(d.name) > 256 {
		d.tag, d.name = nil, nil
	}
	s := d.scratch
	d.scratch, d.mark, d.pos = nil, 0, 0
	if cap(s.buf) > keepBuf || cap(s.args) > keepArg {
		return
	}
	s.buf, s.args, s.open = s.buf[:0], s.args[:0], s.open[:0]
	scratchPool.Put(s)
}

func (d *Decoder) acquire() {
	if d.scratch == nil {
		d.scratch = scratchPool.Get().(*scratch)
	}
}

// Fill reads once from the connection into the buffer.
func (d *Decoder) Fill() error {
	d.acquire()
	if d.mark > 0 && d.mark == len(d.buf) {
		d.buf, d.pos, d.mark = d.buf[:0], d.pos-d.mark, 0
	}
	if len(d.buf) == cap(d.buf) {
		if d.mark > 0 {
			n := copy(d.buf, d.buf[d.mark:])
			d.buf, d.pos, d.mark = d.buf[:n], d.pos-d.mark, 0
		} else {
			d.buf = append(make([]byte, 0, 2*cap(d.buf)), d.buf...)
		}
	}
	n, err := d.src.Read(d.buf[len(d.buf):cap(d.buf)])
	d.buf = d.buf[:len(d.buf)+n]
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// peek returns the next byte without consuming it.
func (d *Decoder) peek() (byte, error) {
	if d.scratch == nil || d.pos == len(d.buf) {
		if d.scratch != nil && d.pos-d.mark > d.lim.Line {
			return 0, errTooLong
		}
		if err := d.Fill(); err != nil {
			return 0, err
		}
	}
	return d.buf[d.pos], nil
}

// Command reads tag and name of the next command.
func (d *Decoder) Command() error {
	d.tag, d.name = d.tag[:0], d.name[:0]
	d.eol, d.inLit, d.lit = false, false, LiteralHeader{}
	d.mark = d.pos
	word, err := d.word()
	if err != nil {
		return err
	}
	if !validTag(word) {
		return ErrTag
	}
	d.tag = append(d.tag, word...)
	if d.name, err = d.commandWord(d.name); err != nil {
		return err
	}
	if string(d.name) == "UID" {
		d.name = append(d.name, ' ')
		d.name, err = d.commandWord(d.name)
	}
	return err
}

// commandWord appends the next word in upper case.
func (d *Decoder) commandWord(b []byte) ([]byte, error) {
	word, err := d.word()
	if err != nil {
		return b, err
	}
	if len(word) == 0 {
		return b, ErrName
	}
	return AppendUpper(b, word), nil
}

// word reads up to the next blank, which it consumes, or line end, which it does not.
func (d *Decoder) word() ([]byte, error) {
	d.mark = d.pos
	for {
		c, err := d.peek()
		if err != nil {
			return nil, err
		}
		if c == ' ' || c == '\r' || c == '\n' {
			break
		}
		d.pos++
	}
	word := d.buf[d.mark:d.pos]
	if d.buf[d.pos] == ' ' {
		d.pos++
	}
	return word, nil
}

func validTag(b []byte) bool {
	for _, c := range b {
		if !tagChar[c] {
			return false
		}
	}
	return len(b) > 0
}

// Literal returns the header of the literal that [Decoder.ArgsUntilLiteral] stopped at.
func (d *Decoder) Literal() LiteralHeader { return d.lit }

// EndList reads the end of the list that a literal was in, which has been read.
func (d *Decoder) EndList() error {
	c, err := d.peek()
	if err != nil {
		return err
	}
	if c != ')' {
		return errOpen
	}
	d.pos++
	d.mark = d.pos
	return nil
}

// Line reads the rest of the line, or a whole line, as it is, without its line
// end: the response to an authentication challenge, DONE.
func (d *Decoder) Line() ([]byte, error) {
	d.acquire()
	d.mark, d.eol = d.pos, false
	for {
		if i := bytes.IndexByte(d.buf[d.pos:], '\n'); i >= 0 {
			line := d.buf[d.mark : d.pos+i]
			d.pos += i + 1
			d.eol = true
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		d.pos = len(d.buf)
		if d.pos-d.mark > d.lim.Line {
			return nil, errTooLong
		}
		if err := d.Fill(); err != nil {
			return nil, err
		}
	}
}

// EndLine skips what was not read of the current command, so that the next one
// can be read. Non-synchronizing literals are part of it; a synchronizing one
// that was not asked for is not sent.
func (d *Decoder) EndLine() error {
	if d.lit.Size > 0 && (d.inLit || !d.lit.Sync) {
		if err := d.discard(d.lit.Size); err != nil {
			return err
		}
	} else if d.lit.Sync && !d.inLit {
		d.eol = true
	}
	d.lit, d.inLit = LiteralHeader{}, false
	tail := make([]byte, 0, 2*tailSize)
	for !d.eol {
		d.mark = d.pos
		if d.scratch == nil || d.pos == len(d.buf) {
			if err := d.Fill(); err != nil {
				return err
			}
			continue
		}
		rest := d.buf[d.pos:]
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			tail = keepTail(tail, rest)
			d.pos = len(d.buf)
			continue
		}
		tail = keepTail(tail, rest[:i])
		d.pos += i + 1
		size, ok := nonSyncAtEnd(tail)
		if !ok {
			d.eol = true
			break
		}
		tail = tail[:0]
		if err := d.discard(size); err != nil {
			return err
		}
	}
	if d.scratch != nil {
		d.mark = d.pos
	}
	return nil
}

// tailSize is the length of the longest "{number+}" and CR.
const tailSize = 24

// keepTail appends p to tail and keeps the last tailSize bytes.
func keepTail(tail, p []byte) []byte {
	if len(p) > tailSize {
		p = p[len(p)-tailSize:]
	}
	tail = append(tail, p...)
	if len(tail) > tailSize {
		tail = append(tail[:0], tail[len(tail)-tailSize:]...)
	}
	return tail
}

// nonSyncAtEnd returns the size of the non-synchronizing literal that a line
// announces at its end.
func nonSyncAtEnd(line []byte) (int64, bool) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	line, ok := bytes.CutSuffix(line, []byte("+}"))
	if !ok {
		return 0, false
	}
	size, ok := ParseUint(line[bytes.LastIndexByte(line, '{')+1:])
	return int64(size), ok && bytes.IndexByte(line, '{') >= 0
}

// discard skips n bytes of input.
func (d *Decoder) discard(n int64) error {
	for n > 0 {
		d.mark = d.pos
		if d.scratch == nil || d.pos == len(d.buf) {
			if err := d.Fill(); err != nil {
				return err
			}
			continue
		}
		k := min(int64(len(d.buf)-d.pos), n)
		d.pos += int(k)
		n -= k
	}
	return nil
}

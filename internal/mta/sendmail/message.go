package sendmail

import (
	"bufio"
	"bytes"
	"io"
)

// A lineEnding says what becomes of CRLF at the end of lines.
type lineEnding int

const (
	dunno     lineEnding = iota // as the first line shows
	removeCR                    // CRLF is made LF
	keepLines                   // lines stay as they are
)

// lineEndings are the values of sendmail_fix_line_endings.
var lineEndings = map[string]lineEnding{"always": removeCR, "strict": dunno, "never": keepLines}

// A textLine is a line, or a piece of one.
type textLine struct {
	text      []byte // without its end; valid until the next call
	continues bool   // the next one belongs to the same line
}

// A reader reads a message line by line. The first line does not count if it is
// that of an mbox file ("From user date").
type reader struct {
	in      *bufio.Reader
	limit   int
	ends    lineEnding
	dotEnds bool
	begun   bool
	inLine  bool // the last piece was not the end of its line
}

func newReader(in io.Reader, limit int, ends lineEnding, dotEnds bool) *reader {
	return &reader{in: bufio.NewReaderSize(in, max(limit, 32<<10)), limit: limit, ends: ends, dotEnds: dotEnds}
}

// next returns the next line, or [io.EOF] at the end of the message.
func (r *reader) next() (textLine, error) {
	for {
		l, err := r.read()
		if err != nil {
			return l, err
		}
		if r.ends == dunno && !l.continues {
			r.ends = keepLines
			if bytes.HasSuffix(l.text, []byte{'\r'}) {
				r.ends = removeCR
			}
		}
		if !r.begun {
			if !l.continues && bytes.HasPrefix(bytes.TrimLeft(l.text, ">"), []byte("From ")) {
				continue
			}
			r.begun = true
		}
		if r.ends == removeCR && !l.continues {
			l.text = bytes.TrimRight(l.text, "\r")
		}
		if r.dotEnds && !r.inLine && len(l.text) == 1 && l.text[0] == '.' {
			return l, io.EOF
		}
		r.inLine = l.continues
		return l, nil
	}
}

// read reads up to a line end, or as many bytes as a record may have. It waits
// for no more than that, as the input may be somebody who types.
func (r *reader) read() (textLine, error) {
	for want := 1; ; want++ {
		text, err := r.in.Peek(want)
		if len(text) < want {
			if err == io.EOF && len(text) > 0 {
				r.in.Discard(len(text)) //nolint:errcheck // it was seen
				return textLine{text: text, continues: true}, nil
			}
			return textLine{}, err
		}
		want = min(r.in.Buffered(), r.limit)
		text, _ = r.in.Peek(want) //nolint:errcheck // it is there
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			r.in.Discard(i + 1) //nolint:errcheck // it was seen
			return textLine{text: text[:i]}, nil
		}
		if want == r.limit {
			r.in.Discard(want) //nolint:errcheck // it was seen
			return textLine{text: text, continues: true}, nil
		}
	}
}

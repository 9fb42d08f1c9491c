package postmaster

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxTranscript bounds a transcript, in bytes; keepHead is what is kept of its
// beginning when the middle is left out.
const (
	maxTranscript = 32 << 10
	keepHead      = 4 << 10
)

// A Transcript is what was said in a session. The zero value is empty.
type Transcript struct {
	text  []byte // lines, each with who said it, ended by "\n"
	lines int    // said since the transcript was empty
	head  int    // length of the beginning that is kept; 0: nothing was left out
	lost  int    // lines left out behind it
}

// Lines is how many lines were said.
func (t *Transcript) Lines() int { return t.lines }

// Reset empties the transcript. It keeps the room of a short one.
func (t *Transcript) Reset() {
	keep := t.text[:0]
	if cap(keep) > keepHead {
		keep = nil
	}
	*t = Transcript{text: keep}
}

// In adds a line that the other side said, without its end.
func (t *Transcript) In(line []byte) { t.add("In:  ", line) }

// Out adds a line that this side said, without its end.
func (t *Transcript) Out(line []byte) { t.add("Out: ", line) }

// Note adds a line of other words.
func (t *Transcript) Note(line string) { t.add(line, nil) }

func (t *Transcript) add(who string, line []byte) {
	t.lines++
	t.text = append(append(t.text, who...), line...)
	// What would end a line or hide the rest of it cannot be said.
	for i := len(t.text) - len(line); i < len(t.text); i++ {
		if t.text[i] == '\n' {
			t.text[i] = '\r'
		}
	}
	t.text = append(t.text, '\n')
	if len(t.text) > maxTranscript {
		t.shorten()
	}
}

// shorten leaves out the older half of what follows the beginning.
func (t *Transcript) shorten() {
	if t.head == 0 {
		t.head = bytes.LastIndexByte(t.text[:keepHead], '\n') + 1
	}
	half := t.head + (len(t.text)-t.head)/2
	from := half + bytes.IndexByte(t.text[half:], '\n') + 1
	t.lost += bytes.Count(t.text[t.head:from], []byte{'\n'})
	t.text = append(t.text[:t.head], t.text[from:]...)
}

// appendTo writes the transcript into a message.
func (t *Transcript) appendTo(b []byte) []byte {
	b = appendLines(b, t.text[:t.head])
	if t.lost > 0 {
		b = fmt.Appendf(b, " [%d lines are left out]\r\n", t.lost)
	}
	return appendLines(b, t.text[t.head:])
}

func appendLines(b, text []byte) []byte {
	for line := range strings.Lines(string(text)) {
		b = appendFolded(b, printable(strings.TrimSuffix(line, "\n")))
	}
	return b
}

// foldWidth is how long lines are; all but the first of a long one begin with foldIndent
// blanks.
const (
	foldWidth  = 78
	foldIndent = 4
)

// appendFolded writes a line, broken at blanks where it is long. Each part begins with a
// blank, so that nothing said in a session can be a line of this system's own.
func appendFolded(b []byte, line string) []byte {
	indent, start := 0, 0
	emit := func(part string) {
		b = append(append(b, ' '), strings.Repeat(" ", indent)...)
		b = append(append(b, strings.TrimRight(part, " \t")...), "\r\n"...)
	}
	for word := 0; ; {
		end := len(line)
		if n := strings.IndexAny(line[word:], " \t"); n >= 0 {
			end = word + n
		}
		if word > start && end-start > foldWidth-indent {
			emit(line[start:word])
			start = word + len(line[word:]) - len(strings.TrimLeft(line[word:], " \t"))
			indent = foldIndent
		}
		if end == len(line) {
			emit(line[start:])
			return b
		}
		word = max(end+1, start)
	}
}

// printable replaces what is not text.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
}

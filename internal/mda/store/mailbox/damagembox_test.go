package mailbox

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// judgeMbox returns what is wrong with the outcome of a damage to an mbox, which alone says what messages there are:
// lost is at most what lies in damaged bytes. A file that is none any more is refused, and left as it is.
func (s *sample) judgeMbox(t *testing.T, o *outcome) string {
	path := filepath.Join(o.root, o.wound.file)
	if o.err != nil {
		return s.judgeRefused(o, path)
	}
	damaged, was, other := o.a, s.a, differ(s.b, o.b)
	if s.hurtsB(o.wound) {
		damaged, was, other = o.b, s.b, differ(s.a, o.a)
	}
	if other.Validity || other.GUID || other.UIDs || other.Flags || len(other.Lost) > 0 || !slices.Equal(other.Extra, []string{bodyOf("new")}) {
		return "the other mailbox:" + other.String()
	}
	if !slices.Contains(damaged.texts, bodyOf("new")) {
		return "what was delivered is not there"
	}
	c := differ(was, damaged)
	hurt := s.hurt(t, o.wound, len(was.texts))
	if hurt == nil { // another file took its place
		return ""
	}
	for i, text := range was.texts {
		k := slices.Index(damaged.texts, text)
		switch {
		case hurt[i]:
		case k < 0:
			return "a message that was not damaged:" + c.String()
		case damaged.validity == was.validity && damaged.rows[k] != was.rows[i], damaged.rows[k].Flags != was.rows[i].Flags:
			return "a message that was not damaged:" + c.String()
		case damaged.validity != was.validity && !hurt[0]:
			return c.String()
		}
	}
	return ""
}

// judgeRefused judges a mailbox that cannot be opened.
func (s *sample) judgeRefused(o *outcome, path string) string {
	text := o.err.Error()
	switch o.wound.kind {
	case "garbage", "zeroed", "truncated", "bit flipped":
		if o.wound.kind == "bit flipped" && o.wound.at >= mboxFromLine || o.wound.kind == "truncated" && o.wound.at >= mboxFromLine ||
			o.wound.kind == "zeroed" && o.wound.at > 0 || !strings.Contains(text, "not a valid mbox file") {
			return text
		}
		left, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		was, err := os.ReadFile(filepath.Join(s.last, o.wound.file))
		if err != nil {
			return err.Error()
		}
		if o.wound.kind == "bit flipped" && !bytes.Equal(left[o.wound.at+1:], was[o.wound.at+1:]) || len(left) == 0 && o.wound.kind != "truncated" {
			return "the refused file was changed"
		}
		return ""
	}
	for _, known := range []string{"does not exist", "read-only", "not a file", "too many levels of symbolic links"} {
		if strings.Contains(text, known) {
			return ""
		}
	}
	return text
}

// mboxFromLine is more than a From_ line has.
const mboxFromLine = 80

// hurt tells which of n messages of an mbox have damaged bytes; nil if it is another file.
func (s *sample) hurt(t *testing.T, w *wound, n int) []bool {
	text, err := os.ReadFile(filepath.Join(s.last, w.file))
	must(t, err)
	var begins []int
	for at, line := 0, ""; at < len(text); at += len(line) {
		end := bytes.IndexByte(text[at:], '\n') + 1
		line = string(text[at : at+end])
		if strings.HasPrefix(line, "From ") {
			begins = append(begins, at)
		}
	}
	if len(begins) != n {
		t.Fatalf("%s has %d From_ lines, want %d", w.file, len(begins), n)
	}
	hurt := make([]bool, n)
	for i, begin := range begins {
		end := len(text)
		if i+1 < n {
			end = begins[i+1]
		}
		switch w.kind {
		case "truncated", "zeroed":
			hurt[i] = w.at < end
		case "bit flipped":
			// Without its From_ line, or the line end before it, a message becomes a part of the one before.
			hurt[i] = begin <= w.at && w.at < end || i+1 < n && end <= w.at && w.at < end+mboxFromLine ||
				i > 0 && begin-2 <= w.at && w.at < begin
		case "symlink", "no permission":
		default:
			return nil
		}
	}
	return hurt
}

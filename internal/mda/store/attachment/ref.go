package attachment

import (
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
)

// ErrDamaged means that a message's attachments cannot be put back.
var ErrDamaged = errors.New("attachments are damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrDamaged}, args...)...)
}

// A Ref is a part that was cut out of a message.
type Ref struct {
	Start, Size int64  // where it belongs in the message
	Line        int    // characters per line of base64; 0 for a file with the bytes as they are
	CRLF        bool   // lines end in CRLF
	Path        string // of the file, below the attachments' directory
}

// Limits on what is read.
const (
	maxRefs = 10000
	maxLine = 1 << 20
)

// ParseRefs reads the value of a metadata line X. ErrDamaged.
func ParseRefs(text string) ([]Ref, error) {
	words := strings.Split(text, " ")
	if len(words)%4 != 0 || len(words) > 4*maxRefs {
		return nil, damaged("%d words in %.80q", len(words), text)
	}
	refs := make([]Ref, 0, len(words)/4)
	end := int64(0)
	for ; len(words) > 0; words = words[4:] {
		r := Ref{Path: words[3]}
		start, err1 := strconv.ParseUint(words[0], 10, 62)
		size, err2 := strconv.ParseUint(words[1], 10, 62)
		if err1 != nil || err2 != nil || int64(start) < end || int64(size) > math.MaxInt64-int64(start) {
			return nil, damaged("place %.20q %.20q", words[0], words[1])
		}
		r.Start, r.Size = int64(start), int64(size)
		end = r.Start + r.Size
		if !r.parseOptions(words[2]) {
			return nil, damaged("options %.20q", words[2])
		}
		if !validPath(r.Path) {
			return nil, damaged("path %.80q", r.Path)
		}
		refs = append(refs, r)
	}
	return refs, nil
}

func (r *Ref) parseOptions(s string) bool {
	if s == "-" {
		return true
	}
	for s != "" {
		switch s[0] {
		case 'C':
			r.CRLF, s = true, s[1:]
		case 'B':
			n := 1
			for n < len(s) && s[n] >= '0' && s[n] <= '9' {
				n++
			}
			line, err := strconv.Atoi(s[1:n])
			if err != nil || line == 0 || line%4 != 0 || line > maxLine {
				return false
			}
			r.Line, s = line, s[n:]
		default:
			return false
		}
	}
	return true
}

// validPath tells whether a path leads to below the directory.
func validPath(p string) bool {
	return p != "" && len(p) < 1024 && path.Clean(p) == p && p[0] != '/' && p != "." && p != ".." && !strings.HasPrefix(p, "../") && !strings.ContainsAny(p, "\x00\n")
}

// AppendRefs appends the value of a metadata line X.
func AppendRefs(b []byte, refs []Ref) []byte {
	for i := range refs {
		r := &refs[i]
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendInt(b, r.Start, 10)
		b = append(b, ' ')
		b = strconv.AppendInt(b, r.Size, 10)
		b = append(b, ' ')
		if r.CRLF {
			b = append(b, 'C')
		}
		if r.Line > 0 {
			b = append(b, 'B')
			b = strconv.AppendInt(b, int64(r.Line), 10)
		} else if !r.CRLF {
			b = append(b, '-')
		}
		b = append(b, ' ')
		b = append(b, r.Path...)
	}
	return b
}

// Sum returns the bytes of a message that are elsewhere.
func Sum(refs []Ref) (n int64) {
	for i := range refs {
		n += refs[i].Size
	}
	return n
}

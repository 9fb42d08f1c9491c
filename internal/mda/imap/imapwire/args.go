package imapwire

import "bytes"

// A Kind is the syntactic form of an argument.
type Kind uint8

// The forms of arguments.
const (
	Atom    Kind = iota // also NIL and numbers
	String              // quoted
	Literal             // read into memory
	List                // parenthesized
)

// An Arg is one argument. Its Data is valid until the decoder reads on.
type Arg struct {
	Kind Kind
	Data []byte // atom or string, without quotes and escapes

	span     int32 // List: number of arguments in it, nested ones included
	off, end int32 // of Data, from the mark, while the buffer may still move
}

// Args is a sequence of arguments. Those of a list follow it directly, so a
// sequence is walked with Rest:
//
//	for ; len(args) > 0; args = args.Rest() {
//		arg := args[0]
//		...args.List() if arg.Kind == List
//	}
type Args []Arg

// Rest returns the arguments after the first one.
func (a Args) Rest() Args {
	if len(a) == 0 {
		return nil
	}
	return a[1+a[0].span:]
}

// List returns the elements of the first argument, which is a List.
func (a Args) List() Args { return a[1 : 1+a[0].span] }

// Count returns the number of arguments, lists counted once.
func (a Args) Count() int {
	n := 0
	for ; len(a) > 0; a = a.Rest() {
		n++
	}
	return n
}

// Is reports whether the argument is an atom equal to word, which is in upper case,
// without regard to case.
func (a Arg) Is(word string) bool { return a.Kind == Atom && EqualFold(a.Data, word) }

// IsNil reports whether the argument is NIL.
func (a Arg) IsNil() bool { return a.Is("NIL") }

// IsString reports whether the argument is a quoted string or a literal.
func (a Arg) IsString() bool { return a.Kind == String || a.Kind == Literal }

// AString returns the value of an atom or string. It is false for lists.
func (a Arg) AString() ([]byte, bool) { return a.Data, a.Kind != List }

// NString returns the value of a string, or nil for NIL. It is false for others.
func (a Arg) NString() ([]byte, bool) {
	if a.IsNil() {
		return nil, true
	}
	return a.Data, a.IsString()
}

// Strings reads n astrings from the front of a. It is false if there are fewer
// or one of them is a list.
func (a Args) Strings(dst ...*string) bool {
	for _, s := range dst {
		if len(a) == 0 || a[0].Kind == List {
			return false
		}
		*s = string(a[0].Data)
		a = a.Rest()
	}
	return true
}

// EqualFold reports whether b equals the ASCII word, which is in upper case,
// without regard to case.
func EqualFold(b []byte, word string) bool {
	if len(b) != len(word) {
		return false
	}
	for i, c := range b {
		if upper(c) != word[i] {
			return false
		}
	}
	return true
}

// CutPrefixFold returns b without the ASCII prefix, which is in upper case, and
// whether it was there in any case.
func CutPrefixFold(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || !EqualFold(b[:len(prefix)], prefix) {
		return b, false
	}
	return b[len(prefix):], true
}

// AppendUpper appends text with ASCII letters in upper case.
func AppendUpper(b, text []byte) []byte {
	for _, c := range text {
		b = append(b, upper(c))
	}
	return b
}

func upper(c byte) byte {
	if 'a' <= c && c <= 'z' {
		return c - ('a' - 'A')
	}
	return c
}

// ParseUint returns the value of a decimal number of at most 63 bits.
func ParseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 || bytes.ContainsFunc(b, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		digit := uint64(c - '0')
		if n > (1<<63-1-digit)/10 {
			return 0, false
		}
		n = n*10 + digit
	}
	return n, true
}

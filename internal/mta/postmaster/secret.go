package postmaster

import "bytes"

// Hidden stands for what somebody proves an identity with.
const Hidden = "[not shown]"

// HideAuth returns a command without the initial response of AUTH (RFC 4954 4), and whether it
// is AUTH.
func HideAuth(line []byte) ([]byte, bool) {
	verb, rest := cutWord(line)
	if !bytes.EqualFold(verb, []byte("AUTH")) {
		return line, false
	}
	mechanism, response := cutWord(rest)
	if len(response) == 0 {
		return line, true
	}
	shown := append([]byte(nil), verb...)
	shown = append(append(shown, ' '), mechanism...)
	return append(append(shown, ' '), Hidden...), true
}

// cutWord returns the first word of a line and what follows the blanks behind it.
func cutWord(line []byte) (word, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	end := bytes.IndexAny(line, " \t")
	if end < 0 {
		return line, nil
	}
	return line[:end], bytes.TrimLeft(line[end:], " \t")
}

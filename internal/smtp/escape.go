package smtp

// AppendEscaped appends bytes that a client sent, as Postfix shows them in log lines: C escapes for
// what does not print.
func AppendEscaped(b, text []byte) []byte {
	for _, c := range text {
		switch {
		case c == '\\':
			b = append(b, `\\`...)
		case c >= ' ' && c <= '~':
			b = append(b, c)
		case c >= '\a' && c <= '\r':
			b = append(b, '\\', "abtnvfr"[c-'\a'])
		default:
			b = append(b, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		}
	}
	return b
}

// Package wire is the line format that Dovecot's auth protocols share: the
// client, master and userdb protocols, from either end.
//
// A line is fields separated by TAB and ended by LF. A field is text in which
// five bytes are escaped with \001:
//
//	NUL    \001 '0'
//	\001   \001 '1'
//	TAB    \001 't'
//	CR     \001 'r'
//	LF     \001 'n'
//
// Any other byte after \001 stands for itself. A line longer than [MaxLine]
// ends the connection.
package wire

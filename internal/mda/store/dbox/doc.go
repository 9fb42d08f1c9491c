// Package dbox reads and writes the mail files of Dovecot's sdbox format: one
// file u.<uid> per message. Messages in the files of mdbox (package mdbox) look the
// same, several behind one file header ([OpenAt], [ReadStored], [NewMessage]).
//
// # File format
//
//	2 M1e C5f3a2b10\n                              version, size of the message header (hex), creation time (hex)
//	0x01 0x02 N <10 blanks> 00000000000003A5 \n    message header, 30 bytes: size of the body, 16 hex digits
//	...                                            body: exactly that many bytes, lines ending in LF
//	\n 0x01 0x03 \n                                 metadata follows
//	R5f3a2b10\n                                    one key letter and value per line
//	...
//	\n                                             an empty line ends it
//
// The keys are the Key* constants. Unknown ones are to be kept. Numbers are
// lower-case hexadecimal, except for the body size.
//
// A file is written under a temporary name, ".temp." and more, and gets its name
// when the message gets its uid. It is never changed afterwards, so a copy of a
// message is a hard link.
package dbox

// Package message understands internet messages: header fields, addresses,
// dates, encoded words, MIME structure, and the IMAP descriptions made of them
// (ENVELOPE, BODY, BODYSTRUCTURE).
//
// A [Parser] is given the bytes of a message once, in pieces of any size, with
// lines ending in LF or CRLF, and returns its [Structure]. It holds the header
// fields that the descriptions need and nothing of the bodies. All offsets and
// sizes are known twice: as the bytes were given (physical) and as they are
// served by IMAP and POP3, with every line ended by CRLF (virtual).
//
// Messages come from strangers. No input is an error: what cannot be understood
// is described as Dovecot 2.3 describes it, so that clients which have cached a
// description see no difference. [Limits] bound what is kept of hostile input;
// depth, parts and header size are checked before memory is taken.
package message

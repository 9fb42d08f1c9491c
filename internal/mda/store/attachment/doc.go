// Package attachment keeps large MIME parts of messages outside of the mail files, as
// Dovecot does for sdbox and mdbox where mail_attachment_dir is set.
//
// # In the message
//
// A part that is not text and has at least mail_attachment_min_size bytes is cut out of
// the message. Of what was cut the line X of the metadata tells ([Ref]), four words for each:
//
//	X246 389 B76 08/bd/08bdc7d5...-7a244024a4ad026b8870000083ecc375
//
// At byte 246 of the message 389 bytes are missing; they are the file's, in base64 with
// 76 characters per line. Instead of "B76" there is "-" for a file whose bytes are the part's
// own, and a "C" before the "B" for lines that end in CRLF.
//
// # Files
//
//	DIR/ab/cd/<hash>-<guid>           of mdbox; abcd begins the hash of the file's content
//	DIR/ab/cd/<hash>-<guid>-<mailbox guid>-<uid>     of sdbox, where each copy has its own name
//	DIR/ab/cd/hashes/<hash>           with mail_attachment_fs = sis posix
//
// With sis, a file whose content is equal to that of hashes/<hash> becomes a link of it
// (single instance storage). The file goes with the message, hashes/<hash> with the last but one
// link. Files are never changed.
//
// Base64 is undone only where doing it again gives the same bytes: whole lines of one length,
// one kind of line ends, no bits that decoding drops.
package attachment

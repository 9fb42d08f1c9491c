// Package smtp is the wire of SMTP (RFC 5321) and LMTP (RFC 2033): commands and
// their parameters, addresses, replies, enhanced status codes, and message
// content as DATA and BDAT carry it. Servers and clients share it; it knows no
// policy and writes no log.
//
// # Addresses
//
// An address has two forms. The external form is that of the protocol and of
// log lines: a local part that is no dot-string is quoted, as in
// <"john doe"@example.com>. The internal form, which [ParsePath] returns and
// everything behind the protocol uses, has no quoting: john doe@example.com.
// The domain is what follows the last "@"; [AppendAddress] restores the
// quotes. Parsing is as lenient as Postfix: brackets are optional, blanks and
// comments are dropped, source routes are removed and reported.
//
// # Content
//
// Inside the program, content is lines that end in CRLF, without dot-stuffing.
// [Reader.ReadData] and [Reader.ReadChunk] produce that form and
// [DataWriter] takes it, in pieces as large as the buffers, without looking at
// single bytes.
//
// A line may end with a bare LF in what a client sends. It is turned into CRLF,
// and [LineEnds] says whether it may end the content: if it may, two servers
// that disagree about it can be used to smuggle mail.
//
// # Buffers
//
// A [Reader] has no buffer while it waits: it takes one from a pool when input
// has arrived and gives it back when all input is consumed and more is asked
// for. What it returns is valid until the next call.
package smtp

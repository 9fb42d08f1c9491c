// Package mime reads a message line by line and tells which lines are headers,
// of the message, of a MIME part or of a message inside it, and which are body:
// what header_checks(5) and body_checks see.
//
// It knows boundaries and the types that hold headers (multipart, message/rfc822,
// message/global), keeps little of the text, and never gives a message up: what
// is wrong is reported, and the lines that follow are body. Nesting, the length
// of boundaries and that of headers are limited.
//
// This is Postfix's idea of MIME, whose oddities decide what a filter sees:
// boundaries count anywhere below the part that names them, several boundaries of
// one part all count, and what is after a boundary on its line does not matter.
package mime

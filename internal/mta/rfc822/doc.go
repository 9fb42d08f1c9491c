// Package rfc822 takes text that holds mail addresses apart, and puts it
// together again, as Postfix does it everywhere: in headers, in the results
// of tables, in envelope addresses.
//
// [Scan] makes words, comments, quoted strings, domain literals and operators
// of a text. [ParseList] finds the addresses among them. Text that is no
// address list is kept as it is; commas that are missing between addresses are
// added. [External] and [Internal] make text of tokens again: the external form
// has quotes where RFC 822 asks for them, the internal form has none.
//
// The grammar is that of RFC 822 with blanks between any two tokens, and with
// the operators "%", "!" and "|" besides its specials.
package rfc822

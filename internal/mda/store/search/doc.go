// Package search finds messages: the query of SEARCH and its evaluation.
//
// The IMAP parser builds a [Key] tree. [Run] evaluates it over one snapshot of
// a mailbox, first with what the index knows (flags, UIDs, modseqs), then with
// dates and sizes, and opens only messages whose text or header decides.
//
// Strings to look for are UTF-8. Text is compared as Dovecot does
// (i;unicode-casemap, RFC 5051): encodings and charsets are decoded, then both
// sides are brought to title case and decomposed, so that "ENTWÜRFE" is found by
// "entwurfe" with a combining diaeresis, and a part of a word is enough.
package search

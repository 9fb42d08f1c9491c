// Package fts is the full-text index of a mailbox: which of its messages contain a text.
//
// # What it promises
//
// A text is found wherever a search that reads all messages finds it, as a part of a word as
// well: the index is a matter of speed, never of what is found. [Index.Find] therefore says of each
// message either that it matches, that it may match and must be read, or that it does not.
//
// It is one file beside dovecot.index, dovecot.index.fts. It may be removed at any time, and
// is made anew when it is damaged, of another version, or of a mailbox that was before in this place.
// Many processes may search while one of them adds messages; what they see is whole messages only. Nobody
// holds it open between searches. A crash leaves it as it was after the last commit.
//
// # Words
//
// Texts come in the form in which they are compared (i;unicode-casemap, RFC 5051). A word is a
// run of ASCII letters, digits and bytes above ASCII; all else is between words. Of a run of more than
// [maxWord] bytes the index has overlapping pieces, such that all its parts of up to [maxNeedle] bytes
// are in one of them. So a text without anything between words is in a message exactly if it is a
// part of one of its words, and of any other all words are.
//
// # The file
//
// It is an SQLite database with the tables
//
//	meta    version, uidvalidity and last: the highest UID that was looked at
//	term    each word once, with a number
//	part    FTS5 index of all parts of three or more characters of the words, by number of the word
//	message FTS5 index of the messages: in a column for each [Field] the numbers of its words, by UID
//	unread  UIDs of messages of which the index does not have all words
package fts

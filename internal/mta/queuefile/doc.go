// Package queuefile reads and writes the files in which Postfix keeps mail that
// waits: queue files, submissions in the maildrop, and the logs about recipients
// beside them.
//
// # Format
//
// A queue file is a sequence of records: one byte type, a length of one to four
// bytes (seven bits each, the least significant first, bit 8 set on all but the
// last), and that many bytes. Three segments follow each other:
//
//	C T … S … recipients M   content: N L …   X   extracted from the header   E
//
// What stands behind E is not read in sequence. The meaning of a type depends on
// the segment: L is text in the content and a content filter elsewhere.
//
// Content is lines: N is a line or the last piece of one, L a piece that others
// follow. Line ends are not stored. This package gives content with CRLF at the
// end of each line, as the rest of the mail transport wants it; everything else,
// a CR or NUL within a line, a line of any length, is as it was.
//
// A milter's changes are not made in place: the record that changes is
// overwritten by a pointer, a record p with an offset, to the end of the file,
// where the new one stands, with a pointer back behind it. What is left of the
// overwritten record is garbage, so that only a reader who follows the pointers
// sees the message; [Parse] does, [Reader] shows one record after the other.
//
// The first record, C, says where the content is and how long, so that the queue
// manager need not read it. It is of fixed size and filled in at last.
//
// A recipient that is delivered or was returned is a record D, which was an R,
// overwritten at the offset that the logs name. Before it stand, each optional,
// what belongs to it alone: NOTIFY, ORCPT, the original address.
//
// A file in the maildrop has the same records, written by postdrop(1) as a user
// gave them: no C, addresses not completed, mail not cleaned up.
package queuefile

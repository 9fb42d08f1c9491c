// Package mbox reads and writes a mailbox that is one file, with Dovecot's headers in it.
// What the index has to know of it is package mailbox's.
//
// # The file
//
//	From <sender>  <Www Mmm dd hh:mm:ss yyyy>     local time: when the message came
//	header
//	X-IMAPbase: <uidvalidity> <last uid, 10 digits> [all keywords]     first message only
//	X-UID: <uid>
//	Status: [R][O]                  R seen, O not recent
//	X-Status: [A][F][T][D]          answered, flagged, draft, deleted
//	X-Keywords: <keywords>          and blanks, so that there is room for changes
//	Content-Length: <bytes of the body>
//
//	body
//
// An empty line ends each message. The six fields above, and X-IMAP, are hidden from readers.
// A message whose first one has X-IMAP instead of X-IMAPbase is none: it keeps uid
// validity and last uid of a mailbox without messages.
//
// A new message begins at the begin of the file, and at each line break that a valid From_
// line follows. Lines of bodies are not quoted: where the body begins plus
// Content-Length is such a line break, or that which ends the file, the body ends there
// and nowhere before.
//
// Other programs append to the file, and may change it as they like. They take the locks
// that mbox_read_locks and mbox_write_locks name, in that order: a file beside it with
// .lock at the end of its name (package dotlock), fcntl(2), flock(2).
//
// # Killed writers
//
// A message is appended behind five zero bytes, in whose place "From " is written last. What
// a killed writer or a power failure left is a From_ line with zero bytes, or one that the
// end of the file cuts, where a message is known to end before: by the index, or by the Content-Length of a message
// with X-UID. Nobody was told that it was saved. Who has the file locked for writing cuts it out, up to the
// next From_ line: what other programs have appended since stays. Where the index knows the file to have ended, complete messages
// with the next uids go too, which were to come together with it. If the index knows what follows it is no unfinished message but a damaged one, and stays as a
// part of the message before. A message whose "From " was on disk before all of its text is there in part: as
// with other programs a power failure can leave a part of what was not acknowledged.
//
// Fields that fit into the room of the old ones are written in place. All else moves what
// comes behind it. Dovecot moves it within the file, and who kills it half-way
// leaves messages that are there twice, in part, or not at all. Here the new end of
// the file is first written to another one beside the index, dovetail.mbox.journal, and
// flushed, after the mailbox itself (the sizes below must be those on disk):
//
//	"DTMBOX1\n", u64 device, u64 inode, u64 offset of the first byte that changes,
//	u64 size of the file before, u64 after, u64 CRC-64 of what follows (ECMA)
//	the bytes of the new file from that offset on
//
// The journal is written as dovetail.mbox.journal.new, and renamed, so that one that is there is whole.
// Its content is then copied into the mailbox, flushed, and the mailbox cut if it shrinks: a file that has its
// new size is done. Who next locks the mailbox and finds a complete
// journal does that again, if the file still has the size before or after, or has grown, in which case
// what others appended is kept. If there is no room for a journal, messages are removed
// without one, as Dovecot does: one must be able to delete mail on a full disk.
package mbox

// Package maildir reads and writes a mailbox in Dovecot's Maildir format: the files
// of the messages and the two files beside them, dovecot-uidlist and
// dovecot-keywords. What the index has to know of them is package mailbox's.
//
// # Files
//
//	tmp/   files being written; what is older than 36 hours was left by a killed program
//	new/   messages without flags and keywords, as other programs deliver them
//	cur/   all others: BASE:2,LETTERS
//
// The base name, up to the first colon, is what stays the same. Dovecot's, and those made
// here, are <seconds>.M<microseconds>P<pid>.<host>,S=<size>,W=<size with CRLF line
// ends>; other programs make theirs as they like. The letters are D (draft), F (flagged), R
// (answered), S (seen), T (deleted) and a to z for keywords, in the order of their
// ASCII codes; others, and what follows a comma, belong to other programs and are kept.
//
// Other programs add, rename and remove files at any time and without any lock. So a file is
// looked for by its base name, and by listing the directories where it is not found under the
// name that it should have.
//
// # dovecot-uidlist
//
//	3 V<uidvalidity> N<next uid> G<mailbox GUID as 32 hex digits>
//	<uid> [<key><value> ...] :<base name>
//
// Uids ascend. Keys are S and W (sizes that the name does not tell), P (POP3 UIDL), O (POP3
// order), G (GUID where it is not the base name); others are kept. New messages are appended
// as lines, which is why the next uid may be greater than N says; lines of messages that
// are gone stay until a quarter of them is. Version 1 has "1 <uidvalidity> <next uid>" and lines
// "<uid> <base name>".
//
// Whoever writes it, or gives a message a uid, holds dovecot-uidlist.lock (package dotlock). A
// damaged line costs only its own message the uid, a damaged header none. If the file is removed while the mailbox is open, and was
// read, it is written again from memory; else all messages get new uids.
//
// To add messages only the header and the last line are read, however long the file is: the rest is
// read when somebody asks for it.
//
// # dovecot-keywords
//
//	<0 to 25> <name>
//
// Number n is letter 'a'+n in file names of this mailbox. Keywords without number, because
// there are 26 already, are only in the index. It is replaced by rename, under the lock of the uidlist.
//
// # Who knows what changed
//
// A directory's modification time tells that files were added, renamed or removed. [Times]
// are those that were seen when the index was brought up to date; they are in its header
// extension "maildir", so that no process lists directories that another one has listed. As
// times are those of clock ticks, a directory that changed within a second of being
// listed is listed once more when it has been quiet for that long.
package maildir

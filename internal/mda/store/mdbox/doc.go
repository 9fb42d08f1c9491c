// Package mdbox keeps the messages of all mailboxes of a user in few files, as
// Dovecot's mdbox format does.
//
// # Files
//
//	storage/m.1, m.2, ...           messages, one behind the other
//	storage/dovecot.map.index*      the map: which message lies where, and how many mailboxes have it
//	mailboxes/NAME/dbox-Mails/      dovecot.index* of a mailbox, whose messages name messages of the map
//
// An m.N begins with the header line of package dbox; each message is a message
// header, body and metadata as in sdbox, and the metadata also says for which
// mailbox it was saved (B). Numbers are never used again. A new file is begun when
// the last is larger than mdbox_rotate_size or older than mdbox_rotate_interval.
//
// The map is an index of package index. The uid of its messages is the map uid:
//
//	extension map   header u32 highest N, u32 number of rebuilds
//	                record u32 N, u32 offset of the message header, u32 size with header and metadata
//	extension ref   record u16 number of mailboxes' messages that are this one
//
// A mailbox's index has instead of mail files:
//
//	extension mdbox-hdr  header u32 uid validity of the map, mailbox GUID, u8 flags
//	extension mdbox      record u32 map uid, u32 time of saving
//	extension guid       record GUID of the message
//
// A copy is another reference. Expunging gives one back; a message without any
// stays in its file until [Storage.Purge] rewrites that.
//
// # Locks
//
// From left to right: the map's log, the log of a mailbox. An m.N that is appended to
// or rewritten is locked (flock), but never waited for. Whoever has the map's lock must find the tail of its log at the end:
// if not, a writer was killed in the middle of something, and all is compared
// with all ([Storage.Rebuild]). So each transaction of the map ends with an
// update of the tail, in the same write.
//
// # Saving
//
// What sessions save into any mailboxes of the user at about the same time is
// stored in one [Storage.Append] round: the map is locked; the messages are written
// behind each other into one m.N, which is flushed; the map gets one transaction,
// which is flushed; each mailbox gets one; the map is unlocked. Each step is on disk
// before the next is begun, so that a message of a mailbox always has an entry in
// the map, and that always has its text. The logs of the mailboxes are flushed by
// those who saved, after the round, while the next one is under way.
//
// Expunging: the map is locked and the references are given back, but the tail of its
// log is not moved; the mailbox's log says that the messages are gone; the tail is
// moved.
//
// A writer that is killed leaves messages behind the last one that the map knows,
// or messages that no mailbox refers to. The next writer appends behind them; they
// are given to the mailbox they were meant for when the storage is rebuilt, as
// Dovecot does.
package mdbox

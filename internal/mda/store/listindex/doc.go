// Package listindex reads and writes dovecot.list.index and its log: the names of
// a user's mailboxes as a tree, with what STATUS tells of each.
//
// The files are those of package index, with nodes of the tree for messages. The uid
// of a node stays the same as long as its name does. Record flags: 0x04 there is no
// such mailbox (it only has others below), 0x10 \Noselect, 0x01 \NoInferiors, 0x08 the
// name was lost, 0x02 used while names are compared with directories.
//
// Extension "list": its header has a byte that is not 0 if somebody changed mailboxes
// without changing this file, then for each part of a name that occurs: u32 id, the part
// as it is on disk, a zero byte; ids ascend, and an id of 0 is the end. Its record of
// 28 bytes: u32 id of the last part of the name, u32 uid of the parent or 0, the mailbox's
// GUID, its u32 UIDVALIDITY.
//
// The other extensions have what STATUS tells. "index sync" and, for formats whose files
// others change, "maildir" or "mbox" say for which files that is right:
//
//	msgs        u32 messages, unseen, recent, uidnext
//	hmodseq     u64 highest modseq
//	vsize       u64 sum of sizes, u32 up to which uid, u32 of how many messages
//	index sync  u32 size, u32 mtime of the mailbox's dovecot.index.log
//	maildir     u32 mtime of new, u32 mtime of cur
//	mbox        u32 mtime, u32 size
//	subs        (header only) u32 that changes with the subscriptions
//
// Where names are also directories everything here can be found again, and a damaged
// file is made anew. With LAYOUT=index the names are nowhere else but in the box-name
// header of each mailbox's index; then a damaged file keeps what can be read of it, and the
// caller adds the mailboxes that it finds.
package listindex

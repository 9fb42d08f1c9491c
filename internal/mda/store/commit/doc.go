// Package commit decides what must be on disk before an answer is given to it.
//
// [Mode] is mail_fsync: with optimized, what a client is told was saved, copied
// or expunged is flushed, flag changes are not; with always these are too; with
// never nothing is.
//
// A save needs three things flushed: the mail file, then the log record that
// makes it a message, and the directory entry. The first has to come before the
// second, or a power failure could leave a message without text. Every session
// flushes its own mail file. The other two are shared: sessions that save into
// one mailbox at the same time have their records in one log and their files in
// one directory, and a [Group] flushes these once for all who came before it
// began.
//
// # Package journal
//
// Where a process saves much, and the file system is local, all this is written to a journal of our own
// as well, and only that is flushed: package journal. What follows is for those that have none:
// doveadm, mail_fsync=always, Maildir, mbox.
//
// # One journal
//
// ext4 puts all changes of names, sizes and block maps into one journal, in
// the order in which they are made, and a part of it is durable only with all that
// stands before. On such an ordered [Volume] a save waits for the journal once:
//
//	write the mail file, [Content]: its blocks are written and, with its size, noted in the journal
//	rename it                       is noted behind that
//	append to the log               makes the log grow, which is noted behind that
//	fdatasync the log               its new size is needed to read it, so the journal is flushed up to
//	                                there; the drive's cache is flushed before the record that makes
//	                                this part of the journal valid, and the mail file's blocks with it
//
// For this the log has to grow by every append; room in it must not be allocated
// beforehand. Should the system commit its journal by itself before the fdatasync, the
// order still holds: a log record that is there has its mail file. Not ordered are
// volumes with index and mail files on different file systems, ext4 without a journal or
// with another data mode than the default, with fast commits, which need not contain
// all that was done before, or journal_async_commit, and all other file systems; there, with
// mail_fsync=always and for Maildir everything is flushed with fdatasync. XFS has one
// journal too, and no loss was seen with sdbox and mdbox; but Maildir lost messages there
// (2 of 60 power failures), and until it is known why, none takes the short way on XFS.
//
// TestPowerFailure in package mailbox cuts the power of such disks.
//
// # Why not otherwise
//
// Measured on ext4 (loop device on a virtio disk, 2 CPUs, 20 goroutines saving 10 KB
// into 200 directories: create, write, flush, rename, append to a log, flush):
//
//	                                                       saves/s      journal commits, flushes
//	                                                                    of the drive per save
//	fdatasync file, log, directory (as Dovecot)            3,300        0.33  0.74
//	the same, log and directory at once                    4,000        0.30  0.70
//	fdatasync file, log                                    3,200        0.23  0.55
//	Content of file, fdatasync log                         5,600        0.14  0.40
//	one syncfs(2) for all after the rename only            3,800        0.13  0.28
//	Content of file and log, one fsync for all logs        3,900        0.12  0.28
//	fdatasync log (unsafe)                                 6,600        0.12  0.34
//
// One fsync for all flushes the least, but those who come while it runs wait for it
// and then for the next, where the file system lets them overlap. syncfs also waits for
// what anybody has written to the file system: a backup or log file makes every
// delivery wait for seconds.
package commit

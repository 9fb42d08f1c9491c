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
// # Why fdatasync(2) per file
//
// Measured on ext4 (virtio disk, 2 CPUs, 20 goroutines saving 10 KB into 100
// directories: create, write, flush, rename, append to a log, flush), in saves
// per second on an idle machine, beside one process that writes a large file
// without flushing it, and with one goroutine:
//
//	fdatasync file, log, directory (as Dovecot)            4,700-4,850   1,480     980
//	one syncfs(2) for all, before and after the rename     2,700-3,900             960
//	one syncfs(2) for all after the rename only            4,200-5,200     350   1,420
//	the same, sync_file_range(2) begins writing at once    5,400-6,200     390
//	sync_file_range(2) and wait, then fdatasync log        2,000
//	no flush at all                                       17,000
//
// The file system already commits the journal once for all who wait, so syncfs
// gains 15 to 30 percent; but it waits for what anybody has written to the file
// system, and a backup or log file makes every delivery wait for seconds.
//
// fdatasync of the directory, after that of the log, took 13 to 45 percent of
// the rate on new file systems. Where the log's flush is known to cover the
// rename before it (ext4, XFS: one journal) it could be left out, once a
// power-failure test shows it.
package commit

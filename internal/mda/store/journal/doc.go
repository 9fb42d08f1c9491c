// Package journal makes what many sessions write to many files durable with one
// flush of one file.
//
// A save into sdbox or mdbox changes some files that grow: the mail file, the log of the
// mdbox map, the log of the mailbox. Flushing each makes the file system commit its own
// journal for each, which is what limits a mail server. Here the same bytes are also
// written to the journal, a file whose blocks exist and are used again and again,
// so that a flush of it is a write of data and nothing else. It is shared by all sessions
// of a process ([Journal.Sync] flushes for all who wait), and the files themselves are left to the
// kernel. From time to time, in the background, the whole file system is flushed
// (syncfs(2)), and the journal is begun anew.
//
// After a power failure [Recover] writes into the files what they lack. It must come
// before anything else reads them; that is why the journal lies with the mail, at the
// top of what the owner of the mail owns on its file system ([Dir]): it is found by
// whoever finds the mail, on another host, too, to which the disk was moved.
//
// # What is recorded
//
// The records, each with the directory that it is about, relative to the one that has the journal:
//
//	data    bytes that are in a file, by name, inode number and offset
//	place   a file got another name
//	remove  a file was removed
//	void    a file was cut off: what was recorded before from there on is void
//
// Every file was durable with its name before it was first recorded, or is recorded whole from its begin
// ([Range.New]). Data may be recorded before it is in the file, if a failure to write it is followed by a void. Appends to logs
// are recorded without gap: the caller remembers how much of a log is durable or
// recorded and begins there, whoever wrote it. So recovering is: where a file with the inode number is
// shorter than recorded, or has zeros, as file systems leave them behind, write the bytes;
// where a new file is missing, make it, if it was placed and not removed. Where a file says something
// else than recorded nothing is changed, the journal is kept under another name, and
// an error is logged: somebody has used the mail without recovering it first.
//
// If the computer was not restarted since (a process was killed), files are as the
// kernel has them, and recovering only flushes them.
//
// # On disk
//
// The directory .dovetail-journal has two files for each process, used in turns, and locked
// by it. A file is blocks of 4096 bytes. The first is
//
//	 0  8 bytes "DTjrnl\x00\x01"
//	 8  u64 generation: journals are recovered in the order of theirs
//	16  u64 salt, which all batches repeat: what is behind them is from an earlier use
//	24  16 bytes id of the boot
//	40  u32 CRC-32C of the bytes before
//
// and then come batches, each beginning at a block:
//
//	 0  u32 length of the records
//	 4  u32 CRC-32C of the salt and the records
//	 8  u64 salt
//	16  records
//
// All numbers are little-endian. A file that is not in use has a generation of 0. The
// first batch that does not check out ends a file: it was being written.
package journal

// Package index reads and writes dovecot.index and dovecot.index.log, Dovecot's
// record of what a mailbox contains.
//
// The log is the truth: transactions are appended to it under a lock, by any
// process. dovecot.index is a snapshot of the state at one position of a log,
// replaced by rename now and then so that opening need not replay everything.
//
// A [State] is what both files say at one moment. It is immutable: a change
// makes a new State that shares all it can with the one before, so readers need
// no lock. An [Index] holds the files of one mailbox and its newest State; only
// one goroutine may use it at a time.
//
// # dovecot.index.log
//
// All integers are little endian. The file begins with a header of 40 bytes:
//
//	 0  u8 major = 1, u8 minor = 3, u16 header size = 40
//	 4  u32 indexid; 0 says that the log is condemned
//	 8  u32 sequence of this file, one more than its predecessor's
//	12  u32 sequence of the predecessor (0: none, the log alone defines the state), u32 its final size
//	20  u32 creation time
//	24  u64 highest modseq at the end of the predecessor
//	32  u8 flags = 1 (little endian), 7 zero bytes
//
// Records follow: four bytes with the record's length, a multiple of four,
// divided by four, as big-endian groups of 7 bits with bit 7 set in each byte
// (so a record that was not completely written is seen as such); a u32 type;
// payload. Records that belong together are preceded by a BOUNDARY record with
// the length of the whole group; a reader waits until all of it is there. The
// types are the rec* constants in record.go.
//
// Bytes behind the last complete record or group are what a killed writer left.
// Whoever next holds the lock cuts them off, because Dovecot would condemn the
// whole log for them.
//
// # dovecot.index
//
//	header (120 bytes, see header.go)
//	extension headers, each 8-aligned:
//	   u32 header data size, u32 reset id, u16 record offset, u16 record size,
//	   u16 record alignment, u16 name size, name, pad to 8, header data, pad to 8
//	messages: u32 uid, u8 flags, extension data at the record offsets
//
// Extensions this package does not know are kept.
//
// # Damage
//
// A file that contradicts itself or its companion is reported as [ErrDamaged].
// [Index.Repair] then makes new files from whatever can still be read: the
// state in memory, dovecot.index, dovecot.index.backup, both logs, as far as
// each is valid.
package index

// Package cache reads and writes dovecot.index.cache, in which Dovecot keeps what it
// once computed of messages: ENVELOPE, BODYSTRUCTURE, sizes, dates, header fields.
//
// The file can be deleted at any time. What is in it is trusted only within its
// bounds: a file that contradicts itself is dropped, said once in the log, and made
// anew. Values of one message that cannot be are ignored by who asked for them.
//
// Which fields are worth to be cached is decided as Dovecot does. A field that is asked for
// is cached from then on for messages of the last week (temp); if a client comes back
// to old messages, or jumps about, it keeps no cache of its own, and the field is cached for
// all messages (yes). Fields that are not used for a month go the same way back.
//
// # File
//
// All integers are little endian; everything begins at a multiple of four.
//
//	 0  u8 major = 1, u8 size of a file offset = 8, u8 minor = 1, u8 0
//	 4  u32 indexid of dovecot.index
//	 8  u32 sequence of this file; the reset id of the index's extension "cache"
//	12  u32 number of records that continue another
//	16  u32 number of other records
//	20  u32 size of the file when it was made; not kept
//	24  u32 number of records of expunged messages
//	28  offset of the first field header
//
// Offsets of field headers, unlike all others, are stored divided by four, as four
// big-endian groups of 7 bits with bit 7 set in each, so that one that was not completely
// written is seen as such. A field header lists all fields; the last of the chain counts:
//
//	offset of the next field header; 0 for none
//	u32 size of this one without padding
//	u32 n, number of fields
//	n × u32 when the field was last used
//	n × u32 size of a value; 0xffffffff if values differ
//	n × u8  kind ([Kind])
//	n × u8  decision ([Decision])
//	n names, each ended by NUL
//
// A record has values of one message:
//
//	u32 offset of the record before it of the same message; 0 for none
//	u32 size of this one
//	values: u32 number of the field; u32 size, if values differ in size; data, padded
//
// The index has the offset of a message's last record. The first value found along the chain counts;
// those of bit masks are combined.
//
// # Locks
//
// Readers take none. Records are appended, and numbers in headers overwritten, under the lock of
// this file, for which that of the index's log may be held, but which is not taken after it has been released.
// Whoever replaces the file holds the log's lock until the index has its sequence.
package cache

// Package queue keeps the mail that the system is responsible for: a durable,
// log-structured store of messages and of what became of their recipients.
//
// # Promises
//
//   - When [Writer.Commit] returns nil the message survives a crash of the
//     program, of the system and of the power supply.
//   - A message whose Commit failed was not queued: the client is told to try
//     again. Nothing is half queued, on a full disk either.
//   - A recipient's outcome, given to [Store.Record], [Store.Defer] or
//     [Store.Remove], is in the file when the call returns, so that the death
//     of the process alone never causes a second delivery. It reaches the disk
//     with the next commit; a crash of the system before that can deliver
//     twice, never lose.
//   - A file on which a sync failed is never trusted or synced again. What
//     that sync covered fails with [ErrSync], recorded outcomes are written
//     anew to another file, and the messages that the file still holds are
//     moved out of it.
//
// # Commit
//
// All sessions share one committer. It takes what has gathered, writes it with
// one pwritev(2), calls fdatasync(2) once and then wakes the waiters; what
// arrives meanwhile is the next batch, so batches grow with the load. Where
// several clients send at once it waits for them a moment, as a sync costs the
// same for all as for one. Sessions fill pooled buffers which the committer hands
// to the kernel as they are.
//
// Segments have their full size, in written blocks, before they are used:
// then fdatasync has no metadata to write. Old segments are used again for that
// reason. Measured on ext4 with one sync for each write:
//
//	write      growing file   fallocate(2)   blocks written before
//	  4 KB         444 µs         322 µs          219 µs
//	 12 KB         824 µs         723 µs          413 µs
//	512 KB        1840 µs        1346 µs          880 µs
//
// A block that was synced is never written again: after each sync the log
// continues on a new block.
//
// The contents of fresh messages stay in memory, up to a bound, so that
// delivery normally reads nothing. For a message that waits, only its [Info]
// and the place of its records are kept.
//
// # Files
//
// All numbers are little-endian; uvarint is that of encoding/binary; a string
// is a uvarint length and bytes. CRCs are CRC-32C. The directory holds:
//
//	lock                  flock(2)ed by the process that has the queue open
//	0000000000000001.seg  segments, named by their number in hexadecimal
//	0000000000000001.spare  segments out of use, kept for their blocks
//	00000000000000a1.msg  content of one large message, named by its serial
//
// A segment begins with a block of 4096 bytes:
//
//	 0  16 bytes  "dovetail queue 1"
//	16  uint64    number, as in the file name; differs in a spare being renamed
//	24  uint64    tag, a random number
//	32  uint64    serials below this one were used before this segment began
//	40  uint32    CRC of the 40 bytes before
//	44            zero
//
// Records follow, each at a multiple of 8:
//
//	 0  uint64  the segment's tag
//	 8  uint64  serial of the message it is about
//	16  uint8   kind; 3 bytes zero
//	20  uint32  length of the head
//	24  uint32  length of the body
//	28  uint32  CRC of the body
//	32  uint32  CRC of the 32 bytes before and the head
//	36  uint32  zero
//	40          head, body, zeros up to a multiple of 8
//
// The random tag tells records from what a block held before, and nobody
// outside can make content look like a record. Where no record follows, the
// reader looks at the next block (a batch begins there), then for the tag
// anywhere behind: damage in the middle costs only what is damaged.
//
// The kinds:
//
//	blank    nothing; stands where a torn record was
//	message  head: uint32 CRC of the content, then see appendHead; body: the content
//	large    as message, but the content is in a file of its own
//	state    head: what was learned about recipients, see appendState
//	removed  head: empty. The message is finished; holds wherever it stands
//	         among the message's records. The body may list the serials
//	         (uint64) of more finished messages
//	cut      head: number (uint64) and valid length (uint64) of another
//	         segment, whose records from there on do not count
//
// The content is what the client sent, lines ending in CRLF, without
// dot-stuffing.
//
// # Start
//
// Segments are read in order; contents only where the last sync is not certain,
// that is in the last segment with records. There torn messages are turned to
// blank records and the rest is cut off. New records go to a new segment.
//
// # Space
//
// A segment is given up when no message lies in it, no outcome of a waiting
// message, and no removed record about a segment that still exists; the last
// of these are written anew. When the segments take more than twice what is
// alive in them, the one with the least alive is emptied: its messages are
// committed again at the end of the log. On a disk that is nearly full segments
// are made smaller and emptied sooner, and the blocks under contents of finished
// messages are given back where they lie. A segment given up is renamed and the
// directory synced before the next one is, so that no older one comes back.
package queue

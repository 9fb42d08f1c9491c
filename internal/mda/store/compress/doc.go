// Package compress reads and writes compressed messages as Dovecot's zlib plugin
// does: by its first bytes a stored message is recognized to be compressed,
// whatever its file is called, and looks to everybody as if it were not.
//
// # Formats
//
//	gz    RFC 1952                1f 8b
//	bz2   bzip2                   "BZh" and '1' to '9'
//	xz    .xz, not written        fd "7zXZ" 00
//	zstd  RFC 8878                28 b5 2f fd
//	lz4   Dovecot's own, below    "Dovecot-LZ4" 0d 2a 9b c5
//
// Dovecot can also write deflate, which nothing recognizes afterwards; it is left out.
//
// Dovecot's lz4 files consist of the 15 bytes above, the largest size of an
// uncompressed chunk, and any number of chunks:
//
//	u32 big-endian  size of the compressed chunk
//	...             that many bytes, one LZ4 block
//
// Chunks are 64 KiB when written; up to 1 MiB is read.
//
// # Reading
//
// The formats are streams, but messages are read anywhere ([io.ReaderAt]). A [Body]
// keeps what it has decompressed in memory or, if that is much, in a temporary file
// without a name, and goes on decompressing only as far as somebody reads: who asks for the
// header of a large message gets it at once. How large the message is the mailbox
// knows; a stream that turns out to be longer or shorter is damaged, and nothing beyond the
// known size is ever decompressed.
package compress

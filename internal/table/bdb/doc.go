// Package bdb reads and writes Berkeley DB hash and btree files, the NAME.db that
// postmap(1) makes for "hash:" and "btree:" tables, without the C library that new
// distributions no longer have.
//
// # Format
//
// The file is an array of pages; numbers are of the byte order of the machine
// that wrote it, little-endian here. Page 0 is the meta page:
//
//	12  magic 0x00061561      16  version 9        20  page size
//	25  type 8                32  number of the last page
//	72  max_bucket            76  high_mask        80  low_mask
//	88  nelem (a hint)        92  hash of "%$sniglet^&\0"
//	96  spares[32]
//
// The hash of a key is FNV-1 with a start value of zero. Its bucket is
// hash & high_mask, or hash & low_mask if that is greater than max_bucket, and
// the bucket's first page is bucket + spares[ceil(log2(bucket+1))]. Pages of a
// bucket are chained.
//
// Every other page has a header of 26 bytes (8 number, 12 previous, 16 next
// page, 20 entries, 22 lowest used byte, 25 type) and an index of offsets;
// items grow down from the end, key and value in turn, each from its offset to the
// offset before it. An item begins with its type: 1 bytes follow, 3 the item is in
// overflow pages (4 first page, 8 length). Pages of type 13 are sorted by key: bytewise, and of
// two keys that agree as far as the shorter goes, the longer is first.
//
// A btree file has magic 0x00053162, type 9, and the root page's number at 88. Leaves (type
// 5) hold pairs of items in the order of keys and are chained; an item is its length in 2
// bytes, its type (1, or 3 for one in overflow pages) and its bytes. Internal pages
// (type 3) hold, for each page below, the least key that may be there (4 page, 12 key).
//
// postmap stores keys and values with a terminating NUL.
package bdb

// Package lmdb reads and writes LMDB files, the NAME.lmdb that postmap(1) makes for
// "lmdb:" tables, without the C library.
//
// # Format
//
// The file is an array of pages of 4096 bytes, numbers are little-endian. Each page
// begins with its number (8 bytes), 2 of padding, and flags: 1 branch, 2 leaf, 4
// overflow, 8 meta. At 12 and 14 are the ends of the free space; at 16 the offsets of the nodes
// in the order of keys (bytewise, the shorter first).
//
// Pages 0 and 1 are meta pages: magic 0xBEEFC0DE at 16, version 1, the size of the map at
// 32, at 40 and 88 the records of the free list and of the main database, each 48
// bytes: padding or page size, flags, depth, pages of each kind, entries, root. The
// number of the last page is at 136, that of the transaction at 144: the greater one of the
// two counts, so a transaction is complete when its meta page is written.
//
// A node has 8 bytes and its key: in a leaf the size of the data, flags (1: the data is in
// overflow pages) and the size of the key; in a branch the number of the page below in
// 6 bytes. The first key of a branch is empty and less than all. A branch has at
// least two nodes: the C library relies on that.
package lmdb

// Package recordfs is a file system in memory that keeps every state it was in, for
// tests of what a program leaves that ends at any moment.
//
// [Mount] mounts it by FUSE, served by the calling process. From [FS.Record] to
// [FS.Stop] each system call that changes something gives a [State]: all files as they
// are after it, in the order in which the kernel was asked. A write also gives states in which
// only the beginning of its bytes arrived. [State.Write] puts the files of one on another file
// system.
//
// What a drive may lose of writes that were not flushed it does not know; that is what package
// crashdisk is for.
//
// It needs root and /dev/fuse.
package recordfs

// Package crashdisk is a disk that loses its power, for tests of what is on a file
// system afterwards.
//
// A [Disk] is a file of a small FUSE file system that this process serves, with a
// loop device on it and a real file system on that. The loop device passes each
// write and each flush of the block layer on as a request for the file, so the disk
// knows what the kernel gave to it, in order, and what it was told to make durable.
// [Disk.Crash] makes the disk that is found after a power failure at any moment:
// all that was written before the last flush then ended is on it, and of what was
// written since any part, as a drive with a write cache keeps it.
//
// It needs root, /dev/fuse, loop devices, and mount(8).
package crashdisk

// Package dotlock locks a file against other programs by a file beside it, FILE.lock,
// that only one can create.
//
// The lock file contains "<pid>:<host>". It is removed by others when no such process
// exists on this host, or when neither it nor FILE were touched for so long that
// its owner must be dead. It may become the new content of FILE.
package dotlock

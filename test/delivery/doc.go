// Package delivery tests what becomes of mail in the end: local(8), virtual(8) and
// pipe(8). Where the original is at hand both get the same configuration, the same
// files and the same messages, and must leave the same mailboxes, files, log lines and
// bounces. It needs root, and makes users of the machine.
package delivery

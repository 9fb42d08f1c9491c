// Package quota is what Dovecot's quota plugin computes: roots with their rules and limits, which
// warnings a change of usage calls for, and the file maildirsize. It knows neither users nor mailboxes.
//
// # Settings
//
// A root is one of the settings quota, quota2, quota3, ...:
//
//	BACKEND[:NAME[:PARAMETER[:PARAMETER]...]]
//
// with the parameters hidden, ignoreunlimited, noenforcing, ns=PREFIX; backend dict has
// USER:[PARAMETER:]...URI and no-unset besides. What else belongs to it begins with its name:
//
//	quota_rule, quota_rule2, ...   MASK:LIMIT[:LIMIT]..., MASK:ignore, MASK:backend=TEXT
//	quota_warning, quota_warning2  [+|-]LIMIT[:LIMIT]... COMMAND
//	quota_grace                    SIZE or PERCENT%
//	quota_set                      dict:URI
//
// A LIMIT is storage=N (kilobytes), bytes=N or messages=N, where N may end in B, K, M, G, T or %. The mask
// "*" is for all mailboxes, "?" too, but gives way to limits that a backend has; that of another mask is
// added to it. A limit of 0 is none.
//
// # maildirsize
//
// Maildir++ keeps the usage of a user in a text file: the limits in the first line, 1000S,10C for bytes and
// messages, then a line "BYTES MESSAGES" for the sum when the file was made, and one for each change. Changes
// are appended without a lock. The file is made anew, under another name first, from the sizes of all
// messages when it is longer than 5120 bytes, has other limits, cannot be read, its sum is negative, or it
// says that a limit is exceeded and has changes or is older than a quarter of an hour.
package quota

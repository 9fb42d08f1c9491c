// Package takeover moves waiting mail between Postfix's queue and ours: there when
// the service starts on a directory that Postfix has used, and back when an
// administrator asks for it with "dovetail export-queue".
//
// # There
//
// [Run] looks at the directories incoming, active, deferred and hold. Each
// message is committed to the queue, under its ID and with all that is known of
// its recipients, before its file is removed; the directories are synced
// before anything is delivered. So a message that is in both places, because the
// process or the system died between, was not delivered by us: it is taken over
// anew, and the copy dropped. No message is lost, none is delivered twice.
//
// Files that Postfix would not deliver, because they are damaged, incomplete or
// somebody else's, and what lies in corrupt, are left where they are, which is
// said in the log. What lies in maildrop has not been cleaned up yet: that is
// the work of pickup(8), which names a file after the message that it becomes; here
// only those are removed whose message is in the queue already.
//
// # Back
//
// [Export] writes a queue file into a directory of its own below segments,
// where nobody looks, and makes it durable there. Then the message is removed
// from our queue, durably, and then the file renamed to where Postfix finds it.
// While a message is in the queue, a file beside it is a remainder; when it is
// not there anymore, the file is the message. So whoever comes next, another
// export or the service, finishes what a killed one left: see [Finish].
//
// # What is kept
//
// Sender, recipients that wait and those that are done, with NOTIFY, ORCPT,
// original address and the reason of the last deferral; ENVID, RET, SMTPUTF8, body
// type, filter, VERP, login, client, rewriting context; times of arrival and of
// the next attempt, the age, hold, "expire", a warning sent; reports about failed
// or delivered recipients that are still to be sent. Content is the same
// bytes. A redirection is carried out: its address is the one recipient.
package takeover

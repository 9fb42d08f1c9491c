// Package queuetool is the commands that show and change the mail queue:
// postqueue(1), mailq(1), postsuper(1) and postcat(1), and the server in the mta
// that they talk to. Their options, output and exit statuses are Postfix's.
//
// # Protocol
//
// A command connects to queue_directory/tools/control and writes one line, a
// JSON [Request]. The answer is one JSON object per line: an [Entry] for each
// message that the request is about, or the name of each message that was
// changed and what was done to it; the last line is {"done":true}, with an error
// if there was one. Where content is asked for, three things follow an entry: a
// line with the envelope, a line with the number of bytes, and the bytes.
//
//	> {"op":"hold","ids":["4A201989EC2"]}
//	< {"changed":"4A201989EC2","did":"placed on hold"}
//	< {"done":true}
//
// Every user can connect, and may list and flush as far as authorized_mailq_users
// and authorized_flush_users allow. The other requests are for root and the mta's
// own user. The kernel says who asks, so that no command needs rights that its user
// has not: nothing here is set-gid, as postqueue(1) of Postfix has to be. Changes are
// logged by the mta.
//
// Entries are read and sent one by one, so that a queue of any size is listed in
// the memory of its index.
//
// When the mta does not run, root's commands open the queue themselves, as
// $mail_owner, so that files stay the mta's.
//
// # Differences
//
// A message that is requeued keeps its ID. postcat -q shows the records, and with
// -o their offsets, as a queue file of Postfix's would have them, but not what the
// queue does not keep: server address and port. Files in the maildrop, and others
// that are named, are shown as they are.
package queuetool

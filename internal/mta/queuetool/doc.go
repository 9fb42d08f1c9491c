// Package queuetool is the commands that show and change the mail queue:
// postqueue(1), mailq(1), postsuper(1) and postcat(1), and the server in the mta
// that they talk to.
//
// # Protocol
//
// A command connects to queue_directory/public/control and writes one line, a
// JSON [Request]. The answer is one JSON object per line: an [Entry] for each
// message that the request is about, or the name of each message that was
// changed; the last line is {"done":true}, with an error if there was one. The content of
// a message follows its entry as a line with its length and then its bytes.
//
// When the mta does not run, root's commands open the queue themselves, as
// $mail_owner, so that files stay the mta's.
package queuetool

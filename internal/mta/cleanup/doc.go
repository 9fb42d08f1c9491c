// Package cleanup is cleanup(8): the one way into the queue. It completes
// addresses, reads the header while it passes, adds what is missing there,
// removes what must not go on, expands virtual aliases, and commits.
//
// A message is begun by [Cleanup.Start], which gives it a queue id, fed with
// [Message.Write], and finished with [Message.Finish], which returns when it is
// durable. A message refused is a [smtp.Reply] as error, with the words for
// the client. One goroutine uses a Message; nothing is kept of the content but
// the header line under way.
//
// Content is lines that end in CRLF. The header is looked at line by line; the
// body goes to the queue in the pieces it came in.
package cleanup

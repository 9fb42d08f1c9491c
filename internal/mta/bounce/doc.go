// Package bounce tells senders what became of their mail, as Postfix's
// bounce(8): failure, delay and success notifications (RFC 3464), each a
// multipart/report of three parts: a text for people, a delivery status for
// programs, and the message or its header.
//
// A notification is mail itself: it has the null sender and goes into the queue
// like any other. What cannot be delivered to its sender and has the null
// sender itself is never bounced: it is dropped, with a line in the log and,
// with notify class 2bounce, a copy to 2bounce_notice_recipient.
package bounce

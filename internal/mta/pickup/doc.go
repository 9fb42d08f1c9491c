// Package pickup is pickup(8): it takes what users submitted with sendmail(1) out of
// the maildrop queue, where postdrop(1) put it, and brings it through cleanup into
// the queue.
//
// A file is taken when it is complete (its owner may read, write and execute it),
// and removed when the message is durable in the queue, or when it is no
// submission: then the log says so and the mail is gone, as anything else would
// say so again and again. While the mail system is not able to take it, it stays.
//
// Who submitted a message is who owns the file. A file of the mail system itself,
// which nobody else may read, was put back into the maildrop by Postfix's
// "postsuper -r": its addresses are looked up again, and what has been delivered is left
// out.
//
// The service looks when somebody connects to its socket, and now and then.
package pickup

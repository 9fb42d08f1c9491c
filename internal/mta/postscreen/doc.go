// Package postscreen is postscreen(8), with dnsblog(8): it keeps clients that are most likely no mail
// servers away from the SMTP server, with as little work as can be.
//
// A client that the access list does not decide about, and that is not remembered, is tested: whether it
// waits for the greeting, and how DNS lists judge it, before it may speak; and then, where that is turned on,
// whether it pipelines commands, sends commands of other protocols, or ends lines with a bare newline. These last tests need
// a dialogue, after which a connection cannot be given away: a client that passes them is
// told to come back. One that passed all tests is remembered, and its next connection goes to an SMTP server at once.
//
// # Parts
//
// A [Server] is one postscreen service of master.cf; each connection has a goroutine, a session. What is
// remembered is a [Cache], which outlives reloads and, in a table, the process. Clients that pass go through a [Passage] to the
// smtpd service of type "pass", in the same process: an SMTP server accepts from it as from a listener.
//
// Replies and log lines are Postfix's, which fail2ban and others read.
//
// # The table
//
// The cache's table has the client's address as key. Its value is five times, in seconds since
// 1970, until which a client need not be tested again: "pregreet;dnsbl;pipelining;non-SMTP command;bare newline". 1 stands for a test that was turned
// off, 0 for one not done yet.
package postscreen

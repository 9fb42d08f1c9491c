// Package smtp is the delivery agent for SMTP and LMTP, Postfix's smtp(8): it
// takes a message to the next hop and brings back one status per recipient.
//
// # Servers
//
// A next hop is a list of sites; smtp_fallback_relay adds more. A site is a
// domain, whose servers the DNS names, a host in brackets, or a UNIX-domain
// socket. Servers are tried in order, as far as smtp_mx_address_limit and
// smtp_mx_session_limit allow. A recipient that one refuses for now is tried at
// the next one; what is refused for good, or accepted, is decided.
//
// # Sessions
//
// A connection that has done its work is kept for a moment and used for the
// next message to the same next hop (smtp_connection_cache_time_limit); one
// that the server has given up meanwhile is replaced without a word. With
// PIPELINING a message costs two round trips and, if it is small, two writes.
// No more commands are on their way at once than fit into socket buffers.
//
// # Promises
//
// Each recipient is reported once, and as delivered only after a positive answer
// to the final dot. Once that dot was sent and no answer came, nobody knows
// whether the message was accepted: it is deferred and sent again, so it may arrive
// twice, but not never.
//
// The end of the context interrupts every wait but that for the answer to the
// final dot. Whatever a server says is bounded: lines, replies, challenges, and
// the time for each reply.
//
// Mail never travels with less protection than the TLS policy asks for: what is
// configured and not supported is refused. A password is sent only by mechanisms that
// the security options allow.
//
// Status texts and log lines are Postfix's; testdata/dialogues holds what both say.
package smtp

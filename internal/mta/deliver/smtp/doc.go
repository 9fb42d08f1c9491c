// Package smtp is the delivery agent for SMTP and LMTP, Postfix's smtp(8): it
// takes a message to the next hop and brings back one status per recipient.
//
// A next hop is a list of servers to try in order: what the DNS says of a
// domain, a host in brackets, a UNIX-domain socket. A recipient that one server
// refuses for now is tried at the next one, as far as smtp_mx_address_limit and
// smtp_mx_session_limit allow; what is refused for good, or accepted, is decided.
//
// A connection that has done its work is kept for a moment and used for the
// next message to the same next hop (smtp_connection_cache_time_limit). With
// PIPELINING a message costs two round trips.
//
// Once the final dot was sent and no answer came, nobody knows whether the
// message was accepted. It is then deferred and sent again: a message may arrive
// twice, but not never.
package smtp

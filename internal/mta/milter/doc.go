// Package milter is the mail system's side of the Milter protocol of Sendmail, which
// filters such as OpenDKIM and rspamd speak (MILTER_README): they hear of each command
// of an SMTP session and of the content of each message, and may refuse it or, at its
// end, change it. A [List] is the filters of a parameter, a [Session] their
// connections for one client; [Session.Message] has them look at a message.
//
// A packet is four bytes of length in network order, a byte that names it, and data of
// strings that end in NUL and numbers of four bytes. Each connection begins with O:
// version, actions, steps. Before most commands comes a D with the name of the command and
// macros, as strings in turn. Sent are C (connection), H (HELO), M (MAIL), R (RCPT),
// T (DATA), U (unknown command), L (header), N (end of the header), B (body, at most
// 65535 bytes), E (end of the message), A (abort) and Q (quit); a filter may have asked
// not to hear of some, or not to answer them. It answers with one of those of reply.go; to E it may
// answer with changes first. A filter that does not answer, or not in the protocol, is
// not asked again in the session: milter_default_action stands for what it would have said.
//
// Nothing of a message is kept here but one piece of its body on the way; packets of
// filters have at most 2 MB.
package milter

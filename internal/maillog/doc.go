// Package maillog writes the log lines of all daemons and tools, in the two
// shapes that log analysers know: Postfix's and Dovecot's.
//
// A [Sink] is where lines go (syslog, a file, standard error) and which shape
// they have there. A [Logger] is a sink with the tag of one program and
// session:
//
//	Postfix, file:   Nov 22 10:13:55 mail postfix/smtpd[812]: connect from unknown[192.0.2.1]
//	Postfix, syslog: postfix/smtpd[812]: connect from unknown[192.0.2.1]
//	Dovecot, file:   Nov 22 10:13:55 imap(bob)<812><xyz>: Info: Logged out in=50 out=600
//	Dovecot, syslog: dovecot: imap(bob)<812><xyz>: Logged out in=50 out=600
//
// Postfix writes the severity only where it is not informational ("warning: ",
// "error: ", "fatal: ", "panic: "); Dovecot writes it always in files ("Info: ")
// and, in syslog, only for what is worse than informational.
//
// Lines are handed to one writer goroutine per sink, which writes all that has
// gathered with one system call: a busy server pays one write for many lines,
// an idle one sees each line at once. [Sink.Close] writes what is left.
package maillog

// Package postlog takes the log lines of commands into the log of the mail
// system: postlog(1), which writes lines of scripts, the client in every command,
// and the service postlogd(8), which is a part of the mta.
//
// Where the system's log is syslog, commands write to that. Where it is a file
// (maillog_file), which only the mail system may write, they send each line as a
// datagram to the socket tools/postlog:
//
//	Nov 22 10:00:00 host postfix/sendmail[812]: fatal: text
//
// as Postfix's programs do. The service believes the tag and the text of a line;
// the time is its own.
package postlog

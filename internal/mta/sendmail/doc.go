// Package sendmail is sendmail(1), the way in for mail of programs and users on
// this machine, with the options of Postfix's command, which are those of
// Sendmail.
//
// It has no privileges. A message is read from the standard input, made into
// records of a queue file (package queuefile) and given to postdrop(1), which
// puts them into the maildrop queue: see package postdrop for what the two say
// to each other. The message is then safe, whether the mail system runs or not.
//
// Other modes are done by other commands: -bp and -q by postqueue, -bi by
// postalias, -bd by postfix. "sendmail -bs" is an SMTP session on standard input,
// whose mail goes to postdrop too.
//
// Whatever goes wrong, the exit status is 75 (EX_TEMPFAIL): programs then keep
// the message and try again.
package sendmail

// Package postconf is postconf(1): it shows and edits main.cf and master.cf.
//
// It must work where nothing else does: while a system is being installed, or
// when main.cf has errors that stop the daemons. So it takes the files apart
// itself, with the rules of package postfix for lines and expressions, and
// checks no values but those that its output depends on.
//
// # Names
//
// A parameter is built in, belongs to a service of master.cf (the
// smtp_destination_recipient_limit of a transport smtp), or is the user's: its
// name is used as $name, listed in smtpd_restriction_classes, or made of the
// name of a database (ldap:accounts has accounts_server_host). What is set in a
// file and none of these is reported as unused, after the output; a $name that
// is none of these and set nowhere is reported as undefined, before it.
//
// # Editing
//
// An edit copies the file to FILE.tmp line by line, changing those that it is
// about, makes that durable, and renames it to FILE. FILE.tmp is also the lock: who edits
// holds flock(2) on it, exclusively, from before reading FILE until the rename,
// as Postfix's postconf does, so that the two exclude each other.
package postconf

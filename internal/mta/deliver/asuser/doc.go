// Package asuser delivers with the rights of others, for the delivery agents
// local(8), virtual(8) and pipe(8). Those decide in the mta, which has no
// privileges; what needs the rights of a user is asked of one process that has
// them, the server of this package.
//
// # Processes
//
//	mta ── requests ──► local (root) ──┬─ jobs ──► helper, one user: files
//	                                   └─────────► command, as its user
//
// The server does nothing with mailboxes as root. For files it starts helpers,
// processes that become the user first thing and do jobs one after the other;
// one without work ends after some seconds. Commands run as its own children,
// with the user's rights, in a session of their own; it feeds them the message,
// reads what they say, and kills the whole process group at the time limit, or
// when the mta that asked is gone. Without root there is one user for all.
//
// # What is granted
//
// The server reads the configuration itself and believes the mta nothing that
// follows from it:
//
//	mailbox      of a user by name: path, owner and locks come from
//	             home_mailbox and mail_spool_directory
//	forward      the files that forward_path names for a user
//	include      as the user whose alias or .forward file names it; as root only
//	             if the file is named, step by step, by alias_maps
//	file         as the user, or default_privs; never as root
//	virtual      below virtual_mailbox_base, virtual_minimum_uid and up
//	command      as the user, or default_privs; never as root
//	pipe         as the user= of the entry in master.cf, its program
//
// A mta that an attacker has taken over so gets at mailboxes and the rights of
// ordinary users, which local delivery is about, and not at root's.
//
// # Protocol
//
// The mta connects to a socket in $queue_directory/private, and passes one end
// of a SOCK_SEQPACKET pair over it. On that, messages as in package master:
//
//	mta → server   request  Request, with the content as a file for deliveries
//	server → mta   reply    Reply, with the file that was opened, if any
//	mta → server   cancel   the id of a request whose command is to be killed
//
// Requests have ids and are answered in any order. Server and helpers speak the
// same way on the control sockets of package master: job, done.
//
// # Durability
//
// A mailbox file is written and synced before the reply, a Maildir file also
// linked into new/, and what was written of a message that failed is cut off
// again: as Postfix's mail_copy(3) does.
package asuser

// Package local is local(8): it delivers to the users of this system, by aliases,
// .forward files, mailboxes and commands.
//
// For each recipient, in this order: alias_maps; the .forward file of the user;
// mailbox_transport; mailbox_command; the mailbox in home_mailbox or
// mail_spool_directory; for whom nothing knows, fallback_transport and luser_relay.
//
// # Expansions
//
// What an alias or a .forward file names is delivered in the same go where it is
// local and has no owner- alias; every other address becomes a recipient of a new
// message, one for each pair of Delivered-To address and sender, which is brought
// into the queue when all else is done. The recipient that was expanded is finished
// only when that message is durable; if anything of it is deferred, so is all of it,
// the new message is not made, and the next attempt expands it again: as Postfix has
// it.
//
// Each result is a line of the log. Failures are returned to the sender in one
// report for each recipient that was expanded, or to the owner- alias.
//
// # Rights
//
// The package decides and has no rights. What needs those of a user is done by the
// privileged process: see package asuser.
package local

// Package virtual reads what an administrator says of a virtual mailbox: the file dovecot-virtual
// of Dovecot's plugin virtual (https://doc.dovecot.org/2.3/configuration_manual/virtual_plugin/).
//
// A virtual mailbox shows messages of other mailboxes, its backing mailboxes, which a search rule selects:
//
//	# comment
//	INBOX            the rule below is for this mailbox,
//	+Work/*          for all of this pattern, whose messages lose \Recent when they are seen here,
//	-Work/Old        but not for this one,
//	!Drafts          and for this one, to which goes what is saved in the virtual mailbox;
//	/private/comment:keep*   of those a pattern found, only the ones with such an annotation
//	  unseen         the rule: a line, or several, that begin with a blank; none is ALL
//
// Package store lists the names of virtual mailboxes and reads their files with [Parse]. It cannot open them
// yet. The next part is meant to be a format of package mailbox: the index of a virtual mailbox is an ordinary
// dovecot.index with its own uids, flags and modseqs, whose extension "virtual" has for each message the number
// of the backing mailbox and the uid there. Of the optional interfaces of a format, a Scanner compares it with
// what the rule finds now in the backing mailboxes, a FlagKeeper sets flags there, and an Unlinker expunges there;
// text is read from there. IMAP, POP3 and doveadm then need know nothing of it. Two things have to be
// settled first: the state of a mailbox is shared by all sessions of a process, so that of a virtual one must
// be its user's own, even if several users have the same file (location = virtual:/etc/dovecot/virtual:INDEX=~/virtual),
// or one would see what another may read; and a backing mailbox is locked while the virtual one is, never the other
// way round.
package virtual

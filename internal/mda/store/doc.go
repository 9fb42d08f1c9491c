// Package store gives one user's mailboxes by name: namespaces, the mailbox
// list, subscriptions, special uses, and the way from a name to an open
// mailbox. What lies inside a mailbox is package mailbox's.
//
// A [User] is made at login from the configuration and what the userdb said,
// and dropped when the session ends. Names are UTF-8 with the namespace's prefix
// and separator ("INBOX.Entwürfe"); the modified UTF-7 of IMAP4rev1 is a matter
// of the wire and of directory names ([EncodeMUTF7], [DecodeMUTF7]).
//
// On disk everything is as Dovecot 2.3 writes it, below the root of
// mail_location:
//
//	mailboxes/Work/Projects/dbox-Mails/   the mailbox Work/Projects (LAYOUT=fs)
//	subscriptions                         "V\t2\n\n", then a line per name, its parts separated by tabs
//	dovecot-uidvalidity                   the last UIDVALIDITY given out, eight hex digits
//	dovecot-uidvalidity.6b02ae1c          the same as the name of an empty file
//	dovecot.mailbox.log                   24 bytes per change of the list, for replication
//	dovecot.list.index, .log              names and what STATUS tells of them: package listindex
//	mailboxes.lock                        exists and is locked while a mailbox is created, renamed or deleted
//	..DOVECOT-TrasH/                      mailboxes on their way out
//
// How names are kept is a layout's: directories in each other (fs), side by side (maildir++), files (mbox), or
// only in dovecot.list.index (index), where the directory of a mailbox is named by its GUID.
//
// Every path made of a mailbox name is opened relative to the root of its
// namespace, so no name can lead out of it.
package store

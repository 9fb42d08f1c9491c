// Package acl is the access lists of mailboxes, as Dovecot's plugin acl keeps them: the format
// of dovecot-acl files and of the global file, and which rights a list gives to whom. It reads
// and writes no files, except the global one; where lists are, and what they are asked, is package
// store's.
//
// A dovecot-acl file has a line for each identifier:
//
//	owner akxeilprwts
//	user=bob lr
//	-user=bob i                  negative rights: they are taken away again
//	"group=the group" lr :custom quoted, with backslashes, if there is a blank; a right of another name
//	# empty lines and those that begin with # mean nothing
//
// A global file has a pattern of mailbox names, with * and ?, before each of them. What it says
// goes before what the mailbox's own list says.
//
// Of the entries that are about a user only those of the highest kind count: anyone,
// authenticated, group=, owner, user= and group-override=, in this order, those of the global
// file above all. The entries of several groups add up. The owner of a mailbox has all
// rights unless an entry for owner, or one above it, says otherwise.
package acl

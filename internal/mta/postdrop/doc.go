// Package postdrop is postdrop(1), which puts mail into the maildrop queue for
// users who may not write there: it is installed set-gid to $setgid_group, and
// it is the one program here that has more rights than whoever calls it.
//
// So it does little. It opens no tables, runs nothing, takes nothing from the
// environment but MAIL_CONFIG, which must name a directory that the system's main.cf
// allows, and refuses input that is not what it expects.
//
// # Protocol
//
// sendmail(1) of Postfix and ours start it alike and say the same:
//
//	postdrop:  attributes protocol=postdrop_protocol, queue_id=ID
//	sendmail:  records of a submission (package queuefile), up to the record E
//	postdrop:  attributes status=N, reason=TEXT
//
// Attributes are name and value, each with a zero byte behind it; one more ends a
// group. Status 0 says that the message is on the disk. An end of the input
// before E cancels the submission.
//
// # The file
//
// It is made as maildrop/ID, where ID is composed of the time and the inode
// number, with mode 0644. Once all is written it becomes 0744: this says that it
// is complete, whatever happens next. It is synchronized before the answer. Then the pickup service is told; if it cannot
// be reached the file waits until it starts.
package postdrop

// Package service is postfix(1) and master(8): the command that starts, stops
// and reloads the mail transport, and its master process.
//
// The master opens the listeners of master.cf and runs one child, the mta: SMTP
// server, queue and delivery agents, as $mail_owner. The services of
// master.cf that are processes of their own with Postfix (cleanup, qmgr,
// bounce, ...) are parts of it; their entries are accepted, and the -o
// overrides of smtpd, smtp and lmtp entries are honored.
//
// The child is started as root, reads what only root can (keys of
// certificates), and drops its privileges before it takes the first
// connection. On reload the master, still root, reads those files again and
// hands them over.
//
// Directories below queue_directory are made as needed:
//
//	pid/master.pid  the running master, locked
//	public/         socket of the queue tools
//	segments/       the queue, see package queue
package service

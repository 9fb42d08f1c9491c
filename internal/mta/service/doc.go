// Package service is postfix(1) and master(8): the command that starts, stops
// and reloads the mail transport, and its master process.
//
// The master opens the listeners of master.cf and runs one child, the mta: SMTP
// server, queue and delivery agents, as $mail_owner. The services of
// master.cf that are processes of their own with Postfix (cleanup, qmgr,
// bounce, ...) are parts of it; their entries are accepted, and the -o
// overrides of smtpd, smtp and lmtp entries are honored.
//
// The child drops its privileges first thing. It has main.cf and master.cf from
// the master, and what else only root can read: see [mta.Grants].
//
// # Mistakes
//
// The commands check, start and reload read the configuration as the master
// does and have a process without privileges open all that the mta would open.
// What Postfix's daemons would log at their start is logged under their names,
// and shown at a terminal; what they would end with keeps the service from
// starting or reloading. A running master does the same in two steps: it opens
// new listeners, has the mta prepare itself for the new configuration, and only
// then closes what is no longer wanted. If a step fails, everything stays as it
// was and the log says why.
//
// # What a reload changes
//
//	main.cf: smtpd_*, TLS, SASL    new SMTP sessions; those under way keep theirs
//	main.cf: queue manager,        at once, also for mail that waits; deliveries
//	  transports, rewriting        under way are finished as they began
//	lookup tables                  opened anew; hash: is noticed without a reload
//	certificates and keys          read anew; a pair that does not fit is refused
//	master.cf: inet entries        listeners are opened and closed; one that stays
//	                               never refuses a client
//	master.cf: unix entries        transports come and go; mail for one that is
//	                               missing waits
//	master.cf: process limits      new sessions and deliveries; a listener counts
//	                               its sessions anew
//	maillog_file, syslog_*         opened anew: a rotated file is followed
//	inet_interfaces,               at the next start only, with Postfix's warning
//	  inet_protocols
//	queue_directory, mail_owner    a reload that changes them is refused
//
// # Files
//
// Directories below queue_directory are made as needed:
//
//	pid/master.pid        the running master, locked
//	pid/master.pid.crash  trace of a master that died of a defect, until the next
//	                      one has logged it
//	public/               socket of the queue tools
//	segments/             the queue, see package queue
package service

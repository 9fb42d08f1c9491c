// Package service is dovecot(8): the master process of the mailbox service.
//
// It reads the configuration, opens the listeners, and runs these processes:
//
//	auth         service auth: password and user databases
//	imap-login   one per login service: chrooted, unprivileged; TLS and logins
//	pop3-login
//	mail         one per uid (or service imap { process_min_avail } of them): sessions
//	lmtp         the mail process that has the LMTP listeners
//	doveadm      one per client of service doveadm, on whose listeners the master accepts
//
// A login travels so: the login process authenticates the client with auth
// and sends the client's socket here. The master has auth confirm the
// request, which also gives uid and home, checks that mail may be accessed as
// that uid, and passes the socket on to that uid's mail process. A login
// process can thus name a request that auth granted to it, and nothing else.
//
// LMTP runs in the mail process of the uid that has all the mail, where the
// configuration shows that there is one (service lmtp { user }, mail_uid, or a
// userdb that gives everybody the same), else in one of
// $default_internal_user, which hands each message to the process of its
// recipient's uid.
//
// # What a reload changes
//
// The configuration is checked as at a start, with its databases and
// certificates, and new listeners are opened; then auth takes it over, and after
// it all other processes. If one of the first steps fails everything stays as
// it was, and the log says why.
//
//	passdb, userdb, auth_*        at once, also for clients that were greeted before;
//	                              exchanges under way are finished as they began
//	auth_mechanisms               offered to the next client that connects
//	login_*, ssl_*                next client; certificates are read anew
//	mail_*, namespaces, imap_*,   new IMAP, POP3 and LMTP sessions; those under way
//	  pop3_*, lmtp_*, plugins     keep theirs to their end
//	service { listeners }         opened and closed; one that stays never refuses a
//	                              client, also when an address becomes all addresses
//	service { user, chroot }      auth: at once; others when they start again
//	service { client_limit,       new clients
//	  process_limit }, limits of users
//	protocols                     processes start and end; TLS sessions of a protocol
//	                              that is taken away end with its login process
//	log_path                      opened anew, as with "doveadm log reopen"
//	base_dir                      a reload that changes it is refused
//
// # Deaths
//
// What the runtime says when it ends a process comes to the master through a
// pipe and is in the log, bounded, before the line about the death. A master
// that dies leaves its trace in base_dir/master-fatal.lastlog, for the log of
// the next one.
//
// Without root everything runs as the one user there is, in the same processes.
package service

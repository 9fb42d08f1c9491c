// Package service is dovecot(8): the master process of the mailbox service.
//
// It reads the configuration, opens the listeners, and runs these processes:
//
//	auth         service auth: password and user databases
//	imap-login   one per login service: chrooted, unprivileged; TLS and logins
//	pop3-login
//	mail         one per uid (or service imap { process_min_avail } of them): sessions
//	lmtp         the mail process that has the LMTP listeners
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
// Without root everything runs as the one user there is, in the same processes.
package service

// Package auth is the authentication server of the mail system: Dovecot's auth
// process, for login processes, mail processes and Postfix.
//
// It promises that a login succeeds only if the configured passdbs, asked in
// their order under their rules, say so; that whatever goes wrong inside is
// a temporary failure and never a success; that slow password hashes and
// databases delay nobody but those who need them; and that guessing passwords
// gets slower with each failure.
//
// # Sockets
//
// What a socket speaks depends on its name ([KindOf]). All lines are as in
// package wire: TAB separated, LF ended. Here → is a TAB, S the server.
//
// Client protocol (auth-client, login/login), version 1.2:
//
//	S: VERSION→1→2             both sides; the server need not be waited for
//	S: MECH→NAME→FLAG...       one for each mechanism
//	S: SPID→PID
//	S: CUID→NUMBER             of the connection
//	S: COOKIE→HEX              proves to REQUEST that a login process is meant
//	S: DONE
//	C: VERSION→1→2
//	C: CPID→PID                unique among login processes
//	C: AUTH→ID→MECH→service=NAME→PARAM...[→resp=BASE64]
//	S: CONT→ID→BASE64          a challenge
//	C: CONT→ID→BASE64          the answer
//	C: CANCEL→ID               no reply
//	S: OK→ID→user=NAME→FIELD...
//	S: FAIL→ID[→user=NAME][→code=CODE][→reason=TEXT]...
//
// Master protocol (auth-master) and userdb protocol (auth-userdb, without
// REQUEST and CACHE-FLUSH), version 1.1:
//
//	S: VERSION→1→1
//	S: SPID→PID
//	C: VERSION→1→1
//	C: USER→ID→NAME→service=NAME→PARAM...
//	S: USER→ID→NAME→FIELD...   or NOTFOUND→ID, or FAIL→ID
//	C: PASS→ID→NAME→service=NAME→PARAM...
//	S: PASS→ID→user=NAME→FIELD...
//	C: LIST→ID→service=NAME
//	S: LIST→ID→NAME            for each user
//	S: DONE→ID→[fail]
//	C: REQUEST→ID→CLIENT-PID→CLIENT-ID→COOKIE→PARAM...
//	S: USER→...                of the AUTH of that login process, once
//	C: PENALTIES→ID            ours: who has to wait after failures
//	S: LIST→ID→IP→FAILURES→LAST-FAILURE→LAST-UPDATE
//	S: DONE→ID→
//	C: CACHE-FLUSH→ID[→USER...]
//	S: OK→ID→COUNT             of the entries dropped
//
// A line that makes no sense ends the connection, after a log line.
//
// # A login
//
// The goroutine of the connection parses AUTH and CONT, runs the mechanism
// (package sasl) and asks the passdbs (package db), all in place as long as that
// is quick. Where a database may wait, or a hash is expensive, the chain of
// passdbs stops and is continued in a goroutine of its own. Each database has a
// gate, and so have expensive hashes: so many may pass at a time, and clients of
// different networks take turns. A database that hangs keeps nobody from others.
// What it does not answer in time is a temporary failure. Replies of all
// goroutines are gathered by one writer for each connection.
//
// An unknown user costs the same work as a known one (type decoy).
//
// An address with recent failures waits before the databases are asked; a
// failure is told after auth_failure_delay.
package auth

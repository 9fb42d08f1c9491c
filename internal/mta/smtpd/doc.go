// Package smtpd is smtpd(8): the SMTP server (RFC 5321) that receives mail from
// the network. It speaks with clients word for word as Postfix does, decides
// with the restriction lists of main.cf what it takes, and hands what it took
// to package cleanup. A 250 after the content says that the message is durable.
//
// # Parts
//
// A [Server] is one inet service of master.cf. It runs one goroutine for each
// connection, a session, which reads commands, looks them up in the table in
// commands.go, and writes replies; what was answered to pipelined commands goes
// out together. Each command has a file, and so has each group of restrictions.
//
// A refusal is a [smtp.Reply], made where the reason is known. Replies and log
// lines that analyzers know are in replies.go and log.go.
//
// # Restrictions
//
// A restriction list is compiled once: each name is looked up in the table in
// restrict.go, which says what argument it takes and how it is evaluated. A
// restriction says permit, reject or nothing; a list is over at the first that
// says something. The lists run at RCPT TO unless smtpd_delay_reject=no.
//
// # Limits
//
// Connections, messages and recipients are counted per client address ([Anvil]),
// errors per session. An idle session holds no buffers. A panic ends the session in
// which it happens, with its stack in the log.
package smtpd

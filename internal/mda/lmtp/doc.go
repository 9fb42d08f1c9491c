// Package lmtp is the LMTP server (RFC 2033): it takes messages from the MTA
// and saves each for its recipients.
//
// Every recipient gets an answer of its own after the message. It is 250 only
// when that recipient's copy is durable in the mailbox. A failure that may pass
// is answered with 4xx, also where Dovecot would answer 5xx for a full disk:
// the MTA keeps the message.
//
// A message is received once: into memory while it is small, else into an
// unlinked temporary file in mail_temp_dir, and each recipient's copy is saved
// from there. In front of it stand the lines that Dovecot writes, Return-Path
// and Received, and with a single recipient Delivered-To.
//
// Who a recipient is tells a [Userdb]; who saves is a [Mailer], of which
// [Local] is the one that saves in this process.
//
// Replies and log lines are Dovecot's; they stand together in texts.go.
package lmtp

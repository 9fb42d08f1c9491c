// Package door shows what stands at the door beside the SMTP server: the commands that
// spawn(8) starts, other people's policy servers and filters, and what attackers try. Each
// test plays the same against the real Postfix and against Dovetail.
package door

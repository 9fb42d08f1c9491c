// Bench measures Dovetail against the real Postfix and Dovecot.
//
//	go run ./test/bench [-run REGEXP] [-count N] [-seconds N] [-program NAME]
//
// Each benchmark of the table in benchmarks.go runs both programs from the same
// configuration files (see package harness), in rounds, each program once per
// round and the order turned around from round to round. A round starts the
// services anew, warms them up, and then measures for about the given time.
// One row per benchmark is printed, in Markdown: the median of each program's
// values, the median of the rounds' ratios, and the goal. Only ratios are
// worth comparing: the load generators share the machine with the servers, and
// so may others: after each value stands how much of the processors went to
// them. Where that is more than a few percent even ratios mislead, since it
// slows a program that is busy more than one that waits.
//
// # What is measured
//
// Messages have 10 KB. A rate counts messages that arrived: those that a
// generator sent and the program then lost make a benchmark fail, not fast.
// The time begins with the generator's first connection and ends, for
// acceptance, LMTP and logins, with its last reply, and for what is delivered
// from a queue with the last "status=sent" in the log.
//
// SMTP is sent by smtp-source of the postfix package where one recipient will
// do, and taken by its smtp-sink; everything else by the generators here,
// which are simple enough not to be what is measured.
//
// Idle memory is the proportional set size (PSS) of all processes of a service
// with so many sessions that have selected their INBOX and said IDLE, less that
// of the service without sessions, per session.
//
// Queues and mailboxes lie on an ext4 file system that is new for each
// measurement (see volume), in a file below TMPDIR, which must be where a sync
// reaches a disk. Mounting it needs root, as do the servers.
package main

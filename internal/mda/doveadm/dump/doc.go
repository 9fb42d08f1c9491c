// Package dump is "doveadm dump": it shows as text what is in the files that
// Dovecot keeps of mailboxes, without changing them.
//
// The output is byte for byte that of the original's command. Index files are
// therefore read here as Dovecot holds them in memory, with the places of
// extension data in headers and records ([indexMap]), which package index hides
// since nothing else depends on them. The formats are specified there, in
// package dbox and in package mailbox.
//
// A file that contradicts itself is shown as far as it can be read, with a line
// about what is wrong on stderr.
package dump

// Package doveconf is the doveconf command: it prints the configuration as
// Dovecot understands it.
//
//	doveconf [-adnNspPhxSkOL] [-c FILE | -i INSTANCE] [-m MODULE]... [-f KEY=VALUE]... [NAME...]
//	doveconf [options] -e COMMAND [ARGUMENT...]
//	doveconf -H [PATTERN]
//
// Reading, checking and printing are package dovecot's; here are the options,
// the header lines, and what happens to errors: a file that cannot be parsed
// is not printed, one that fails the checks is printed first. Every error ends
// with status 89, as Dovecot's programs do.
package doveconf

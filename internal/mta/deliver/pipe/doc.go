// Package pipe is pipe(8): it gives mail to the program that its entry in master.cf
// names, without a shell.
//
// The arguments of the program may have macros such as ${recipient}. One with a macro
// of the recipient becomes one argument for each. What the program's exit status means
// is in sysexits.h; if it writes a line that begins with an enhanced status code, that
// counts. The program is run by the privileged process as the user of the entry: see
// package asuser.
package pipe

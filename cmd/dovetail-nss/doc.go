// Command dovetail-nss asks the C library: PAM, the name service switch (users of
// the system, also those of SSSD) and shadow. It is the one program of Dovetail that needs
// cgo. The process dovecot/auth-worker starts it for each connection of auth to its
// socket, which is the program's standard input and output; package
// internal/auth/system has the protocol and the other end.
//
// PAM modules may block, change signals and leak; they do so here and nowhere
// else.
package main

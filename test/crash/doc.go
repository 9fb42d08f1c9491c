// Package crash tests that no acknowledged message is lost: when processes are
// killed under load, when the disk is full, and because every acknowledgement
// follows the sync of what it acknowledges.
//
// A load of clients numbers its messages and writes down in a [ledger] what the
// server said about each. Afterwards the mailboxes are compared with it: what
// was acknowledged is there and whole, what was refused is not, and nothing is
// there twice but what was under way at a kill.
package crash

// Package verify is address verification, verify(8): it knows which addresses
// can be delivered to, for reject_unverified_sender and its kin.
//
// Whoever asks gets what is known at once, [Service.Query]. What is not known, or
// too old, is found out by a probe: a message without content that goes through
// the queue manager to a delivery agent as any other, and ends before something
// is delivered. What the agent said comes back by [Service.Result].
//
// # The cache
//
// A record has the address in lower case as its key, and "status:probed:updated:text"
// as its value: a status number (0 can be delivered to, 1 temporary failure, 2
// cannot), when a probe was sent whose result is not there yet, when the status was
// found out, both in seconds since 1970 and 0 for never, and what the agent said.
// This is Postfix's own record, in a table of the type that address_verify_map
// names, so that its cache is taken over, and taken back.
//
// Records are kept in memory and written as a whole, into a new file that takes
// the place of the old one, some time after something changed and at the end. A
// crash costs the results of that time: they are found out again.
package verify

// Package resolve is trivial-rewrite(8): it brings addresses into standard
// form ([Resolver.Rewrite]) and finds the class, transport and next hop of a
// recipient ([Resolver.Resolve]). It decides; it delivers nothing and keeps no
// state but its tables.
//
// Addresses go in and come out in the internal form of package smtp: without
// quotes, the domain after the last "@".
//
// The class of an address is the first that its domain belongs to: local
// (mydestination, or a literal of an address of this host), virtual alias,
// virtual mailbox, relay, default. The class gives transport and next hop;
// transport_maps and relocated_maps may override them, as transport(5) and
// relocated(5) say.
//
// # Tables
//
// The package does not open tables; an [Opener] does, and gives [Maps], [List]
// and [Networks]. How an address is looked up in them, as virtual(5) and the
// other manual pages with a TABLE SEARCH ORDER describe it, is here:
// [Resolver.Find].
package resolve

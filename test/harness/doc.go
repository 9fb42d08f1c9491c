// Package harness starts mail servers for tests and benchmarks: Dovetail, and
// the real Dovecot and Postfix from Debian's packages, each in a directory and
// on loopback ports of its own.
//
// The two programs of a pair get the same configuration files, word for word;
// what differs is which program reads them. A test that takes a [Program] as
// a parameter is thus a differential one, and mixing programs is how
// interoperation is tested.
//
// Servers run as in production: started by root, unprivileged below. Tests
// that use the harness must therefore be run by root.
package harness

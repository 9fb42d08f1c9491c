// Package ldapdb is the way to LDAP directories that Dovecot's
// dovecot-ldap.conf.ext describes: connections, TLS, searches, and checking
// passwords by binding. What is made of entries is their user's.
//
// A [Directory] searches over one connection, on which any number of searches are
// under way at once, bound as "dn". Passwords are tried on other connections, each
// for one at a time, so a search never runs with the rights of a user.
package ldapdb

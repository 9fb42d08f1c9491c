// Package password is Dovecot's password schemes: checking a password against
// a stored value, and making stored values.
//
// A stored value is "{NAME}data", or just data in the scheme that its
// database has by default. NAME may end in ".HEX", ".B64" or ".BASE64", which
// says how data is encoded; without it each scheme has an encoding of its own.
// A value without name that starts with "$1$" is MD5-CRYPT in any database.
//
// All comparisons of secrets take the same time wherever they differ.
package password

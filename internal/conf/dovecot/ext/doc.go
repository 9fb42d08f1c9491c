// Package ext reads the files that databases of Dovecot 2.3 are configured
// with: dovecot-ldap.conf.ext, dovecot-sql.conf.ext, those of dictionaries and
// of OAuth 2.0. The settings of each kind are a struct ([LDAP], [SQL],
// [OAuth2], [Dict], [DictSQL], [DictLDAP]), and there is a function that loads
// and checks it.
//
// # The language
//
// It looks like that of dovecot.conf, but Dovecot has another, older parser for
// it, and so have we:
//
//	key = value          "value" and 'value' lose quotes, \x becomes x
//	type name {          a section, where the kind of file has sections
//	}
//	!include pattern     no match is an error
//	!include_try pattern
//
// A '#' outside of quotes begins a comment. A backslash at the end of a line joins the
// next with one blank; comment and empty lines in between are skipped.
// In a value without quotes the words $ENV:NAME are replaced by the
// environment; every other $ is text, as LDAP attributes need it. A value never
// names a file with "<". What follows the { of a section is ignored. The
// last one of a setting counts.
//
// A file of a kind without sections may have some all the same: they are
// skipped. A section that never ends is no error, its settings count, but
// a map that never ends is no map.
//
// The files that match an !include pattern are read last one first.
//
// # Declaring settings
//
// As in package dovecot, by the tags of struct fields:
//
//	set      name
//	default  as it would be written
//	doc      one line
//
// A field is a string, bool or int, or *string, which stays nil if the
// file does not set it. Numbers may be decimal, 0octal or 0xhex, and what follows the
// digits does not count.
//
// # Errors
//
// Their texts are Dovecot's. A line that is wrong gives a [dovecot.Error], which
// says file and line; settings that do not fit together give an error that names the file.
package ext

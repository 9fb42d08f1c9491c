// Package table is Postfix's lookup tables: "type:name" gives a value for a
// key. See DATABASE_README and the manual pages *_table(5).
//
// # Types
//
//	hash btree lmdb cdb   NAME.db, NAME.lmdb, NAME.cdb: files made by postmap
//	texthash              NAME, the source that postmap would read
//	inline static         in the name itself
//	regexp pcre cidr      NAME, rules in order, the first match counts
//	ldap mysql pgsql sqlite memcache
//	                      NAME, a file that describes a server, or NAME_* in main.cf
//	tcp socketmap         a server, in the name itself
//	environ internal fail unionmap pipemap randmap unix proxy debug
//
// A file made by postmap may be made again at any time, by Postfix's postmap, too: lookups
// see the old content or the new.
//
// # Failure
//
// "Not found" and "cannot tell" are different answers. A lookup that cannot be
// done returns an error, which is always temporary: mail waits and is not
// bounced, a restriction answers 451. A table that cannot be opened is such
// a table: its lookups fail.
//
// # Keys
//
// Tables of fixed keys fold a key to lower case. Tables of patterns see it as
// it is and match it without regard to case unless told otherwise. Where a search
// tries parts of a key (an address without its extension, a parent domain),
// pattern tables are asked for the whole key only: see [Maps.LookupPartial].
package table

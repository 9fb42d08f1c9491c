// Package table is Postfix's lookup tables: "type:name" gives a value for a
// key. See DATABASE_README and the manual pages *_table(5).
//
// # Types
//
//	hash                  NAME.db, a Berkeley DB hash file made by postmap
//	texthash              NAME, the source that postmap would read
//	inline static         in the name itself
//	regexp pcre cidr      NAME, rules in order, the first match counts
//	environ internal fail unionmap pipemap randmap unix proxy
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

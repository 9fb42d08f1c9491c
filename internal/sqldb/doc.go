// Package sqldb is the way to SQL databases that Dovecot's files describe:
// those of passdb sql, userdb sql and of dictionaries.
//
// A [Pool] is opened from the settings "driver" and "connect" and spreads queries
// over the hosts that connect names, leaving out for a while those that do not
// answer. A [Query] is a statement of a configuration file, made so that what a
// user typed never becomes SQL: a quoted text with %variables is given to
// the database as a value of its own.
package sqldb

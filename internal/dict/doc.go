// Package dict is Dovecot's dictionaries: keys and values, kept by one of several
// drivers, that passdbs, quota and others look up and change.
//
// # Keys
//
// A key begins with "shared/", or with "priv/" if each user has its own. What follows
// is a path, whose components hold no "/"; [Escape] makes one of any text.
//
// # Drivers
//
// A dictionary is named by a URI, DRIVER:PARAMETERS ([Open]):
//
//	file:PATH[:lock=fcntl|flock]      a small file ("~/" is the user's home directory)
//	fs:posix:prefix=PATH              a file for each key
//	redis:host=IP:port=N:...          a Redis server
//	proxy:[SOCKET]:NAME               the dictionary NAME of the section dict { } of dovecot.conf
//	mysql:FILE, pgsql:FILE, sqlite:FILE  tables of an SQL database, by way of proxy only
//
// Every driver looks up. What not all can do are interfaces of their own:
// [Iterator] and [Committer].
//
// Any error but [ErrNotFound] says that nobody knows: who asks must not take
// it for an answer.
package dict

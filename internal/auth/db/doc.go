// Package db is the databases of users behind Dovecot's passdb and userdb
// sections: the interface of their drivers, and the drivers that need nothing
// but files.
//
// A driver is asked about a [Request] and adds what it finds to it with
// [Request.SetField] or [Request.SetUserdbField], which give the fields that
// have a meaning of their own (user, allow_nets, nopassword, uid, ...) their
// effect. It answers with nil, with one of the errors below, or with any other
// error for a temporary failure, which the caller logs.
//
// A driver is called from many goroutines. One that may wait for something else
// than memory and an occasional file says so ([Passdb.Blocking]) and is then
// called from a goroutine that may wait.
//
// Drivers register themselves in the tables of drivers.go, one file each.
package db

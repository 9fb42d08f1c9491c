// Package accounts tests logins with real databases of users: an OpenLDAP
// directory, MariaDB and PostgreSQL, asked by the real Dovecot and by Dovetail with the same
// configuration. Both must give the same answers and log the same lines.
package accounts

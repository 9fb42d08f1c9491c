// Package spawn is spawn(8): it starts the command of an entry of master.cf for each
// connection to the entry's socket, as inetd does. Policy servers run so:
//
//	policy unix - n n - 0 spawn user=nobody argv=/usr/bin/policyd-spf
//
// The command has the connection as its standard input, output and error, the rights of
// user= (never root's, nor those of the mail system), the environment that
// export_environment names, and NAME_time_limit or command_time_limit to live: then it is
// killed with its whole process group. As many run at a time as the entry has processes;
// further clients wait to be accepted.
//
// The package is a part of the privileged process: see package asuser.
package spawn

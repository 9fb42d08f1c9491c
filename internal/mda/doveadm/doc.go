// Package doveadm is doveadm(1): the administrator's command for mailboxes.
//
// A [command] is one row of a table: its name, usage text, options and
// arguments, the formatter its output has by default, and what it does. The
// tables stand beside the commands ([mailboxCommands], [searchCommands],
// [changingCommands], [masterCommands]); [Main] looks the command up, reads
// the command line by the row's parameters, and runs it.
//
// Most commands are about the mail of users. Such a row has a prepare
// function, which checks the arguments and declares the columns of the output
// before any user is known, and returns what is then done for each user. The
// framework finds the users (-u, a mask, -A, -F, the environment), asks the
// userdb for them over the auth-userdb socket, becomes each of them, opens the
// mail and takes care of exit status and messages. A command only prints and
// returns errors:
//
//	var mailboxPath = &command{
//		name: "mailbox path", usage: "[-t <type>] <mailbox>", format: "flow",
//		params: mailParams(option('t', "type"), argument("mailbox")),
//		mail: func(in *invocation) (runFunc, error) {
//			name, ok := in.text("mailbox")
//			if !ok {
//				return nil, errUsage
//			}
//			in.column("path", hidden)
//			return func(ctx context.Context, u *mailUser) error {
//				...
//				u.print(path)
//				return nil
//			}, nil
//		},
//	}
//
// Values go to a printer, one after the other in the order of the columns;
// which of the formatters gets them the command does not know. Formatters write
// as they are given values: nothing grows with the number of rows.
//
// # Elsewhere
//
// With -S, and with doveadm_port for users whom a passdb proxies, another process
// runs the command ([servers]), over the protocol of package wire: this one
// checks the arguments, declares the columns, and prints the values that come
// back. [Serve] is the other side, a process of service doveadm, in which the
// same rows of the table run with a printer whose formatter is the protocol.
//
// # Errors and exit status
//
// An error that a runFunc returns, or gives to mailUser.report and goes on, is
// printed as "doveadm(USER): Error: TEXT" and decides the exit status: that of
// the first failure, except that a temporary one (75) wins. A [fatal] error ends
// the program at once, with "Fatal: TEXT" and its own status.
package doveadm

// Package checkpassword runs programs of the checkpassword interface, which ask
// about one user and end, and is the program that answers for them.
//
// # The interface
//
// The program is run with the words of the configuration and, after them, the path
// of the program that sends the answer. It finds
//
//	descriptor 3  the user's name, the password and a time stamp, which is empty,
//	              each ended by NUL; 512 bytes at most
//	descriptor 4  where the answer goes
//
// and, in its environment, what is known of the client ([Environment]). If the
// password is right it sets what it knows of the user in its environment and
// executes the answering program:
//
//	USER, HOME    name and home directory
//	EXTRA         names of further variables, with blanks between, to be sent
//	              in lower case as fields: "userdb_uid userdb_gid nologin"
//
// Its exit status says what became of it: 0 right, 1 wrong, 111 and others a
// temporary failure. With AUTHORIZED=1 nobody has tried a password: the
// program looks the user up, sets AUTHORIZED=2 and executes the answering program,
// which then exits with 2; status 3 is for a user who does not exist.
//
// The answer is fields "name=value", each followed by TAB, escaped as package
// wire has it. There must be one for an exit status that means success.
package checkpassword

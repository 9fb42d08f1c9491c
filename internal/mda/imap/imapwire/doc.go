// Package imapwire is the syntax of IMAP (RFC 3501, RFC 9051 section 9): it
// reads commands and their arguments and writes the values of replies. It knows
// no command. The login process does not read with it: that is for strangers, and
// keeps to fixed, smaller limits and to one small buffer that is wiped after use.
//
// A [Decoder] reads commands one after the other:
//
//	for {
//		if err := d.Command(); err != nil { ... }   // d.Tag(), d.Name()
//		args, err := d.Args(0)                      // or d.Line() for raw lines
//		...
//		if err := d.EndLine(); err != nil { ... }   // whatever was not read
//	}
//
// Arguments are atoms, strings and nested lists ([Args]), as lenient as
// Dovecot's parser: blanks may be missing between arguments that end by
// themselves, and NIL is an atom. Literals are read into memory, after the
// client was told to go on ("proceed"), within the limits on a command's size.
// The literal of APPEND is not: [Decoder.ArgsUntilLiteral] stops before it and
// [Decoder.OpenLiteral] streams it.
//
// What the client did wrong is an [*Error], whose text is Dovecot's; any other
// error comes from the connection. After an Error that is not Fatal the caller
// answers BAD and goes on with [Decoder.EndLine], which skips the rest of the command
// with its non-synchronizing literals.
//
// A Decoder takes its buffer from a pool when it reads and gives it back in
// [Decoder.Release], so a connection that waits costs no buffer.
package imapwire

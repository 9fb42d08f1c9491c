// Package master starts and watches the daemon processes of a service and
// gives them what they may have: configuration, log, listening sockets.
//
// Processes exist to separate privileges, nothing else. The master process
// runs as root; it re-executes its own binary once per role ("auth", "login",
// "mail", "mta"). A child inherits one descriptor, a SOCK_SEQPACKET control
// socket (descriptor 3), and learns everything else from it:
//
//	master → child  init     role, identity, log, listeners, configuration
//	master → child  reload   the same, anew; running sessions are not touched
//	child → master  starting it is still at what must come before it serves, and gets on
//	child → master  ready    it serves
//	child → master  reloaded it goes by the new settings, or why it does not
//	either way      others   what the roles have to say to each other, with
//	                         descriptors attached (clients' sockets)
//
// A message is one datagram: its kind, a newline, a JSON body; descriptors
// travel as SCM_RIGHTS. Configuration can be larger than a datagram and goes
// as a memfd. When the control socket closes, the child ends.
//
// The child drops its privileges itself, first thing, before it looks at
// anything that a client sent: see [Process.Drop].
package master

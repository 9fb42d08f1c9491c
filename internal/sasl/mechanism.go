package sasl

import "strings"

// Flags are the properties of a mechanism that Dovecot's auth protocol tells
// its clients about.
type Flags uint8

// Properties of mechanisms. The names are those of the auth protocol.
const (
	Private        Flags = 1 << iota // offered to login processes only
	Anonymous                        // proves no identity
	Plaintext                        // the password is readable on the wire
	Dictionary                       // open to passive dictionary attacks
	Active                           // open to active attacks, not to dictionary attacks
	ForwardSecrecy                   // breaking one session breaks no other
	MutualAuth                       // the server proves itself too
)

var flagNames = [...]struct {
	flag Flags
	name string
}{
	{Private, "private"},
	{Anonymous, "anonymous"},
	{Plaintext, "plaintext"},
	{Dictionary, "dictionary"},
	{Active, "active"},
	{ForwardSecrecy, "forward-secrecy"},
	{MutualAuth, "mutual-auth"},
}

// ParseFlag returns the flag of a name, or 0 for a name not known.
func ParseFlag(name string) Flags {
	for _, f := range flagNames {
		if f.name == name {
			return f.flag
		}
	}
	return 0
}

// Names returns the names of the flags, in the order Dovecot writes them.
func (f Flags) Names() []string {
	var names []string
	for _, fn := range flagNames {
		if f&fn.flag != 0 {
			names = append(names, fn.name)
		}
	}
	return names
}

// A Mechanism is one row of the table of mechanisms.
type Mechanism struct {
	Name  string
	Flags Flags

	// NewServer starts the server's side of one exchange. It is nil for a
	// mechanism that only clients support.
	NewServer func(Session) Server

	// NewClient starts the client's side of one exchange. It is nil for a
	// mechanism that only servers support.
	NewClient func(Credentials) Client
}

// mechanisms are all that are supported, in alphabetic order.
var mechanisms = [...]Mechanism{
	{Name: "ANONYMOUS", Flags: Anonymous, NewServer: newAnonymousServer, NewClient: newAnonymousClient},
	{Name: "CRAM-MD5", Flags: Dictionary | Active, NewServer: newCRAMMD5Server, NewClient: newCRAMMD5Client},
	{Name: "EXTERNAL", NewServer: newExternalServer, NewClient: newExternalClient},
	{Name: "LOGIN", Flags: Plaintext, NewServer: newLoginServer, NewClient: newLoginClient},
	{Name: "PLAIN", Flags: Plaintext, NewServer: newPlainServer, NewClient: newPlainClient},
	{Name: "SCRAM-SHA-1", Flags: MutualAuth, NewServer: newSCRAMServer(scramSHA1), NewClient: newSCRAMClient(scramSHA1)},
	{Name: "SCRAM-SHA-256", Flags: MutualAuth, NewServer: newSCRAMServer(scramSHA256), NewClient: newSCRAMClient(scramSHA256)},
}

// Lookup finds a mechanism by its name, in any letter case.
func Lookup(name string) (*Mechanism, bool) {
	for i := range mechanisms {
		if strings.EqualFold(mechanisms[i].Name, name) {
			return &mechanisms[i], true
		}
	}
	return nil, false
}

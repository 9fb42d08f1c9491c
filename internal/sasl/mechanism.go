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
	ChannelBinding                   // the proof is also about the TLS connection
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
	{ChannelBinding, "channel-binding"},
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

// A Need is what a mechanism's server wants to be done for it.
type Need uint8

// What may be needed of databases.
const (
	NeedNothing Need = iota
	NeedVerify       // passwords are checked
	NeedFetch        // passwords, or what is stored of them, are given out
	NeedStore        // and replaced
)

// A Mechanism is one row of the table of mechanisms.
type Mechanism struct {
	Name  string
	Flags Flags
	Need  Need

	// NULs is set if the client's messages may have NUL bytes.
	NULs bool

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
	{Name: "APOP", Flags: Private | Dictionary | Active, Need: NeedFetch, NULs: true, NewServer: newAPOPServer},
	{Name: "CRAM-MD5", Flags: Dictionary | Active, Need: NeedFetch, NewServer: newCRAMMD5Server, NewClient: newCRAMMD5Client},
	{Name: "DIGEST-MD5", Flags: Dictionary | Active | MutualAuth, Need: NeedFetch, NewServer: newDigestServer, NewClient: newDigestClient},
	{Name: "EXTERNAL", Need: NeedVerify, NewServer: newExternalServer, NewClient: newExternalClient},
	{Name: "LOGIN", Flags: Plaintext, Need: NeedVerify, NewServer: newLoginServer, NewClient: newLoginClient},
	{Name: "OAUTHBEARER", Flags: Plaintext, NewServer: newOAuthBearerServer, NewClient: newOAuthBearerClient},
	{Name: "OTP", Flags: Dictionary | Active, Need: NeedStore, NULs: true, NewServer: newOTPServer, NewClient: newOTPClient},
	{Name: "PLAIN", Flags: Plaintext, Need: NeedVerify, NULs: true, NewServer: newPlainServer, NewClient: newPlainClient},
	{Name: "SCRAM-SHA-1", Flags: MutualAuth, Need: NeedFetch, NewServer: newSCRAMServer(scramSHA1), NewClient: newSCRAMClient(scramSHA1)},
	{Name: "SCRAM-SHA-1-PLUS", Flags: Private | MutualAuth | ChannelBinding, Need: NeedFetch, NewServer: newSCRAMPlusServer(scramSHA1), NewClient: newSCRAMPlusClient(scramSHA1)},
	{Name: "SCRAM-SHA-256", Flags: MutualAuth, Need: NeedFetch, NewServer: newSCRAMServer(scramSHA256), NewClient: newSCRAMClient(scramSHA256)},
	{Name: "SCRAM-SHA-256-PLUS", Flags: Private | MutualAuth | ChannelBinding, Need: NeedFetch, NewServer: newSCRAMPlusServer(scramSHA256), NewClient: newSCRAMPlusClient(scramSHA256)},
	{Name: "XOAUTH2", Flags: Plaintext, NewServer: newXOAUTH2Server, NewClient: newXOAUTH2Client},
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

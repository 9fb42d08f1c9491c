package dovecot

// Size is a number of bytes, written as "10 M" or "1536k".
type Size uint64

// Mode is a file mode. A leading zero makes the text octal; without it Dovecot
// reads the number as decimal.
type Mode uint32

// Port is a TCP port, 0 to 65535; 0 disables what it stands for.
type Port uint16

// Kind is the type of a setting: it says which texts are accepted and how they
// are printed.
type Kind uint8

// The kinds of settings.
const (
	KindString Kind = iota // any text
	KindVars               // text whose %variables are expanded when it is used
	KindPath               // text that names a file
	KindBool               // yes or no
	KindUint               // 32-bit decimal number
	KindOctal              // file mode
	KindTime               // seconds, written with a unit
	KindMsecs              // milliseconds, written with a unit
	KindSize               // bytes, written with an optional unit
	KindPort               // TCP port
	KindEnum               // one of a list of words
	KindStrMap             // section of freely named strings: plugin, dict
	KindList               // list of sections: passdb, service
)

// Scope tells by which filters a setting may vary.
type Scope uint8

// The filters of dovecot.conf.
const (
	ScopeProtocol  Scope = 1 << iota // protocol { }
	ScopeLocal                       // local { }
	ScopeRemote                      // remote { }
	ScopeLocalName                   // local_name { }
)

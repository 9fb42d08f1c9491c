package dovecot

// Version is what "dovecot --version", the line of its start and doveconf say: the release of
// Dovecot whose behavior is reproduced, then our own. PigeonholeVersion is that of its Sieve.
const (
	Version           = "2.3.21.1 (dovetail)"
	PigeonholeVersion = "0.5.21.1 (dovetail)"
)

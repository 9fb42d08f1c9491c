package asuser

import "fmt"

// An exitStatus is what a status of sysexits.h means.
type exitStatus struct{ dsn, text string }

// EX_USAGE, the first of sysexits.h, and EX_TEMPFAIL.
const (
	firstExit    = 64
	exitTempFail = 75
)

var exits = [...]exitStatus{
	{"5.3.0", "command line usage error"},
	{"5.6.0", "data format error"},
	{"5.3.0", "cannot open input"},
	{"5.1.1", "user unknown"},
	{"5.1.2", "host name unknown"},
	{"5.3.0", "service unavailable"},
	{"5.3.0", "internal software error"},
	{"4.3.0", "system resource problem"},
	{"5.3.0", "critical OS file missing"},
	{"5.2.0", "can't create user output file"},
	{"5.3.0", "input/output error"},
	{"4.3.0", "temporary failure"},
	{"5.5.0", "remote error in protocol"},
	{"5.7.0", "permission denied"},
	{"5.3.5", "local configuration error"},
}

// softwareError is what is said of commands that do not end by themselves (EX_SOFTWARE).
const softwareError = "internal software error"

// meaningOf returns what an exit status means; known is false for one that
// sysexits.h does not have.
func meaningOf(code int) (m exitStatus, known bool) {
	if i := code - firstExit; i >= 0 && i < len(exits) {
		return exits[i], true
	}
	return exitStatus{"5.3.0", fmt.Sprintf("unknown mail system error %d", code)}, false
}

package smtpd

import "github.com/dovetail-mail/dovetail/internal/smtp"

// verb numbers the commands in the order in which the log line at the end of
// a session counts them.
type verb uint8

const (
	verbHELO verb = iota
	verbEHLO
	verbXCLIENT
	verbXFORWARD
	verbSTARTTLS
	verbAUTH
	verbMAIL
	verbRCPT
	verbDATA
	verbBDAT
	verbRSET
	verbNOOP
	verbVRFY
	verbETRN
	verbQUIT
	verbUnknown
	verbCount
)

// command is what the server knows of a verb.
type command struct {
	name  string
	count string // as counted in the log
	run   func(s *session, args []byte) smtp.Reply
	flags commandFlags
}

type commandFlags uint8

const (
	junk      commandFlags = 1 << iota // an error when there are too many of them
	lastInRow                          // nothing may be pipelined behind it (RFC 2920 3.1)
	beforeTLS                          // allowed when TLS is required and not active
	inBDAT                             // allowed after BDAT without LAST
)

var commands [verbCount]command

// The table is filled at start, as its functions look into it.
func init() {
	commands = [verbCount]command{
		verbHELO:     {"HELO", "helo", (*session).helo, junk | lastInRow | beforeTLS},
		verbEHLO:     {"EHLO", "ehlo", (*session).ehlo, junk | lastInRow | beforeTLS},
		verbXCLIENT:  {"XCLIENT", "xclient", (*session).xclient, beforeTLS},
		verbXFORWARD: {"XFORWARD", "xforward", (*session).xforward, 0},
		verbSTARTTLS: {"STARTTLS", "starttls", (*session).starttls, beforeTLS},
		verbAUTH:     {"AUTH", "auth", (*session).auth, 0},
		verbMAIL:     {"MAIL", "mail", (*session).mail, 0},
		verbRCPT:     {"RCPT", "rcpt", (*session).rcpt, 0},
		verbDATA:     {"DATA", "data", (*session).data, lastInRow},
		verbBDAT:     {"BDAT", "bdat", (*session).bdat, inBDAT},
		verbRSET:     {"RSET", "rset", (*session).rset, junk},
		verbNOOP:     {"NOOP", "noop", (*session).noop, junk | lastInRow | beforeTLS},
		verbVRFY:     {"VRFY", "vrfy", (*session).vrfy, junk | lastInRow},
		verbETRN:     {"ETRN", "etrn", (*session).etrn, junk},
		verbQUIT:     {"QUIT", "quit", (*session).quit, beforeTLS},
		verbUnknown:  {"UNKNOWN", "unknown", nil, 0},
	}
}

// lookup finds the command of a verb in any case.
func lookup(name []byte) verb {
	if len(name) < 4 || len(name) > 8 {
		return verbUnknown
	}
	var upper [8]byte
	for i, c := range name {
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	for v := range verbUnknown {
		if commands[v].name == string(upper[:len(name)]) {
			return v
		}
	}
	return verbUnknown
}

// counter counts a command, as "ok" or "ok/total".
type counter struct{ ok, total int32 }

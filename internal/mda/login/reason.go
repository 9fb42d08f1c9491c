package login

import (
	"strconv"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
)

// failReasons say in log lines what the last failed attempt was.
var failReasons = map[string]string{
	client.CodeTempFail:      "auth service reported temporary failure",
	client.CodeUserDisabled:  "user disabled",
	client.CodePassExpired:   "password expired",
	client.CodeInvalidBase64: "sent invalid base64 in response",
	codeLoginDisabled:        "login disabled",
	codeMechanism:            "tried to use unsupported auth mechanism",
	codeMechTLS:              "tried to use disallowed plaintext auth",
}

// parenthesis says in the log line of a disconnect how far the client came,
// such as "(auth failed, 2 attempts in 5 secs)". The order of the tests is
// Dovecot's.
func (c *session) parenthesis(now time.Time) string {
	if text := c.certReason(); text != "" {
		return text
	}
	if c.attempts == 0 {
		return "(no auth attempts in " + seconds(now, c.created) + ")"
	}
	waited := seconds(now, c.firstAuth)
	switch c.state {
	case stateChallenged:
		return "(client didn't finish SASL auth, waited " + waited + ")"
	case stateAuthenticating:
		return "(disconnected while authenticating, waited " + waited + ")"
	case statePassing:
		return "(disconnected while finishing login, waited " + waited + ")"
	case stateAborted:
		return "(aborted authentication)"
	case stateAuthLost:
		return "(auth process communication failure)"
	}
	if c.proxyRefused {
		return "(proxy dest auth failed)"
	}
	if c.successes > 0 {
		return "(internal failure, " + strconv.Itoa(c.successes) + " successful auths)"
	}
	if text, ok := failReasons[c.failCode]; ok {
		return "(" + text + ")"
	}
	attempts := strconv.Itoa(c.attempts) + " attempts in " + waited + ")"
	if c.failCode == client.CodeAuthzFail {
		return "(authorization failed, " + attempts
	}
	return "(auth failed, " + attempts
}

func seconds(now, since time.Time) string {
	return strconv.FormatInt(int64(now.Sub(since)/time.Second), 10) + " secs"
}

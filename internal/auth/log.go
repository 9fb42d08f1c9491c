package auth

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// triedPassword is what auth_verbose_passwords appends to a failure: nothing,
// or a hash of the password tried, or the password, and whether there are more
// databases. Its blanks are Dovecot's.
func (c *passChain) triedPassword() string {
	setting := c.server.set.VerbosePasswords
	if setting == "no" {
		return ""
	}
	text := " "
	if c.purpose == purposeVerify && c.fetch == "" {
		text += passwordForLog(setting, c.req.Password)
	}
	if c.i+1 < len(c.dbs) {
		text += " - trying the next passdb"
	}
	return text
}

// passwordForLog shows a password as "plain", "sha1", "plain:N" or "sha1:N" say.
func passwordForLog(setting, password string) string {
	mode, limit, cut := strings.Cut(setting, ":")
	text, what := password, "given password"
	if mode == "sha1" {
		sum := sha1.Sum([]byte(password))
		text, what = hex.EncodeToString(sum[:]), "SHA1 of given password"
	}
	if n, err := strconv.Atoi(limit); cut && err == nil && n >= 0 {
		text = text[:min(n, len(text))]
	}
	return "(" + what + ": " + text + ")"
}

// logPanic logs a panic with its stack.
func logPanic(log *maillog.Logger, v any) {
	log.Print(maillog.Panic, fmt.Sprintf("%v: %s", v, debug.Stack()))
}

// shown is text of a client in a log line; control characters are the log's
// business.
func shown(line []byte) string { return string(line[:min(len(line), 1000)]) }

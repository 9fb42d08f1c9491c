package tlsserver

import (
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// logMask says what is logged of a session.
type logMask uint8

const (
	logSummary   logMask = 1 << iota
	logUntrusted         // why a certificate is not trusted
	logPeer              // names and fingerprints of the client's certificate
	logVerbose
	logCache // sessions that are resumed
)

// logWords are the levels, and the words of which a level may be made.
var logWords = map[string]logMask{
	"0": 0, "none": 0, "1": logSummary, "routine": logSummary,
	"2": logSummary | logVerbose | logCache, "debug": logSummary | logVerbose | logCache,
	"summary": logSummary, "untrusted": logUntrusted, "peercert": logPeer, "certmatch": 0,
	"verbose": logVerbose, "cache": logCache, "dane": 0,
	"ssl-debug": 0, "ssl-handshake-packet-dump": 0, "ssl-session-packet-dump": 0,
}

// parseLevel reads smtpd_tls_loglevel. Levels above 2 show what crypto/tls does not tell.
func parseLevel(level string) (mask logMask, unknown string) {
	for _, word := range postfix.SplitList(level) {
		word = strings.ToLower(word)
		switch m, ok := logWords[word]; {
		case ok:
			mask |= m
		case len(word) == 1 && word >= "3" && word <= "9", word == "ssl-expert", word == "ssl-developer":
			mask |= logWords["2"]
		default:
			unknown = word
		}
	}
	return mask, unknown
}

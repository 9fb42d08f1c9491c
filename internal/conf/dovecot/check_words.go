package dovecot

import (
	"fmt"
	"slices"
	"strings"
)

// wordLists are settings that hold a list of words, which are known in any case of letters.
var wordLists = map[string]struct {
	what  string
	words []string
}{
	"managesieve_client_workarounds": {"workaround", nil},
	"imap_client_workarounds":        {"workaround", []string{"delay-newmail", "tb-extra-mailbox-sep", "tb-lsub-flags"}},
	"pop3_client_workarounds":        {"workaround", []string{"outlook-no-nuls", "oe-ns-eoh"}},
	"lmtp_client_workarounds":        {"workaround", []string{"whitespace-before-path", "mailbox-for-path"}},
	"submission_client_workarounds":  {"workaround", []string{"whitespace-before-path", "mailbox-for-path", "implicit-auth-external", "exotic-backend"}},
	"dsync_features":                 {"feature", []string{"empty-header-workaround", "no-header-hashes"}},
	"pop3c_features":                 {"feature", []string{"no-pipelining"}},
	"imapc_features": {"feature", []string{
		"rfc822.size", "guid-forced", "fetch-headers", "gmail-migration", "search", "zimbra-workarounds", "no-examine",
		"proxyauth", "fetch-msn-workarounds", "fetch-fix-broken-mails", "modseq", "delay-login", "fetch-bodystructure",
		"send-id", "fetch-empty-is-expunged", "no-msn-updates", "acl"}},
}

// listWords splits a list at blanks and commas.
func listWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
}

// words is the check of one of wordLists.
func words(key string) func(*checker) error {
	return func(k *checker) error { return checkWords(k, key) }
}

func checkWords(k *checker, key string) error {
	l := wordLists[key]
	for _, w := range listWords(k.str(key)) {
		lower := strings.ToLower(w)
		if throttle, ok := strings.CutPrefix(lower, "throttle:"); ok && key == "imapc_features" {
			if !validThrottle(throttle) {
				return fmt.Errorf("imapc_features: Invalid throttle settings")
			}
			continue
		}
		if !slices.Contains(l.words, lower) {
			return fmt.Errorf("%s: Unknown %s: %s", key, l.what, w)
		}
	}
	return nil
}

// validThrottle checks three numbers of milliseconds.
func validThrottle(s string) bool {
	parts := strings.Split(s, ":")
	return len(parts) == 3 && !slices.ContainsFunc(parts, func(p string) bool {
		_, err := parseUint(p)
		return err != nil
	})
}

func checkIMAPC(k *checker) error {
	if k.str("imapc_max_idle_time") == "0" {
		return fmt.Errorf("imapc_max_idle_time must not be 0")
	}
	return checkWords(k, "imapc_features")
}

func checkDsync(k *checker) error {
	for _, key := range []string{"dsync_hashed_headers", "dsync_alt_char"} {
		if k.str(key) == "" {
			return fmt.Errorf("%s must not be empty", key)
		}
	}
	return checkWords(k, "dsync_features")
}

package postfix

import (
	"fmt"
	"strings"
)

// CipherLists are what the grades of ciphers stand for, as lists in OpenSSL's words, and the curves. Whoever
// honors them registers them.
type CipherLists struct {
	High   string `set:"tls_high_cipherlist" doc:"OpenSSL list of ciphers of grade high; of them those are used that crypto/tls has, in its own order"`
	Medium string `set:"tls_medium_cipherlist" doc:"the same for grade medium"`
	Low    string `set:"tls_low_cipherlist" doc:"the same for grade low"`
	Export string `set:"tls_export_cipherlist" doc:"the same for grade export"`
	Null   string `set:"tls_null_cipherlist" doc:"the same for grade null"`
	Curves string `set:"tls_eecdh_auto_curves" doc:"curves for the exchange of keys; of them those are used that crypto/tls has, in its own order"`
}

// Grade returns the list of a grade. param is the parameter that names it, for the error.
func (c *CipherLists) Grade(param, grade string) (string, error) {
	switch strings.ToLower(grade) {
	case "high":
		return c.High, nil
	case "medium":
		return c.Medium, nil
	case "low":
		return c.Low, nil
	case "export":
		return c.Export, nil
	case "null":
		return c.Null, nil
	}
	return "", fmt.Errorf("invalid TLS cipher grade %q in %s: use high, medium, low, export or null", grade, param)
}

// Excluding adds lists of ciphers that are not used to a list, in OpenSSL's words. param is the parameter that excludes them, for the error.
func Excluding(list, param string, exclusions ...string) (string, error) {
	for _, words := range exclusions {
		for word := range strings.FieldsFuncSeq(words, func(r rune) bool { return strings.ContainsRune(":, \t\r\n", r) }) {
			if strings.ContainsRune("!+-@", rune(word[0])) {
				return "", fmt.Errorf("invalid cipher exclusion %q in %s: use a word without any of !+-@ before it", word, param)
			}
			list += ":!" + word
		}
	}
	return list, nil
}

package postfix

import (
	"fmt"
	"strings"
)

// CipherLists are what the grades of ciphers stand for, as lists in OpenSSL's words. Whoever
// honors them registers them.
type CipherLists struct {
	High   string `set:"tls_high_cipherlist" doc:"OpenSSL list of ciphers of grade high, for SMTP and LMTP clients, of those that crypto/tls has"`
	Medium string `set:"tls_medium_cipherlist" doc:"the same for grade medium"`
	Low    string `set:"tls_low_cipherlist" doc:"the same for grade low"`
	Export string `set:"tls_export_cipherlist" doc:"the same for grade export"`
	Null   string `set:"tls_null_cipherlist" doc:"the same for grade null"`
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

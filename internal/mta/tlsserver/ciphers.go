package tlsserver

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// cipherWords are OpenSSL's words for what the suites up to TLS 1.2 of crypto/tls have in common.
var cipherWords = map[uint16]string{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256:       "ECDHE-ECDSA-AES128-GCM-SHA256 AES128 AES AESGCM SHA256 ECDSA aECDSA TLSv1.2",
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256:         "ECDHE-RSA-AES128-GCM-SHA256 AES128 AES AESGCM SHA256 aRSA TLSv1.2",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384:       "ECDHE-ECDSA-AES256-GCM-SHA384 AES256 AES AESGCM SHA384 ECDSA aECDSA TLSv1.2",
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384:         "ECDHE-RSA-AES256-GCM-SHA384 AES256 AES AESGCM SHA384 aRSA TLSv1.2",
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305 CHACHA20 ECDSA aECDSA TLSv1.2",
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256:   "ECDHE-RSA-CHACHA20-POLY1305 CHACHA20 aRSA TLSv1.2",
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:          "ECDHE-ECDSA-AES128-SHA AES128 AES SHA SHA1 ECDSA aECDSA TLSv1 SSLv3",
	tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA:            "ECDHE-RSA-AES128-SHA AES128 AES SHA SHA1 aRSA TLSv1 SSLv3",
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA:          "ECDHE-ECDSA-AES256-SHA AES256 AES SHA SHA1 ECDSA aECDSA TLSv1 SSLv3",
	tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA:            "ECDHE-RSA-AES256-SHA AES256 AES SHA SHA1 aRSA TLSv1 SSLv3",
}

// ofAll are words that all of them answer to.
const ofAll = "ALL DEFAULT HIGH ECDHE EECDH kECDHE kEECDH ECDH"

// cipherSuites are the suites up to TLS 1.2 that the lists of exclusions leave; nil stands for all. A word
// stands for a suite or a group of them, "a+b" for what is in both groups; words for what crypto/tls
// never offers exclude nothing. As with OpenSSL, case counts nothing and TLS 1.3 is not concerned.
func cipherSuites(exclusions ...string) ([]uint16, error) {
	var out []uint16
	words := strings.FieldsFunc(strings.Join(exclusions, " "), func(r rune) bool { return strings.ContainsRune(":, \t\r\n", r) })
	for _, s := range tls.CipherSuites() {
		if _, ok := cipherWords[s.ID]; ok && !slices.ContainsFunc(words, func(w string) bool { return selects(w, s.ID) }) {
			out = append(out, s.ID)
		}
	}
	switch len(out) {
	case len(cipherWords):
		return nil, nil
	case 0:
		return nil, fmt.Errorf("the cipher exclusions %q leave no cipher", strings.Join(words, " "))
	}
	return out, nil
}

func selects(word string, id uint16) bool {
	for part := range strings.SplitSeq(word, "+") {
		if !hasWord(cipherWords[id], part) && !hasWord(ofAll, part) {
			return false
		}
	}
	return true
}

func hasWord(list, word string) bool {
	for w := range strings.FieldsSeq(list) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

package tlsconf

import (
	"crypto/tls"
	"slices"
	"strings"
)

// Ciphers returns the cipher suites of TLS before 1.3 that a list of OpenSSL's ciphers(1) selects,
// without those that other lists exclude, of the suites that crypto/tls uses by itself. Words that
// mean none of these select nothing; an order that a list asks for has no effect, "@SECLEVEL=4" and 5 leave
// out what is weaker. The result is nil where all are selected, and empty where none is: TLS 1.3 is left then.
func Ciphers(list string, exclude ...string) []uint16 {
	all := offered()
	var killed, chosen []uint16
	for i, word := range cipherWords(list) {
		if i == 0 && strings.EqualFold(word, "DEFAULT") {
			word = "ALL" // of crypto/tls; elsewhere the word means nothing
		}
		verb := byte(0)
		if strings.IndexByte("!-+@", word[0]) >= 0 {
			verb, word = word[0], word[1:]
		}
		for _, id := range all {
			if verb == '+' || verb == '@' || !selects(word, id) {
				continue
			}
			if verb != 0 {
				chosen = slices.DeleteFunc(chosen, func(c uint16) bool { return c == id })
			}
			switch {
			case verb == '!':
				killed = append(killed, id)
			case verb == 0 && !slices.Contains(killed, id) && !slices.Contains(chosen, id):
				chosen = append(chosen, id)
			}
		}
	}
	chosen = slices.DeleteFunc(chosen, func(id uint16) bool {
		return bitsOf(id) < leastBits(list) || slices.ContainsFunc(exclude, func(list string) bool {
			return slices.ContainsFunc(cipherWords(list), func(word string) bool { return isOf(id, word) })
		})
	})
	if len(chosen) == len(all) {
		return nil
	}
	return append([]uint16{}, chosen...)
}

// Missing returns the words by which a list of ciphers(1) asks for suites of TLS before 1.3 of which [Ciphers] has none. Words for
// large classes are not among them: lists name these by habit, to take out parts of them again.
func Missing(list string) []string {
	var missing []string
	for _, word := range cipherWords(list) {
		if strings.IndexByte("!-+@", word[0]) >= 0 || slices.ContainsFunc(offered(), func(id uint16) bool { return selects(word, id) }) {
			continue
		}
		if !slices.ContainsFunc(classes, func(w string) bool { return strings.EqualFold(w, word) }) {
			missing = append(missing, word)
		}
	}
	return missing
}

var classes = []string{"DEFAULT", "MEDIUM", "LOW", "EXPORT", "EXP", "aNULL", "eNULL", "NULL", "COMPLEMENTOFALL", "COMPLEMENTOFDEFAULT"}

// leastBits is the strength that the last @SECLEVEL=n of a list asks of ciphers, as far as that leaves any of crypto/tls out
// (SSL_CTX_set_security_level(3)).
func leastBits(list string) int {
	bits := 0
	for _, word := range cipherWords(list) {
		switch word {
		case "@SECLEVEL=0", "@SECLEVEL=1", "@SECLEVEL=2", "@SECLEVEL=3":
			bits = 0
		case "@SECLEVEL=4":
			bits = 192
		case "@SECLEVEL=5":
			bits = 256
		}
	}
	return bits
}

func bitsOf(id uint16) int {
	i := slices.IndexFunc(suites, func(s suite) bool { return s.id == id })
	if i < 0 {
		return 0
	}
	return suites[i].bits
}

// selects tells whether a word stands for a cipher suite. Policies of the system, as RHEL has
// them, stand for what crypto/tls holds safe.
func selects(word string, id uint16) bool {
	return isOf(id, word) || strings.HasPrefix(word, "PROFILE=")
}

// offered are the cipher suites of TLS before 1.3 that crypto/tls uses by itself.
func offered() (ids []uint16) {
	for _, c := range tls.CipherSuites() {
		if slices.Contains(c.SupportedVersions, tls.VersionTLS12) {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// cipherWords takes a list apart.
func cipherWords(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(":,; \t\r\n", r) })
}

// isOf tells whether a word of OpenSSL's ciphers(1) is about a cipher suite.
func isOf(id uint16, word string) bool {
	i := slices.IndexFunc(suites, func(s suite) bool { return s.id == id })
	if i < 0 {
		return false
	}
	name := suites[i].openssl
	if strings.EqualFold(word, name) {
		return true
	}
	made := madeOf(name)
	for _, part := range strings.Split(word, "+") {
		if !slices.ContainsFunc(made, func(m string) bool { return strings.EqualFold(m, part) }) {
			return false
		}
	}
	return true
}

// madeOf are the words of ciphers(1) that a suite, by its name in OpenSSL, belongs to. All of these exchange keys
// over elliptic curves, and are of grade high.
func madeOf(name string) []string {
	made := []string{"ALL", "HIGH", "ECDHE", "EECDH", "kECDHE", "kEECDH", "ECDH"}
	if strings.Contains(name, "-ECDSA-") {
		made = append(made, "aECDSA", "ECDSA")
	} else {
		made = append(made, "aRSA")
	}
	switch {
	case strings.Contains(name, "CHACHA20"):
		made = append(made, "CHACHA20", "TLSv1.2")
	case strings.HasSuffix(name, "-AES128-GCM-SHA256"):
		made = append(made, "AES", "AES128", "AESGCM", "TLSv1.2")
	case strings.HasSuffix(name, "-AES256-GCM-SHA384"):
		made = append(made, "AES", "AES256", "AESGCM", "TLSv1.2")
	case strings.HasSuffix(name, "-AES128-SHA"):
		made = append(made, "AES", "AES128", "SHA", "SHA1", "CBC", "TLSv1.0", "TLSv1")
	case strings.HasSuffix(name, "-AES256-SHA"):
		made = append(made, "AES", "AES256", "SHA", "SHA1", "CBC", "TLSv1.0", "TLSv1")
	}
	return made
}

package tlsconf

import (
	"crypto/tls"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// What a word excludes is what OpenSSL's ciphers command leaves out of the suites that both know.
func TestExcludedCiphers(t *testing.T) {
	var all []string
	for _, c := range tls.CipherSuites() {
		if i := slices.IndexFunc(suites, func(s suite) bool { return s.id == c.ID }); i >= 0 && slices.Contains(c.SupportedVersions, tls.VersionTLS12) {
			all = append(all, suites[i].openssl)
		}
	}
	for _, words := range []string{
		"", "aNULL", "MD5:RC4:3DES", "AES128", "AESGCM", "CHACHA20", "SHA1", "SHA", "SHA256", "SHA384", "aRSA", "aECDSA", "ECDSA", "kECDHE", "EECDH", "ECDH", "HIGH", "ALL",
		"ECDHE+AES128", "AES128+SHA1", "aRSA+AESGCM:CHACHA20", "ECDHE-RSA-AES128-SHA", "kDHE", "DES", "AES+nonsense", "nonsense",
	} {
		list := strings.Join(all, ":")
		for word := range strings.FieldsFuncSeq(words, func(r rune) bool { return r == ':' }) {
			list += ":!" + word
		}
		out, err := exec.Command("openssl", "ciphers", "-s", "-tls1_2", list+":@SECLEVEL=0").Output()
		if err != nil && !strings.Contains(words, "ALL") && !strings.Contains(words, "HIGH") && !strings.Contains(words, "ECDH") {
			t.Fatalf("openssl ciphers %s: %v (run test/install-packages)", list, err)
		}
		want := strings.FieldsFunc(strings.TrimSpace(string(out)), func(r rune) bool { return r == ':' })
		got := Ciphers("ALL", words)
		if got == nil {
			if len(want) != len(all) {
				t.Errorf("%q: nothing is excluded, with OpenSSL %d of %d are left", words, len(want), len(all))
			}
			continue
		}
		var names []string
		for _, id := range got {
			names = append(names, suites[slices.IndexFunc(suites, func(s suite) bool { return s.id == id })].openssl)
		}
		slices.Sort(names)
		slices.Sort(want)
		if !slices.Equal(names, want) {
			t.Errorf("%q: %v are left, with OpenSSL %v", words, names, want)
		}
	}
}

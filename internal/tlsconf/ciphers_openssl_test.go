package tlsconf

import (
	"crypto/tls"
	"math/rand/v2"
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

// A list chooses what OpenSSL chooses by it, of the suites that both know.
func TestCipherListsLikeOpenSSL(t *testing.T) {
	words := strings.Fields("ALL HIGH MEDIUM LOW DEFAULT aNULL eNULL AES AES128 AES256 AESGCM CHACHA20 SHA SHA1 SHA256 SHA384 aRSA RSA aECDSA ECDSA kECDHE EECDH " +
		"ECDH ECDHE DHE kRSA 3DES ECDHE-RSA-AES128-GCM-SHA256 ECDHE-ECDSA-AES256-SHA AES256-SHA EECDH+AESGCM aRSA+AES256 ECDHE+aECDSA AESGCM+nonsense nonsense TLSv1.2 SSLv3")
	random := rand.New(rand.NewPCG(1, 2))
	chosen := 0
	for range 60 {
		var parts []string
		for range 1 + random.IntN(6) {
			parts = append(parts, []string{"", "", "", "!", "-", "+"}[random.IntN(6)]+words[random.IntN(len(words))])
		}
		list := strings.TrimLeft(strings.Join(parts, ":"), "-") // what begins so is an option to the command
		if random.IntN(2) == 0 {
			list += ":@STRENGTH"
		}
		// An error means that the list chooses nothing.
		out, _ := exec.Command("openssl", "ciphers", "-s", "-tls1_2", list+":@SECLEVEL=0").Output() //nolint:errcheck // see above
		var want []string
		for name := range strings.SplitSeq(strings.TrimSpace(string(out)), ":") {
			if slices.ContainsFunc(offered(), func(id uint16) bool { return nameOf(id) == name }) {
				want = append(want, name)
			}
		}
		ids := Ciphers(list)
		if ids == nil {
			ids = offered()
		}
		var got []string
		for _, id := range ids {
			got = append(got, nameOf(id))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s chooses %v, with OpenSSL %v", list, got, want)
		}
		chosen += len(want)
	}
	if chosen < 100 {
		t.Errorf("all lists together choose only %d suites: is openssl installed?", chosen)
	}
}

func nameOf(id uint16) string {
	return suites[slices.IndexFunc(suites, func(s suite) bool { return s.id == id })].openssl
}

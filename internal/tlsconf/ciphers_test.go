package tlsconf

import (
	"crypto/tls"
	"slices"
	"strings"
	"testing"
)

func TestCiphers(t *testing.T) {
	for _, test := range []struct{ name, list, exclude, want string }{
		{"medium by default", "aNULL:-aNULL:HIGH:MEDIUM:+RC4:@STRENGTH", "", "all"},
		{"high by default", "aNULL:-aNULL:HIGH:@STRENGTH", "aNULL", "all"},
		{"null: no cipher encrypts nothing", "eNULL:!aNULL", "", ""},
		{"system's policy", "PROFILE=SYSTEM", "", "all"},
		{"by name", "ECDHE-RSA-AES256-GCM-SHA384", "", "ECDHE-RSA-AES256-GCM-SHA384"},
		{"several words of which all count", "EECDH+CHACHA20", "", "ECDHE-RSA-CHACHA20-POLY1305 ECDHE-ECDSA-CHACHA20-POLY1305"},
		{"killed for good", "!AES128:HIGH:!CHACHA20:!SHA1", "", "ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-AES256-GCM-SHA384"},
		{"taken out and brought back", "HIGH:-HIGH:ECDHE-ECDSA-AES128-SHA", "", "ECDHE-ECDSA-AES128-SHA"},
		{"excluded besides", "EECDH+AESGCM+aRSA", "AES128", "ECDHE-RSA-AES256-GCM-SHA384"},
		{"only what crypto/tls holds unsafe", "AES128-SHA:RC4", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			ids := Ciphers(test.list, test.exclude)
			got := "all"
			if ids != nil {
				var names []string
				for _, id := range ids {
					i := slices.IndexFunc(suites, func(s suite) bool { return s.id == id })
					names = append(names, suites[i].openssl)
				}
				got = strings.Join(names, " ")
			}
			if sorted(got) != sorted(test.want) {
				t.Errorf("%q without %q: %s, want %s", test.list, test.exclude, got, test.want)
			}
		})
	}
}

func sorted(words string) string {
	list := strings.Fields(words)
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestEmptyCiphersLeaveTLS13(t *testing.T) {
	config := &tls.Config{CipherSuites: Ciphers("eNULL")}
	if config.CipherSuites == nil {
		t.Error("an empty selection means all to crypto/tls")
	}
}

func FuzzCiphers(f *testing.F) {
	f.Add("aNULL:-aNULL:HIGH:@STRENGTH", "!:+:-")
	f.Fuzz(func(t *testing.T, list, exclude string) {
		all := offered()
		for _, id := range Ciphers(list, exclude) {
			if !slices.Contains(all, id) {
				t.Errorf("%q selects %x", list, id)
			}
		}
	})
}

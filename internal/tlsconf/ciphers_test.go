package tlsconf

import (
	"crypto/tls"
	"fmt"
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
		{"security level 4", "HIGH:@SECLEVEL=4", "", "ECDHE-RSA-AES256-GCM-SHA384 ECDHE-ECDSA-AES256-GCM-SHA384 ECDHE-RSA-CHACHA20-POLY1305 ECDHE-ECDSA-CHACHA20-POLY1305 ECDHE-RSA-AES256-SHA ECDHE-ECDSA-AES256-SHA"},
		{"security level that all reach", "HIGH:@SECLEVEL=5:@SECLEVEL=2", "", "all"},
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

func TestMissing(t *testing.T) {
	for list, want := range map[string]string{
		"aNULL:-aNULL:HIGH:MEDIUM:+RC4:@STRENGTH":                          "",
		"EECDH+AESGCM:EDH+AESGCM:!RC4":                                     "EDH+AESGCM",
		"ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384,AES128-SHA": "DHE-RSA-AES256-GCM-SHA384 AES128-SHA",
	} {
		if got := strings.Join(Missing(list), " "); got != want {
			t.Errorf("%s: %q is missing, want %q", list, got, want)
		}
	}
}

func TestECDHECurves(t *testing.T) {
	for _, test := range []struct {
		list string
		want []tls.CurveID
		warn string
		err  bool
	}{
		{"", nil, "", false},
		{"X25519 prime256v1,P-384", []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384}, "", false},
		{"secp521r1 X448 secp521r1", []tls.CurveID{tls.CurveP521}, "tls_eecdh_auto_curves: these curves cannot be offered: X448", false},
		{"nosuch", nil, "ignoring unknown ECDHE curve \"nosuch\"", false},
		{"X448 brainpoolP256r1", nil, "", true},
	} {
		warning := ""
		ids, err := ECDHECurves(test.list, func(format string, args ...any) { warning += fmt.Sprintf(format, args...) })
		if !slices.Equal(ids, test.want) || warning != test.warn || (err != nil) != test.err {
			t.Errorf("%q: %v, %q, %v; want %v, %q, error: %v", test.list, ids, warning, err, test.want, test.warn, test.err)
		}
	}
}

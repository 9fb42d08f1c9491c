package tlsconf

import (
	"crypto/tls"
	"testing"
)

func TestParseVersions(t *testing.T) {
	const v10, v11, v12, v13 = tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13
	for list, want := range map[string]Versions{
		"":                              {v10, v13},
		">=TLSv1":                       {v10, v13},
		"!SSLv2, !SSLv3":                {v10, v13},
		"!SSLv2, !SSLv3, !TLSv1":        {v11, v13},
		">=TLSv1.2, <=TLSv1.2":          {v12, v12},
		"TLSv1.2 TLSv1.3":               {v12, v13},
		"TLSv1.2":                       {v12, v12},
		"!SSLv2,!SSLv3,!TLSv1,!TLSv1.1": {v12, v13},
	} {
		if got, err := ParseVersions(list); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", list, got, err, want)
		}
	}
	for _, list := range []string{"TLSv9", "!TLSv1,!TLSv1.1,!TLSv1.2,!TLSv1.3"} {
		if got, err := ParseVersions(list); err == nil {
			t.Errorf("%q: %v, want an error", list, got)
		}
	}
}

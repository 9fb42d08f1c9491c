package tlsconf

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// curveNames are OpenSSL's names of the curves of crypto/tls.
var curveNames = map[string]tls.CurveID{
	"x25519":     tls.X25519,
	"p-256":      tls.CurveP256,
	"prime256v1": tls.CurveP256,
	"secp256r1":  tls.CurveP256,
	"p-384":      tls.CurveP384,
	"secp384r1":  tls.CurveP384,
	"p-521":      tls.CurveP521,
	"secp521r1":  tls.CurveP521,

	"x25519mlkem768": tls.X25519MLKEM768,
}

// curves reads a list of curves with colons between. Those that crypto/tls does
// not have, such as X448, are left out: the list says what may be used, not what must.
func curves(list string) ([]tls.CurveID, error) {
	if list == "" {
		return nil, nil
	}
	var ids []tls.CurveID
	for name := range strings.SplitSeq(list, ":") {
		if id, ok := curveNames[strings.ToLower(strings.TrimSpace(name))]; ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if ids == nil {
		return nil, fmt.Errorf("curve list %q has none of X25519, P-256, P-384 and P-521", list)
	}
	return ids, nil
}

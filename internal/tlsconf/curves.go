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

// lacking are curves of OpenSSL that crypto/tls does not have, beside those whose names begin as [lackingPrefixes] do.
var lacking = []string{"x448", "p-192", "p-224", "k-163", "b-163", "k-233", "b-233", "k-283", "b-283", "k-409", "b-409", "k-571", "b-571"}

var lackingPrefixes = []string{"secp", "sect", "brainpool", "prime", "c2pnb", "c2tnb", "ffdhe", "wap-wsg-"}

// ECDHECurves reads tls_eecdh_auto_curves of Postfix: curves with spaces or commas between. nil stands for those that crypto/tls uses by
// itself, as for an empty list. Words that are no curves, and curves that only OpenSSL has, are left out with a warning; if
// that leaves none of a list of curves, that is an error, which is permanent.
func ECDHECurves(list string, warn func(format string, args ...any)) ([]tls.CurveID, error) {
	var ids []tls.CurveID
	var missing []string
	for name := range strings.FieldsFuncSeq(list, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		lower := strings.ToLower(name)
		id, ok := curveNames[lower]
		switch {
		case ok && !slices.Contains(ids, id):
			ids = append(ids, id)
		case ok:
		case slices.Contains(lacking, lower), slices.ContainsFunc(lackingPrefixes, func(p string) bool { return strings.HasPrefix(lower, p) }):
			missing = append(missing, name)
		default:
			warn("ignoring unknown ECDHE curve \"%s\"", name)
		}
	}
	if len(missing) == 0 {
		return ids, nil
	}
	if len(ids) == 0 {
		return nil, fmt.Errorf("tls_eecdh_auto_curves: none of the configured ECDHE curves (%s) can be offered: add X25519, P-256, P-384 or P-521", strings.Join(missing, " "))
	}
	warn("tls_eecdh_auto_curves: these curves cannot be offered: %s", strings.Join(missing, " "))
	return ids, nil
}

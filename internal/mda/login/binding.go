package login

import (
	"crypto/tls"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/sasl"
)

// canBind reports whether the client's TLS connection has something by which a proof can
// be bound to it.
func (c *session) canBind() bool {
	if c.tlsConn == nil || !c.done {
		return false
	}
	state := c.tlsConn.ConnectionState()
	return state.Version >= tls.VersionTLS13 || len(state.TLSUnique) > 0
}

// bindings are what the proof of a mechanism can be bound to. They go with the
// mechanisms that have a form with channel binding, so that the auth server knows
// that the client was offered it.
func (c *session) bindings() []sasl.Binding {
	if !c.canBind() || !strings.HasPrefix(c.mech, "SCRAM-") {
		return nil
	}
	state := c.tlsConn.ConnectionState()
	var list []sasl.Binding
	// Without extended master secret (RFC 7627) an older TLS has no exporter that can
	// be trusted; crypto/tls says so.
	if data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		list = append(list, sasl.Binding{Name: "tls-exporter", Data: data})
	}
	if len(state.TLSUnique) > 0 {
		list = append(list, sasl.Binding{Name: "tls-unique", Data: state.TLSUnique})
	}
	return list
}

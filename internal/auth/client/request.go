package client

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
)

func equalFold(a, b string) bool { return a == b || strings.EqualFold(a, b) }

// appendAuth appends an AUTH command.
func appendAuth(b []byte, id uint32, req *Request) []byte {
	b = wire.AppendID(append(b, "AUTH"...), id)
	b = wire.AppendEscaped(append(b, '\t'), req.Mechanism)
	b = wire.AppendField(b, "service", req.Service)
	b = appendAddr(b, "lip", "lport", req.Local)
	b = appendAddr(b, "rip", "rport", req.Remote)
	b = appendAddr(b, "real_lip", "real_lport", req.RealLocal)
	b = appendAddr(b, "real_rip", "real_rport", req.RealRemote)
	switch {
	case req.TLS:
		b = append(b, "\tsecured=tls"...)
	case req.Secured:
		b = append(b, "\tsecured"...)
	}
	if req.ValidClientCert {
		b = append(b, "\tvalid-client-cert"...)
	}
	b = appendSet(b, "cert_username", req.CertUsername)
	b = appendSet(b, "local_name", req.LocalName)
	b = appendSet(b, "session", req.Session)
	b = appendSet(b, "client_id", req.ClientID)
	if req.ForwardFields != "" {
		b = append(b, "\tforward_fields="...)
		b = wire.AppendBase64(b, []byte(req.ForwardFields))
	}
	b = appendExtra(b, req.Extra)
	if req.FinalResponse {
		b = append(b, "\tfinal-resp-ok"...)
	}
	if req.NoPenalty {
		b = append(b, "\tno-penalty"...)
	}
	b = appendBindings(b, req.Bindings)
	if req.HasInitial { // must be last
		b = append(b, "\tresp="...)
		b = wire.AppendBase64(b, req.Initial)
	}
	return append(b, '\n')
}

func appendExtra(b []byte, extra []string) []byte {
	for _, field := range extra {
		b = wire.AppendEscaped(append(b, '\t'), field)
	}
	return b
}

// appendSet appends a field unless its value is empty.
func appendSet(b []byte, key, value string) []byte {
	if value == "" {
		return b
	}
	return wire.AppendField(b, key, value)
}

func appendAddr(b []byte, ipKey, portKey string, addr netip.AddrPort) []byte {
	if !addr.Addr().IsValid() {
		return b
	}
	b = append(b, '\t')
	b = append(b, ipKey...)
	b = append(b, '=')
	b = addr.Addr().Unmap().AppendTo(b)
	if addr.Port() == 0 {
		return b
	}
	b = append(b, '\t')
	b = append(b, portKey...)
	b = append(b, '=')
	return strconv.AppendUint(b, uint64(addr.Port()), 10)
}

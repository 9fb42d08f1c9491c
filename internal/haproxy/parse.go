package haproxy

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// A Header is what a proxy says about a connection.
type Header struct {
	// Local is a connection of the proxy itself, such as a health check.
	Local bool
	// Unknown is a connection whose addresses the proxy does not tell: of no
	// family, or of unix sockets.
	Unknown bool
	Client  netip.AddrPort // neither is set for Local and Unknown
	Server  netip.AddrPort
	TLS     bool   // the client speaks TLS with the proxy
	CertCN  string // common name in the certificate of such a client
	CertOK  bool   // the proxy has verified that certificate
	Name    string // of the host that the client asked for (SNI)
	Raw     string // all of it, as [Read] found it
}

// A Problem is why bytes are no header that is taken.
type Problem uint8

// The problems; the text of each is Postfix's.
const (
	Short         Problem = iota + 1 // too short to tell
	BadSignature                     // no header of either version
	BadVersion                       // neither version 1 nor 2
	BadCommand                       // of version 2: neither PROXY nor LOCAL
	BadProtocol                      // of version 1: neither TCP4, TCP6 nor UNKNOWN
	BadTransport                     // of version 2: no stream, or a family that is none
	ShortAddress                     // of version 2: no room for the addresses
	NoEnd                            // of version 1: the line has no end
	BadClient                        // of version 1: no client address of its family
	BadServer                        // of version 1: no server address of its family
	BadClientPort                    // of version 1
	BadServerPort                    // of version 1
	ExtraField                       // of version 1: something behind the ports
	BadField                         // of version 2: a field longer than the header, or a zero in a name
	TooLong                          // of version 2: longer than [MaxLength]
)

var problems = [...]string{
	Short: "short protocol header", BadSignature: "unrecognized protocol header", BadVersion: "unrecognized protocol version",
	BadCommand: "bad command in proxy header", BadProtocol: "bad or missing protocol type", BadTransport: "unsupported network protocol",
	ShortAddress: "short address field", NoEnd: "missing protocol header terminator",
	BadClient: "bad or missing client address", BadServer: "bad or missing server address",
	BadClientPort: "bad or missing client port", BadServerPort: "bad or missing server port",
	ExtraField: "unexpected field after the ports", BadField: "field beyond the end of the header", TooLong: "too long protocol header",
}

func (p Problem) Error() string { return problems[p] }

const (
	signature  = "\r\n\r\n\x00\r\nQUIT\n"
	fixedV2    = len(signature) + 4
	prefixV1   = "PROXY "
	maxV1      = 107
	lengthIPv4 = 12
	lengthIPv6 = 36
)

// MaxLength is the longest header that is read. Longer ones exist on paper only.
const MaxLength = 1500

// Parse reads the header at the beginning of b and returns its length. An error is
// a [Problem]; Short and NoEnd say that more bytes may help.
func Parse(b []byte) (Header, int, error) {
	if bytes.HasPrefix(b, []byte(prefixV1)) {
		return parseV1(b)
	}
	return parseV2(b)
}

func parseV1(b []byte) (h Header, n int, err error) {
	end := bytes.IndexByte(b[:min(len(b), maxV1)], '\n')
	if end < 0 {
		return h, 0, NoEnd
	}
	fields := strings.FieldsFunc(string(b[:end]), func(r rune) bool { return r == ' ' || r == '\r' })
	field := func(i int) string {
		if i < len(fields) {
			return fields[i]
		}
		return ""
	}
	var ip4 bool
	switch protocol := field(1); {
	case strings.EqualFold(protocol, "TCP4"):
		ip4 = true
	case strings.EqualFold(protocol, "TCP6"):
	case protocol == "UNKNOWN":
		return Header{Unknown: true}, end + 1, nil
	default:
		return h, 0, BadProtocol
	}
	client, ok := address(field(2), ip4)
	if !ok {
		return h, 0, BadClient
	}
	server, ok := address(field(3), ip4)
	if !ok {
		return h, 0, BadServer
	}
	clientPort, ok := port(field(4))
	if !ok {
		return h, 0, BadClientPort
	}
	serverPort, ok := port(field(5))
	if !ok {
		return h, 0, BadServerPort
	}
	if len(fields) > 6 {
		return h, 0, ExtraField
	}
	h.Client, h.Server = netip.AddrPortFrom(client, clientPort), netip.AddrPortFrom(server, serverPort)
	return h, end + 1, nil
}

// address reads an address of one family. An IPv4 address in an IPv6 one counts as the
// former then.
func address(text string, ip4 bool) (netip.Addr, bool) {
	if ip4 {
		text = withoutZeros(text)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Is4() != ip4 || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// withoutZeros takes the zeros off the beginning of numbers in an IPv4 address: some write
// them, and they are decimal all the same.
func withoutZeros(text string) string {
	if !strings.HasPrefix(text, "0") && !strings.Contains(text, ".0") {
		return text
	}
	parts := strings.Split(text, ".")
	for i, p := range parts {
		if short := strings.TrimLeft(p, "0"); len(p) <= 3 && p != "" {
			parts[i] = short
			if short == "" {
				parts[i] = "0"
			}
		}
	}
	return strings.Join(parts, ".")
}

// port reads a port; it has no zeros before it.
func port(text string) (uint16, bool) {
	if len(text) > 1 && text[0] == '0' || strings.HasPrefix(text, "+") {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err == nil
}

// lengthV2 is how long the header of version 2 is that begins so.
func lengthV2(b []byte) (int, error) {
	if len(b) < fixedV2 {
		return 0, Short
	}
	if string(b[:len(signature)]) != signature {
		return 0, BadSignature
	}
	if b[12]>>4 != 2 {
		return 0, BadVersion
	}
	n := fixedV2 + int(binary.BigEndian.Uint16(b[14:]))
	if n > MaxLength {
		return 0, TooLong
	}
	return n, nil
}

func parseV2(b []byte) (h Header, n int, err error) {
	if n, err = lengthV2(b); err != nil {
		return h, 0, err
	}
	if len(b) < n {
		return h, 0, Short
	}
	switch b[12] & 0xf {
	case 0:
		return Header{Local: true}, n, nil
	case 1:
	default:
		return h, 0, BadCommand
	}
	rest := b[fixedV2:n]
	family, transport := b[13]>>4, b[13]&0xf
	var used int
	switch {
	case transport == 1 && family == 1:
		used = lengthIPv4
	case transport == 1 && family == 2:
		used = lengthIPv6
	case transport <= 1 && (family == 0 || family == 3):
		return Header{Unknown: true}, n, nil
	default:
		return h, 0, BadTransport
	}
	if len(rest) < used {
		return h, 0, ShortAddress
	}
	size := used/2 - 2
	client, _ := netip.AddrFromSlice(rest[:size])
	server, _ := netip.AddrFromSlice(rest[size : 2*size])
	h.Client = netip.AddrPortFrom(client.Unmap(), binary.BigEndian.Uint16(rest[2*size:]))
	h.Server = netip.AddrPortFrom(server.Unmap(), binary.BigEndian.Uint16(rest[2*size+2:]))
	return h, n, h.fields(rest[used:])
}

// The types of fields that mean something here.
const (
	fieldAuthority = 0x02
	fieldTLS       = 0x20
	subfieldCN     = 0x22
	clientTLS      = 0x01 // in the first byte of fieldTLS
	clientCert     = 0x06 // there, too: a certificate on this connection or earlier in the session
	fixedTLS       = 5    // that byte, and what the verification said: 0 if all is well
)

// fields reads the fields of type, length and value behind the addresses.
func (h *Header) fields(b []byte) error {
	for len(b) > 0 {
		kind, value, rest, err := nextField(b)
		if err != nil {
			return err
		}
		b = rest
		switch kind {
		case fieldAuthority:
			h.Name, err = text(value)
		case fieldTLS:
			err = h.tls(value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tls reads the field about TLS.
func (h *Header) tls(value []byte) error {
	if len(value) < fixedTLS {
		return BadField
	}
	h.TLS = value[0]&clientTLS != 0
	h.CertOK = h.TLS && value[0]&clientCert != 0 && [4]byte(value[1:fixedTLS]) == [4]byte{}
	for sub := value[fixedTLS:]; len(sub) > 0; {
		kind, name, rest, err := nextField(sub)
		if err == nil && kind == subfieldCN {
			h.CertCN, err = text(name)
		}
		if err != nil {
			return err
		}
		sub = rest
	}
	return nil
}

// text is a name in a field. A zero byte would end it for others, who would see another name.
func text(value []byte) (string, error) {
	if bytes.IndexByte(value, 0) >= 0 {
		return "", BadField
	}
	return string(value), nil
}

func nextField(b []byte) (kind byte, value, rest []byte, err error) {
	if len(b) < 3 {
		return 0, nil, nil, BadField
	}
	n := 3 + int(binary.BigEndian.Uint16(b[1:]))
	if len(b) < n {
		return 0, nil, nil, BadField
	}
	return b[0], b[3:n], b[n:], nil
}

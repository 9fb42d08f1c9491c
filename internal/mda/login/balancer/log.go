package balancer

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/haproxy"
)

// failed logs why there is no header, in the words of Dovecot's master-service-haproxy.c.
func (r *Reader) failed(err error, remote netip.Addr) {
	var bad *haproxy.ReadError
	var problem haproxy.Problem
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.log.Errorf("haproxy: Client timed out (rip=%s)", remote)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		r.log.Infof("haproxy: Client disconnected (rip=%s): Connection reset by peer", remote)
	case errors.As(err, &bad) && errors.As(err, &problem):
		prefix, what, value := explain(problem, bad.Text)
		if value != "" {
			value += ", "
		}
		r.log.Errorf("haproxy%s: Client disconnected: %s (%srip=%s)", prefix, what, value, remote)
	default:
		r.log.Infof("haproxy: Client disconnected (rip=%s): %v", remote, err)
	}
}

// Where version and command, and family and transport, are in a header of version 2.
const (
	commandAt = 12
	familyAt  = 13
)

// prefixV1 is what headers of version 1 begin with, and prefixV2 is what lines about the others do.
const prefixV1 = "PROXY "

func isV1(text []byte) bool {
	return len(text) >= len(prefixV1) && string(text[:len(prefixV1)]) == prefixV1
}

// explain says what is wrong with a header, and what value shows it.
func explain(p haproxy.Problem, text []byte) (prefix, what, value string) {
	switch {
	case isV1(text):
		if what, value = explainV1(p, string(text)); what != "" {
			return "(v1)", what, value
		}
		return "", "Failed to read full header", ""
	case p == haproxy.TooLong:
		return "", "Too long header", ""
	case p == haproxy.BadVersion:
		return "", "Unsupported protocol version", fmt.Sprintf("version=%02x", text[commandAt]>>4)
	case p == haproxy.BadCommand:
		return "(v2)", "Invalid command", fmt.Sprintf("cmd=%02x", text[commandAt]&0xf)
	case p == haproxy.BadTransport && text[familyAt]&0xf != 1:
		return "(v2)", "Not using TCP", fmt.Sprintf("type=%02x", text[familyAt]&0xf)
	case p == haproxy.BadTransport:
		return "(v2)", "Unknown address family", fmt.Sprintf("family=%02x", text[familyAt]>>4)
	case p == haproxy.ShortAddress && text[familyAt]>>4 == 1:
		return "(v2)", "IPv4 data is incomplete", ""
	case p == haproxy.ShortAddress:
		return "(v2)", "IPv6 data is incomplete", ""
	case p == haproxy.BadField:
		return "(v2)", "Invalid TLV: Truncated data", fmt.Sprintf("cmd=%02x", text[commandAt]&0xf)
	}
	return "", "Failed to read valid HAproxy data", ""
}

// fieldsV1 are the fields of version 1: what is said of one that is missing or wrong, and of its value.
var fieldsV1 = map[haproxy.Problem]struct {
	at                   int
	missing, wrong, name string
}{
	haproxy.BadProtocol:   {1, "proxied protocol", "Unknown proxied protocol", "protocol"},
	haproxy.BadClient:     {2, "proxied remote address", "Proxied remote address is invalid", "address"},
	haproxy.BadServer:     {3, "proxied local address", "Proxied local address is invalid", "address"},
	haproxy.BadClientPort: {4, "proxied local port", "Proxied remote port is invalid", "port"}, // the original says local, too
	haproxy.BadServerPort: {5, "proxied local port", "Proxied local port is invalid", "port"},
	haproxy.ExtraField:    {6, "", "Header line has spurius extra field", "field"},
}

// maxShown is how much of a field is logged.
const maxShown = 64

func explainV1(p haproxy.Problem, text string) (what, value string) {
	f, ok := fieldsV1[p]
	if !ok {
		return "", ""
	}
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Split(strings.TrimSuffix(line, "\r"), " ")
	if f.at >= len(fields) {
		return "Field for " + f.missing + " is missing", ""
	}
	shown := strings.Map(printable, fields[f.at])
	return f.wrong, f.name + "=`" + shown[:min(len(shown), maxShown)] + "'"
}

// printable replaces what has no place in a log.
func printable(r rune) rune {
	if r < ' ' || r >= 0x7f {
		return '?'
	}
	return r
}

package dnstest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A Fault is a way in which a name server goes wrong.
type Fault uint8

// The faults.
const (
	Healthy       Fault = iota
	Silent              // it does not answer
	WrongID             // it answers another question
	Garbage             // what it sends is no message
	Cut                 // its message ends in the middle of a record
	Truncated           // its answers are truncated, over TCP too
	OtherQuestion       // its answer repeats a question that was not asked
	NoRecursion         // it leaves following CNAMEs to whoever asks
)

// faultNames are the words of [Server.Misbehave].
var faultNames = map[string]Fault{
	"silent": Silent, "wrong-id": WrongID, "garbage": Garbage, "cut": Cut, "truncated": Truncated,
	"other-question": OtherQuestion, "no-recursion": NoRecursion,
}

// Misbehave makes questions about names go wrong: each line of text is a name, and a
// fault or the name of a response code (SERVFAIL).
func (s *Server) Misbehave(t testing.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 2 {
			t.Fatalf("dnstest: %q is not a name and a fault", line)
		}
		if rcode, ok := dns.StringToRcode[words[1]]; ok {
			s.Fail(words[0], rcode)
			continue
		}
		fault, ok := faultNames[words[1]]
		if !ok {
			t.Fatalf("dnstest: %q: unknown fault", line)
		}
		s.mu.Lock()
		s.faults[strings.ToLower(dns.Fqdn(words[0]))] = fault
		s.mu.Unlock()
	}
}

// write sends an answer with a fault.
func write(w dns.ResponseWriter, m *dns.Msg, fault Fault) {
	switch fault {
	case Silent:
		return
	case WrongID:
		m.Id++
	case OtherQuestion:
		m.Question[0].Name = "other." + m.Question[0].Name
	case Truncated:
		m.Truncated, m.Answer = true, nil
	case Garbage, Cut:
		if packet, err := m.Pack(); err == nil {
			w.Write(spoil(packet, fault)) //nolint:errcheck // the client times out
		}
		return
	}
	w.WriteMsg(m) //nolint:errcheck // the client times out
}

// spoil leaves of a message only that it answers the question, so that resolvers look at it.
func spoil(packet []byte, fault Fault) []byte {
	if fault == Cut {
		return packet[:len(packet)-len(packet)/4]
	}
	const header = 12
	packet = slices.Clone(packet[:header])
	for i := range 40 {
		packet = append(packet, byte(0xc0+i))
	}
	return packet
}

// listenAt returns the sockets of an address.
func listenAt(addr string) (net.PacketConn, net.Listener, error) {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, nil, fmt.Errorf("dnstest: %w", err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		tcp.Close()
		return nil, nil, fmt.Errorf("dnstest: %w", err)
	}
	return udp, tcp, nil
}

package haproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// v2 makes a header of version 2.
func v2(command, family byte, rest string) string {
	return signature + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const (
	rest4 = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x04\xd2\x00\x19"
	zero6 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	rest6 = "\x20\x01\x0d\xb8\x00" + zero6 + "\x20\x01\x0d\xb8\x01" + zero6 + "\x04\xd2\x00\x19"
	tls   = "\x20\x00\x0a\x01\x00\x00\x00\x00\x22\x00\x02me"

	tlsCert = "\x20\x00\x0a\x07\x00\x00\x00\x00\x22\x00\x02me"
)

// cases show what Postfix's parser does with the same, but for UNKNOWN, which its callers
// refuse here.
var cases = map[string]struct {
	in   string
	want Header
	err  error
}{
	"v1 IPv4":                 {in: "PROXY TCP4 1.2.3.4 4.3.2.1 123 321\r\n", want: Header{Client: addr("1.2.3.4:123"), Server: addr("4.3.2.1:321")}},
	"v1 LF only":              {in: "PROXY TCP4 1.2.3.4 4.3.2.1 123 321\n", want: Header{Client: addr("1.2.3.4:123"), Server: addr("4.3.2.1:321")}},
	"v1 leading zeros":        {in: "PROXY TCP4 01.02.03.04 04.03.02.00 123 321\n", want: Header{Client: addr("1.2.3.4:123"), Server: addr("4.3.2.0:321")}},
	"v1 IPv6":                 {in: "PROXY tcp6 FC:00:00:00:1:2:3:4 fc::4 123 321\n", want: Header{Client: addr("[fc::1:2:3:4]:123"), Server: addr("[fc::4]:321")}},
	"v1 IPv4 in IPv6":         {in: "PROXY TCP6 ::ffff:1.2.3.4 ::FFFF:4.3.2.1 123 321\n", want: Header{Client: addr("1.2.3.4:123"), Server: addr("4.3.2.1:321")}},
	"v1 unknown":              {in: "PROXY UNKNOWN whatever\r\n", want: Header{Unknown: true}},
	"v1 other family, client": {in: "PROXY TCP6 1.2.3.4 4.3.2.1 123 321\n", err: BadClient},
	"v1 other family, server": {in: "PROXY TCP4 1.2.3.4 ::ffff:4.3.2.1 123 321\n", err: BadServer},
	"v1 zone":                 {in: "PROXY TCP6 fe80::1%lo ::1 123 321\n", err: BadClient},
	"v1 large client port":    {in: "PROXY TCP4 1.2.3.4 4.3.2.1 123456 321\n", err: BadClientPort},
	"v1 zero in client port":  {in: "PROXY TCP4 1.2.3.4 4.3.2.1 0123 321\n", err: BadClientPort},
	"v1 zero in server port":  {in: "PROXY TCP4 1.2.3.4 4.3.2.1 123 0321\n", err: BadServerPort},
	"v1 no server port":       {in: "PROXY TCP4 1.2.3.4 4.3.2.1 123\n", err: BadServerPort},
	"v1 no client port":       {in: "PROXY TCP4 1.2.3.4 4.3.2.1\n", err: BadClientPort},
	"v1 no server":            {in: "PROXY TCP4 1.2.3.4\n", err: BadServer},
	"v1 no client":            {in: "PROXY TCP4\n", err: BadClient},
	"v1 no protocol":          {in: "PROXY \n", err: BadProtocol},
	"v1 other protocol":       {in: "PROXY UDP4 1.2.3.4 4.3.2.1 1 2\n", err: BadProtocol},
	"v1 extra field":          {in: "PROXY TCP4 1.2.3.4 4.3.2.1 123 321 7\n", err: ExtraField},
	"v1 no end":               {in: "PROXY TCP4 1.2.3.4 4.3.2.1 123 321", err: NoEnd},
	"v1 too long":             {in: "PROXY TCP4 " + string(bytes.Repeat([]byte(" "), 100)) + "1.2.3.4 4.3.2.1 1 2\n", err: NoEnd},
	"only the word":           {in: "PROXY\n", err: Short},
	"SMTP, short":             {in: "EHLO x\r\n", err: Short},
	"SMTP, long":              {in: "EHLO mail.example.com\r\n", err: BadSignature},
	"v2 IPv4":                 {in: v2(0x21, 0x11, rest4), want: Header{Client: addr("192.0.2.1:1234"), Server: addr("198.51.100.2:25")}},
	"v2 IPv6":                 {in: v2(0x21, 0x21, rest6), want: Header{Client: addr("[2001:db8::]:1234"), Server: addr("[2001:db8:100::]:25")}},
	"v2 TLS":                  {in: v2(0x21, 0x11, rest4+tls), want: Header{Client: addr("192.0.2.1:1234"), Server: addr("198.51.100.2:25"), TLS: true, CertCN: "me"}},
	"v2 TLS, certificate":     {in: v2(0x21, 0x11, rest4+tlsCert), want: Header{Client: addr("192.0.2.1:1234"), Server: addr("198.51.100.2:25"), TLS: true, CertCN: "me", CertOK: true}},
	"v2 TLS, bad certificate": {in: v2(0x21, 0x11, rest4+strings.Replace(tlsCert, "\x07\x00", "\x07\x01", 1)), want: Header{Client: addr("192.0.2.1:1234"), Server: addr("198.51.100.2:25"), TLS: true, CertCN: "me"}},
	"v2 zero in a name":       {in: v2(0x21, 0x11, rest4+strings.Replace(tlsCert, "me", "m\x00", 1)), err: BadField},
	"v2 name of the host":     {in: v2(0x21, 0x11, rest4+"\x02\x00\x04mail"), want: Header{Client: addr("192.0.2.1:1234"), Server: addr("198.51.100.2:25"), Name: "mail"}},
	"v2 other fields":         {in: v2(0x21, 0x11, rest4+"\x04\x00\x01x"), want: Header{Client: addr("192.0.2.1:1234"), Server: addr("198.51.100.2:25")}},
	"v2 local":                {in: v2(0x20, 0, ""), want: Header{Local: true}},
	"v2 local with addresses": {in: v2(0x20, 0x11, rest4), want: Header{Local: true}},
	"v2 no family":            {in: v2(0x21, 0, ""), want: Header{Unknown: true}},
	"v2 unix":                 {in: v2(0x21, 0x31, string(make([]byte, 216))), want: Header{Unknown: true}},
	"v2 UDP":                  {in: v2(0x21, 0x12, rest4), err: BadTransport},
	"v2 command":              {in: v2(0x22, 0x11, rest4), err: BadCommand},
	"v2 version":              {in: v2(0x31, 0x11, rest4), err: BadVersion},
	"v2 short addresses":      {in: v2(0x21, 0x11, rest4[:11]), err: ShortAddress},
	"v2 short header":         {in: v2(0x21, 0x11, rest4)[:20], err: Short},
	"v2 short field":          {in: v2(0x21, 0x11, rest4+"\x20\x00"), err: BadField},
	"v2 field too long":       {in: v2(0x21, 0x11, rest4+"\x20\x00\x09x"), err: BadField},
	"v2 short TLS field":      {in: v2(0x21, 0x11, rest4+"\x20\x00\x04\x01\x00\x00\x00"), err: BadField},
	"v2 too long":             {in: signature + "\x21\x11\xff\xff", err: TooLong},
	"empty":                   {err: Short},
}

func TestParse(t *testing.T) {
	for name, c := range cases {
		h, n, err := Parse([]byte(c.in + "rest"))
		if c.err != nil && (err == nil || len(c.in) < len(name)) {
			h, n, err = Parse([]byte(c.in)) // what is short may not have more behind it
		}
		if err != c.err || err == nil && (h != c.want || n != len(c.in)) {
			t.Errorf("%s: got %+v, %d, %v; want %+v, %d, %v", name, h, n, err, c.want, len(c.in), c.err)
		}
	}
}

// TestRead reads each header in one piece, and byte by byte; what is behind it stays.
func TestRead(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, c := range cases {
		for _, piece := range []int{1 << 20, 1} {
			if c.err != nil && piece == 1 {
				continue
			}
			client, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			server, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				for b := []byte(c.in + "QUIT"); len(b) > 0; b = b[min(piece, len(b)):] {
					client.Write(b[:min(piece, len(b))])
				}
				client.(*net.TCPConn).CloseWrite()
			}()
			h, err := Read(server, time.Minute)
			raw := h.Raw
			h.Raw = ""
			switch {
			case c.err != nil && err == nil:
				t.Errorf("%s: read as %+v, want error %v", name, h, c.err)
			case c.err != nil:
			case c.err == nil && (err != nil || h != c.want):
				t.Errorf("%s: read %+v, %v; want %+v", name, h, err, c.want)
			case raw != c.in:
				t.Errorf("%s: the header is %q", name, raw)
			default:
				if rest, _ := io.ReadAll(server); string(rest) != "QUIT" {
					t.Errorf("%s: behind the header %q", name, rest)
				}
			}
			client.Close()
			server.Close()
		}
	}
}

func TestReadTimeout(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	client.Write([]byte("PROXY TCP4 1.2."))
	_, err = Read(server, 50*time.Millisecond)
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("got %v, want a timeout", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := Parse(b)
		if err != nil {
			var p Problem
			if !errors.As(err, &p) || p.Error() == "" {
				t.Fatalf("error %v is no Problem", err)
			}
			return
		}
		if n <= 0 || n > len(b) || n > MaxLength {
			t.Fatalf("length %d of %d", n, len(b))
		}
		if !h.Local && !h.Unknown && (!h.Client.IsValid() || !h.Server.IsValid()) {
			t.Fatalf("no addresses: %+v", h)
		}
		again, m, err := Parse(b[:n])
		if err != nil || again != h || m != n {
			t.Fatalf("the header alone is read as %+v, %d, %v", again, m, err)
		}
	})
}

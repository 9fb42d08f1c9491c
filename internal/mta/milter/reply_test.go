package milter

import (
	"net"
	"strings"
	"testing"
	"time"
)

func TestParseText(t *testing.T) {
	for in, want := range map[string]string{
		"550 5.7.1 no":            "550 5.7.1 no\r\n",
		"550 no":                  "550 no\r\n",
		"550 5.7.1 100%% and 50%": "550 5.7.1 100% and 50\r\n",
		"451-4.7.1 one\r\n451-4.7.1\r\n451 4.7.1 two": "451-4.7.1 one\r\n451-4.7.1 \r\n451 4.7.1 two\r\n",
		"550-one\n550 two\n":                          "550-one\r\n550 two\r\n",
		"550 5.7.1 a\x01b":                            "550 5.7.1 a b\r\n",
		"550 5.7.1 x\r\n250 2.0.0 injected":           "550-5.7.1 x\r\n550 5.7.1 250 2.0.0 injected\r\n",
		"250 2.0.0 fine":                              "malformed",
		"550 4.7.1 mixed":                             "malformed",
		"55":                                          "malformed",
		"":                                            "malformed",
	} {
		r, err := parseText(in)
		got := string(r.Append(nil))
		if err != nil {
			got = "malformed"
		}
		if got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func TestParseProtocol(t *testing.T) {
	for in, want := range map[string]uint32{"6": 6, "2, no_header_reply": 2, "no_header_reply 4": 4, "no_header_reply": 0} {
		if got, _, bad := parseProtocol(in); got != want || bad != "" {
			t.Errorf("%q: version %d, bad word %q; want %d", in, got, bad, want)
		}
	}
	for in, word := range map[string]string{"6 5": "5", "6,4": "4", "x": "x"} {
		if _, _, bad := parseProtocol(in); bad != word {
			t.Errorf("%q: bad word %q, want %q", in, bad, word)
		}
	}
}

// FuzzReply reads whatever a filter sends. Nothing may be kept that is longer than it.
func FuzzReply(f *testing.F) {
	for _, p := range []string{
		"c", "y550 5.7.1 no\x00", "qreason\x00", "hName\x00value\x00", "i\x00\x00\x00\x01Name\x00value\x00", "m\x00\x00\x00\x01Name\x00\x00",
		"e<a@b>\x00RET=FULL\x00", "+<a@b>\x00", "2<a@b>\x00NOTIFY=NEVER\x00", "-<a@b>\x00", "bbody", "p", "s", "4", "Z", "i\x00", "h", "hx",
	} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) == 0 {
			return
		}
		r, err := parseReply(p[0], p[1:])
		if err == nil && len(r.name)+len(r.value)+len(r.body) > len(p) {
			t.Fatalf("%q is %+v", p, r)
		}
		text, err := parseText(r.name)
		if err != nil {
			return
		}
		var wire []byte
		for line := range strings.SplitSeq(string(text.Append(wire)), "\r\n") {
			if line != "" && (len(line) < 4 || line[:3] != string(text.Append(nil)[:3])) {
				t.Fatalf("%q becomes a reply with the line %q", r.name, line)
			}
		}
		if text.Code < 400 || text.Code > 599 {
			t.Fatalf("%q becomes %v", r.name, text)
		}
	})
}

// FuzzWire reads packets from a connection: any bytes end in an error or a packet of the length
// that was allowed.
func FuzzWire(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01c"))
	f.Add([]byte("\xff\xff\xff\xffc"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x05hab"))
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := net.Pipe()
		defer b.Close()
		go func() {
			a.Write(in)
			a.Close()
		}()
		w := newWire(b)
		for {
			_, data, err := w.receive(time.Minute)
			if err != nil {
				return
			}
			if len(data) > len(in) {
				t.Fatalf("a packet of %d bytes out of %d", len(data), len(in))
			}
		}
	})
}

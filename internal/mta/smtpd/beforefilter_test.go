package smtpd

import (
	"bufio"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

func readFilterReply(text string) (string, bool, error) {
	f := &filtering{beforeFilter: &beforeFilter{name: "filter", lineLimit: 512, log: maillog.NewFunc(func(maillog.Level, string) {})}}
	f.r = bufio.NewReaderSize(strings.NewReader(text), f.lineLimit)
	return f.readReply()
}

// What a filter says that is no reply must not reach the client as one.
func TestFilterReplies(t *testing.T) {
	for _, c := range []struct {
		wire, client string
		clean        bool
	}{
		{"250 2.0.0 Ok\r\n", "250 2.0.0 Ok\r\n", true},
		{"250\n", "250 \r\n", true},
		{"550-5.1.1 a\r\n550 5.1.1 b\r\n", "550-5.1.1 a\r\n550 5.1.1 b\r\n", true},
		{"550-5.1.1 a\r\n550 5.1.2 b\r\n", "550-5.1.1 a\r\n550 5.1.2 b\r\n", true},
		{"550 2.0.0 fine\r\n", "550 2.0.0 fine\r\n", true},
		{"250-5.1.1 a\r\n550 b\r\n", "250-5.1.1 a\r\n250 b\r\n", true},
		{"hello\r\n250 fine\r\n", "", false},
		{"000 x\r\n", "", false},
		{"000-x\r\n250 x\r\n", "", false},
		{"999 x\r\n", "", false},
	} {
		text, clean, err := readFilterReply(c.wire)
		if err != nil || clean != c.clean {
			t.Errorf("%q: clean %v, %v", c.wire, clean, err)
		}
		if clean {
			if got := string(parseFilterReply(text).Append(nil)); got != c.client {
				t.Errorf("%q: the client hears %q, want %q", c.wire, got, c.client)
			}
		}
	}
}

func FuzzFilterReply(f *testing.F) {
	for _, seed := range []string{"250 2.0.0 Ok\r\n", "550-5.1.1 a\r\n550 5.1.1\r\n", "25\n250", "250-5.1.1 \n550 5.1.1", strings.Repeat("250-x\n", 2000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, wire string) {
		text, clean, err := readFilterReply(wire)
		if err != nil || !clean {
			return
		}
		r := parseFilterReply(text)
		if r.Code < 200 || r.Code > 599 {
			t.Errorf("code %d", r.Code)
		}
		out := strings.TrimSuffix(string(r.Append(nil)), "\r\n")
		if strings.ContainsAny(strings.ReplaceAll(out, "\r\n", ""), "\r\n\x00") {
			t.Errorf("the client hears %q", out)
		}
	})
}

package postlog

import (
	"testing"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in   string
		want line
		ok   bool
	}{
		{"Nov 22 10:00:00 host postfix/sendmail[812]: fatal: no recipient", line{"postfix/sendmail[812]", maillog.Fatal, "no recipient"}, true},
		{"Nov  2 10:00:00 host postfix/postdrop[1]: warning: uid=5: remove", line{"postfix/postdrop[1]", maillog.Warning, "uid=5: remove"}, true},
		{"Nov  2 10:00:00 host my tag[1]: text: more", line{"my tag[1]", maillog.Info, "text: more"}, true},
		{"2026-11-22T10:00:00.123456+00:00 host x[1]: text", line{"x[1]", maillog.Info, "text"}, true},
		{"Nov 22 10:00:00 host no colon", line{}, false},
		{"Nov 22", line{}, false},
		{"", line{}, false},
	} {
		got, ok := parse(c.in)
		if ok != c.ok || ok && got != c.want {
			t.Errorf("parse(%q) = %+v, %v, want %+v, %v", c.in, got, ok, c.want, c.ok)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Nov 22 10:00:00 host postfix/sendmail[812]: fatal: text")
	f.Add("2026-11-22T10:00:00+00:00 host x[1]: text")
	f.Fuzz(func(t *testing.T, s string) {
		if l, ok := parse(s); ok && (l.tag == "" || len(l.text) > len(s)) {
			t.Errorf("parse(%q) = %+v", s, l)
		}
	})
}

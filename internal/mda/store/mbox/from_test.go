package mbox

import (
	"testing"
	"time"
)

func TestParseFrom(t *testing.T) {
	t.Setenv("TZ", "UTC")
	day := time.Date(2001, 11, 9, 22, 33, 52, 0, time.UTC)
	minute := day.Add(-52 * time.Second)
	for _, c := range []struct {
		name, line, sender string
		want               time.Time // zero for no From_ line
	}{
		{"as written", "a@b  Fri Nov 09 22:33:52 2001", "a@b", day},
		{"asctime", "a@b Fri Nov  9 22:33:52 2001", "a@b", day},
		{"one digit", "a@b Fri Nov 9 22:33:52 2001", "a@b", day},
		{"no seconds", "a@b Fri Nov  9 22:33 2001", "a@b", minute},
		{"zone behind", "a@b Fri Nov  9 22:33:52 2001 +0200", "a@b", day.Add(-2 * time.Hour)},
		{"half an hour", "a@b Fri Nov  9 22:33:52 2001 -0530", "a@b", day.Add(5*time.Hour + 30*time.Minute)},
		{"named zone before the year", "a@b Fri Nov  9 22:33:52 CEST 2001", "a@b", day},
		{"numeric zone before the year", "a@b Fri Nov  9 22:33:52 +0300 2001", "a@b", day},
		{"other order", "a@b Fri, 9 Nov 2001 22:33:52", "a@b", day},
		{"other order with zone", "a@b Fri, 09 Nov 2001 22:33:52 +0100", "a@b", day.Add(-time.Hour)},
		{"text behind", "a@b Fri Nov  9 22:33:52 2001 is text", "a@b", day},
		{"remote from", "a@b Fri Nov  9 22:33:52 2001 remote from x", "a@b", day},
		{"quoted sender", `"a b \" c"@d Fri Nov  9 22:33:52 2001`, `"a b \" c"@d`, day},
		{"no sender", " Fri Nov  9 22:33:52 2001", "", day},
		{"lower case month", "a@b Fri nov  9 22:33:52 2001", "a@b", day},
		{"text", "someone said hello", "", time.Time{}},
		{"no year", "a@b Fri Nov  9 22:33:52 ", "", time.Time{}},
		{"no month", "a@b Fri Xov  9 22:33:52 2001", "", time.Time{}},
		{"month across names", "a@b Fri anf  9 22:33:52 2001", "", time.Time{}},
		{"no time", "a@b Fri Nov  9 2001 2001 2001", "", time.Time{}},
		{"endless quotes", `"a@b Fri Nov  9 22:33:52 2001`, "", time.Time{}},
		{"empty", "", "", time.Time{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			sender, got, ok := ParseFrom([]byte(c.line))
			if ok != !c.want.IsZero() || ok && (sender != c.sender || !got.Equal(c.want)) {
				t.Errorf("%q %v %v", sender, got, ok)
			}
		})
	}
}

func TestAppendFrom(t *testing.T) {
	t.Setenv("TZ", "UTC")
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for sender, want := range map[string]string{
		"a@b":         "From a@b  Tue Jan 02 03:04:05 2024\n",
		"":            "From MAILER-DAEMON  Tue Jan 02 03:04:05 2024\n",
		"a b\n@c\x7f": "From ab@c  Tue Jan 02 03:04:05 2024\n",
	} {
		if got := string(AppendFrom(nil, sender, at)); got != want {
			t.Errorf("%q: %q", sender, got)
		}
	}
}

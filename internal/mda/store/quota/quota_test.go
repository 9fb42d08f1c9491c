package quota

import (
	"strings"
	"testing"
	"time"
)

// source is settings for a test, each "key = value".
func source(settings string) Source {
	set := map[string]string{}
	for line := range strings.Lines(settings) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		set[key] = value
	}
	return func(key string) (string, bool, error) {
		value, ok := set[key]
		return value, ok, nil
	}
}

func roots(t *testing.T, settings string) []*Root {
	t.Helper()
	list, err := ReadRoots(source(settings), func(text string) { t.Log(text) })
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestLimits(t *testing.T) {
	r := roots(t, `quota = count:User quota:hidden:ns=Work/
		quota_rule = *:storage=1M:messages=100
		quota_rule2 = Trash:storage=+10%:messages=+50
		quota_rule3 = Spam*:ignore
		quota_rule4 = inbox:bytes=-24
		quota_rule5 = Minus:messages=-100
		quota2 = maildir:Second
		quota2_rule = ?:bytes=20B`)
	if len(r) != 2 || !r[0].Hidden || !r[0].InNamespace || r[0].Namespace != "Work/" || !r[0].Forced || r[1].Forced {
		t.Fatalf("%+v", r)
	}
	for name, want := range map[string]Limit{
		"":        {1 << 20, 100},
		"Trash":   {1<<20 + 104857, 150},
		"Trash/a": {1 << 20, 100},
		"Spam/x":  {},
		"INBOX":   {1<<20 - 24, 100},
		"Minus":   {1 << 20, 0},
	} {
		if got := r[0].Limits(name, r[0].Base); got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if r[0].Limits("Spam", Limit{}) != (Limit{}) || !r[0].Ignores("Spam") || r[0].Ignores("Trash") {
		t.Error("what is ignored")
	}
	if g := r[0].Grace(r[0].Base); g != 104857 {
		t.Errorf("grace of %d bytes", g)
	}
}

func TestBadSettings(t *testing.T) {
	for settings, want := range map[string]string{
		"quota = foo:x":                                            "Invalid quota root quota: Unknown quota backend: foo",
		"quota = count\nquota_rule = x":                            "Invalid quota root quota: Invalid rule x: Invalid rule",
		"quota = count\nquota_rule = *:x=1":                        "Invalid quota root quota: Invalid rule *:x=1: Unknown rule limit name: x",
		"quota = count\nquota_rule = *:storage=x":                  "Invalid quota root quota: Invalid rule *:storage=x: Invalid storage limit: x",
		"quota = count\nquota_rule = *:storage=1X":                 "Invalid quota root quota: Invalid rule *:storage=1X: Invalid rule limit value 'storage=1X': Unknown unit: X",
		"quota = count\nquota_rule = *:storage=10%":                "Invalid quota root quota: Invalid rule *:storage=10%: Invalid rule limit value 'storage=10%': Default rule can't be a percentage",
		"quota = count\nquota_rule = *:storage=+1":                 "Invalid quota root quota: Invalid rule *:storage=+1: Rule limit cannot have '+'",
		"quota = count\nquota_rule = *:storage=-1":                 "Invalid quota root quota: Invalid rule *:storage=-1: Bytes limit can't be negative",
		"quota = count\nquota_rule = *:messages=-1":                "Invalid quota root quota: Invalid rule *:messages=-1: Count limit can't be negative",
		"quota = count\nquota_rule = *:storage=16777216T":          "Invalid quota root quota: Invalid rule *:storage=16777216T: Invalid rule limit value 'storage=16777216T': Value is too large",
		"quota = count\nquota_rule = *:backend=1S":                 "Invalid quota root quota: Invalid rule *:backend=1S: backend rule not supported",
		"quota = maildir\nquota_rule = *:backend=1X":               "Invalid quota root quota: Invalid rule *:backend=1X: quota-maildir: Invalid Maildir++ quota rule \"1X\"",
		"quota = count\nquota_warning = storage=1":                 "Invalid quota root quota: Invalid warning rule: storage=1",
		"quota = count\nquota_grace = 10X":                         "Invalid quota root quota: Invalid quota_grace value '10X': Unknown unit: X",
		"quota = count\nquota_set = file:x":                        "Invalid quota root quota: quota_set supports only dict backend",
		"quota = count:User quota:nosuch":                          "Quota root User quota: count quota init failed: Unknown parameter for backend count: nosuch",
		"quota = dict:User quota":                                  "Quota root User quota: dict quota init failed: URI missing from parameters",
		"quota = count\nquota2 = count\nquota2_rule = Trash:x=+1%": "Invalid quota root quota2: Invalid rule Trash:x=+1%: Unknown rule limit name: x",
	} {
		_, err := ReadRoots(source(settings), func(string) {})
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", settings, err, want)
		}
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		limit Limit
		used  Usage
		sizes []int64
		grace int64
		want  bool
	}{
		{Limit{100, 0}, Usage{90, 1}, []int64{10}, 0, true},
		{Limit{100, 0}, Usage{90, 1}, []int64{11}, 0, false},
		{Limit{100, 0}, Usage{90, 1}, []int64{20}, 10, true},
		{Limit{100, 0}, Usage{90, 1}, []int64{5, 6}, 10, false}, // only the first
		{Limit{100, 0}, Usage{100, 1}, []int64{1}, 10, false},   // none is left
		{Limit{100, 0}, Usage{100, 1}, []int64{0}, 0, false},
		{Limit{100, 0}, Usage{200, 1}, nil, 0, true},
		{Limit{0, 2}, Usage{200, 1}, []int64{5}, 0, true},
		{Limit{0, 2}, Usage{200, 1}, []int64{5, 5}, 0, false},
		{Limit{}, Usage{200, 1}, []int64{1 << 62}, 0, true},
	} {
		if got := c.limit.Fits(c.used, c.sizes, c.grace); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	r := roots(t, `quota = count
		quota_rule = *:bytes=1000:messages=10
		quota_warning = storage=95% a 95
		quota_warning2 = +bytes=80% a 80
		quota_warning3 = -storage=100% a below
		quota_warning4 = messages=10 a full`)[0]
	for _, c := range []struct {
		before, after Usage
		want          string
	}{
		{Usage{0, 0}, Usage{799, 1}, ""},
		{Usage{0, 0}, Usage{800, 1}, "a 80"},
		{Usage{0, 0}, Usage{1000, 1}, "a 95"},
		{Usage{1000, 2}, Usage{999, 1}, "a below"},
		{Usage{10, 9}, Usage{20, 10}, "a full"},
	} {
		got := ""
		if w := r.Warning(c.before, c.after, r.Base); w != nil {
			got = w.Command
		}
		if got != c.want {
			t.Errorf("%v to %v: %q, want %q", c.before, c.after, got, c.want)
		}
	}
}

func TestMaildirsize(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		text       string
		known, ok  bool
		limit      Limit
		usage      Usage
		believable bool
	}{
		{"1000S,10C\n0 0\n157 1\n-157 -1\n", true, true, Limit{1000, 10}, Usage{}, true},
		{"0S\n12 1\n5 ", true, true, Limit{}, Usage{12, 1}, true}, // the last line is being written
		{"10C\n12 11\n", true, true, Limit{0, 10}, Usage{12, 11}, true},
		{"10C\n12 1\n1 10\n", true, true, Limit{0, 10}, Usage{13, 11}, false},
		{"10S\n-12 1\n", true, false, Limit{10, 0}, Usage{-12, 1}, true},
		{"10S\nx\n", true, false, Limit{10, 0}, Usage{}, true},
		{"10S\n", true, true, Limit{10, 0}, Usage{}, true},
		{"10S\n1 1\n\x00\n", false, false, Limit{}, Usage{}, true},
		{"", false, false, Limit{}, Usage{}, true},
		{"10S\n" + strings.Repeat("1 1\n", 1280), true, false, Limit{10, 0}, Usage{1280, 1280}, false},
	} {
		m, known, ok := ParseMaildirsize([]byte(c.text))
		if known != c.known || ok != c.ok || m.Limit != c.limit || m.Usage != c.usage || m.Believable(m.Limit, now, now) != c.believable {
			t.Errorf("%.40q: %+v %v %v", c.text, m, known, ok)
		}
	}
	if m, _, _ := ParseMaildirsize([]byte("10S\n12 1\n")); m.Believable(m.Limit, now.Add(-16*time.Minute), now) {
		t.Error("an old file is believed that the limit is exceeded")
	}
	for want, l := range map[string]Limit{"10S\n1 2\n": {10, 0}, "0S\n1 2\n": {}, "3C\n1 2\n": {0, 3}, "10S,3C\n1 2\n": {10, 3}} {
		if got := string(AppendMaildirsize(nil, l, Usage{1, 2})); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func FuzzMaildirsize(f *testing.F) {
	f.Add([]byte("1000S,10C\n0 0\n157 1\n-157 -1\n"))
	f.Add([]byte("10C\n12 1\n1 10"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, _, ok := ParseMaildirsize(text)
		if ok && (m.Usage.Bytes < 0 || m.Usage.Messages < 0) || m.Limit.Bytes < 0 || m.Limit.Messages < 0 {
			t.Fatalf("%+v", m)
		}
	})
}

func FuzzRule(f *testing.F) {
	f.Add("*:storage=1G:messages=10")
	f.Add("Trash:storage=+10%")
	f.Fuzz(func(t *testing.T, text string) {
		r := &Root{Backend: Maildir}
		if r.addRule(text, func(string) {}) != nil {
			return
		}
		base := r.base.of(Limit{})
		if l := r.Limits("Trash", base); l.Bytes < 0 || l.Messages < 0 {
			t.Fatalf("%+v", l)
		}
	})
}

package message

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func preview(t testing.TB, text string) string {
	t.Helper()
	s, err := Parse(strings.NewReader(text), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Preview(s, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestPreview(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"blanks", "Subject: x\n\n  a\tb \n\n c\n", "a b c"},
		{"quoted lines are skipped", "Subject: x\n\n> old\nnew\n> older\n", "new"},
		{"nothing but quoted lines", "Subject: x\n\n> old\n>older\n", ">old older"},
		{"empty", "Subject: x\n\n", ""},
		{"no text", "Content-Type: image/png\n\nx", ""},
		{"first text", "Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: image/png\n\nA\n--x\n\nplain\n--x--\n", "plain"},
		{"html", "Content-Type: text/html\n\n<p class=\"a>b\">One<br>two &lt;&#228;&nosuch;></p><!-- no --><style>p{}</style><script>1<2</script>end", "One two <ä> end"},
		{"html without end", "Content-Type: text/html\n\nOne<!-- no", "One"},
		{"long", "Subject: x\n\n" + strings.Repeat("ab ", 100), strings.TrimSpace(strings.Repeat("ab ", 67))},
	} {
		if got := preview(t, test.text); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func FuzzPreview(f *testing.F) {
	f.Add("Content-Type: text/html; charset=utf-8\n\n<p>a&amp;<![CDATA[x]]><blockquote>y</blockquote>z")
	f.Add("Subject: x\n\n> a\nb \xff\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got := preview(t, text); utf8.RuneCountInString(got) > previewLength || !utf8.ValidString(got) {
			t.Errorf("%d characters: %q", utf8.RuneCountInString(got), got)
		}
	})
}

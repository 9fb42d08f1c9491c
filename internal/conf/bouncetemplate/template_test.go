package bouncetemplate

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// TestParse has what a comparison with Postfix (in package postconf) does not show.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		"# c\n\nbogus_template = x\n":                     "f, line 3: unknown template name: bogus_template -- ignoring this template",
		"failure_template = <<EOF\na\n":                   `f, line 2: missing "EOF" end marker`,
		"failure_template\n":                              `f, line 1: missing '=' after attribute name: "failure_template"`,
		"\nfailure_template = <<\n":                       "f, line 2: missing end marker after <<",
		"failure_template = << !\n":                       "f, line 1: malformed end marker after <<",
		"verify_template = <<E\nSubject: x\nE\n":          "f: missing message text in verify template -- ignoring this template",
		"failure_template = <<E\nSubject: x\n\n \nE\n":    "f: missing message text in failure template -- ignoring this template",
		"failure_template = <<E\nSubject : \nx\nE\n":      `f: empty "Subject" header value in failure template -- ignoring this template`,
		"success_template = <<E\nCharset: x\n\nü\nE\n":    "",
		"delay_template = <<E\r\nSubject: x\r\n\r\nE\r\n": `f: missing message text in delay template -- ignoring this template`,
	} {
		var got []string
		set, err := Parse("f", text, func(w string) { got = append(got, w) })
		if err != nil {
			got = append(got, err.Error())
		} else if set.Verify.Text == "" || set.Failure.Text == "" {
			t.Errorf("%q: a template has no text", text)
		}
		if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestExpandIsOneLevel(t *testing.T) {
	m, err := postfix.Parse("/x", "mine = a $$b \x01 c\n")
	if err != nil {
		t.Fatal(err)
	}
	tmpl := Template{Name: "failure", Text: "<$mine>\n"}
	got, err := tmpl.Expand(m, func(w string) { t.Error(w) })
	if want := "<a $b _ c>\n"; got != want || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

func FuzzParse(f *testing.F) {
	var b strings.Builder
	if err := Builtin().Dump(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.String())
	f.Add("failure_template = <<E\nSubject: x\n\n$myhostname ${x?{y}} $delay_warning_time_days\nE\n# c\n")
	m := postfix.Empty("/x")
	f.Fuzz(func(t *testing.T, text string) {
		set, err := Parse("f", text, func(string) {})
		if err != nil {
			return
		}
		for _, tmpl := range set.All() {
			if tmpl.Text == "" || tmpl.Text[len(tmpl.Text)-1] != '\n' {
				t.Errorf("%s: text %q", tmpl.Name, tmpl.Text)
			}
			_, _ = tmpl.Expand(m, func(string) {})
		}
	})
}

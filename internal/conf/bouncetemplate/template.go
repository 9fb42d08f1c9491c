package bouncetemplate

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// A Template is one notification.
type Template struct {
	Name              string // failure, delay, success or verify
	Origin            string // the file it is from, for messages
	Charset           string // of the text
	From              string
	Subject           string
	PostmasterSubject string // of the postmaster's copy; empty where there is none
	Text              string // lines, each with a newline
}

// A Set has a template of each kind.
type Set struct {
	Failure, Delay, Success, Verify Template
}

// All returns the templates in the order in which they are shown.
func (s *Set) All() []*Template {
	return []*Template{&s.Failure, &s.Delay, &s.Success, &s.Verify}
}

// Dump writes the templates as a bounce_template_file has them.
func (s *Set) Dump(w io.Writer) error {
	for i, t := range s.All() {
		if _, err := fmt.Fprintf(w, "%s%s_template = <<EOF\n%s\n%sEOF\n", separator(i), t.Name, t.header(), t.Text); err != nil {
			return err
		}
	}
	return nil
}

// DumpExpanded writes the texts with all $name expanded.
func (s *Set) DumpExpanded(w io.Writer, m *postfix.Main, warn func(string)) error {
	for i, t := range s.All() {
		if _, err := fmt.Fprintf(w, "%sexpanded_%s_text = <<EOF\n", separator(i), t.Name); err != nil {
			return err
		}
		text, err := t.Expand(m, warn)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, text+"EOF\n"); err != nil {
			return err
		}
	}
	return nil
}

func separator(i int) string {
	if i > 0 {
		return "\n"
	}
	return ""
}

func (t *Template) header() string {
	h := "Charset: " + t.Charset + "\nFrom: " + t.From + "\nSubject: " + t.Subject + "\n"
	if t.PostmasterSubject != "" {
		h += "Postmaster-Subject: " + t.PostmasterSubject + "\n"
	}
	return h
}

// Expand returns the text with the $name in each line replaced.
func (t *Template) Expand(m *postfix.Main, warn func(string)) (string, error) {
	var b strings.Builder
	for line := range strings.Lines(t.Text) {
		line = strings.TrimSuffix(line, "\n")
		var failed error
		text, err := postfix.ExpandDefined(line, func(name string) (string, bool) {
			value, ok, err := t.value(m, name, warn)
			if err != nil && failed == nil {
				failed = err
			}
			return strings.ReplaceAll(printable(value), "$", "$$"), ok
		})
		if failed != nil {
			return "", failed
		}
		if errors.Is(err, postfix.ErrUndefined) {
			return "", fmt.Errorf("%s: undefined $name in %s template: %s", t.Origin, t.Name, line)
		}
		if err != nil {
			fatal := fmt.Sprintf("%s: bad $name syntax in %s template: %s", t.Origin, t.Name, line)
			return "", postfix.WithFatal(err, fatal)
		}
		b.WriteString(text + "\n")
	}
	return b.String(), nil
}

package bouncetemplate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/logline"
	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// maxFile bounds a template file.
const maxFile = 1 << 20

// Load reads a bounce_template_file. Templates that are wrong are reported and left as
// they are built in; an error is one that stops the daemon.
func Load(path string, warn func(string)) (*Set, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %s", path, reason(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %s", path, reason(err))
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: the file is larger than %d bytes", path, maxFile)
	}
	return Parse(path, string(text), warn)
}

// reason is the system's text of an error as C programs print it.
func reason(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	s := no.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

// Parse is Load for the text of a file; path is its name in messages.
func Parse(path, text string, warn func(string)) (*Set, error) {
	set := Builtin()
	texts := map[*Template]string{} // the last of each name counts
	lines := &lineReader{s: bufio.NewScanner(strings.NewReader(text))}
	lines.s.Buffer(nil, maxFile+1)
	for {
		line, ok := lines.next()
		if !ok {
			break
		}
		if rest := strings.TrimLeft(line, logline.Spaces); rest == "" || rest[0] == '#' {
			continue
		}
		name, value, err := postfix.SplitNameValue(line)
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w: \"%s\"", path, lines.num, err, line)
		}
		num := lines.num
		if marker, ok := strings.CutPrefix(value, "<<"); ok {
			if value, err = lines.until(path, strings.TrimLeft(marker, logline.Spaces), warn); err != nil {
				return nil, err
			}
		}
		t := set.find(name)
		if t == nil {
			warn(fmt.Sprintf("%s, line %d: unknown template name: %s -- ignoring this template", path, num, name))
			continue
		}
		texts[t] = value
	}
	for _, t := range set.All() {
		if text, ok := texts[t]; ok {
			t.replace(path, text, warn)
		}
	}
	return set, nil
}

func (s *Set) find(name string) *Template {
	for _, t := range s.All() {
		if name == t.Name+"_template" {
			return t
		}
	}
	return nil
}

type lineReader struct {
	s   *bufio.Scanner
	num int
}

func (l *lineReader) next() (string, bool) {
	if !l.s.Scan() {
		return "", false
	}
	l.num++
	return l.s.Text(), true
}

// until returns the lines before the one that is the end marker.
func (l *lineReader) until(path, marker string, warn func(string)) (string, error) {
	if marker == "" {
		return "", fmt.Errorf("%s, line %d: missing end marker after <<", path, l.num)
	}
	if c := marker[0] | 0x20; (c < 'a' || c > 'z') && (marker[0] < '0' || marker[0] > '9') {
		return "", fmt.Errorf("%s, line %d: malformed end marker after <<", path, l.num)
	}
	var b strings.Builder
	for {
		line, ok := l.next()
		if !ok {
			warn(fmt.Sprintf("%s, line %d: missing \"%s\" end marker", path, l.num, marker))
			return b.String(), nil
		}
		if line == marker {
			return b.String(), nil
		}
		b.WriteString(line + "\n")
	}
}

// replace makes t the template that the text holds. If that is wrong t stays as it is.
func (t *Template) replace(path, text string, warn func(string)) {
	n := *t
	n.Origin = path
	problem := n.parse(strings.TrimSuffix(text, "\n"))
	if problem == "" {
		*t = n
		return
	}
	for line := range strings.Lines(path + ": " + problem) {
		warn(strings.TrimSuffix(line, "\n"))
	}
}

// parse reads headers and text. It returns what is wrong.
func (t *Template) parse(text string) (problem string) {
	line, rest, more := strings.Cut(text, "\n")
	for {
		label, value := header(line)
		if label == "" {
			break
		}
		if problem := t.setHeader(label, value); problem != "" {
			return fmt.Sprintf("%s in %s template -- ignoring this template", problem, t.Name)
		}
		if !more {
			return t.missing()
		}
		line, rest, more = strings.Cut(rest, "\n")
	}
	for strings.TrimLeft(line, logline.Spaces) == "" {
		if !more {
			return t.missing()
		}
		line, rest, more = strings.Cut(rest, "\n")
	}
	t.Text = line + "\n"
	if more {
		t.Text += rest + "\n"
	}
	if !isASCII(t.Text) && strings.EqualFold(t.Charset, "us-ascii") {
		return fmt.Sprintf("8-bit message text in %s template\nplease specify a charset value other than us-ascii\n-- ignoring this template for now", t.Name)
	}
	return ""
}

func (t *Template) missing() string {
	return fmt.Sprintf("missing message text in %s template -- ignoring this template", t.Name)
}

// header splits "Label: value". Label is empty if the line is none.
func header(line string) (label, value string) {
	label, value, ok := strings.Cut(line, ":")
	label = strings.TrimRight(label, " \t")
	for i := range len(label) {
		if label[i] <= ' ' || label[i] > '~' {
			return "", ""
		}
	}
	if !ok {
		return "", ""
	}
	return label, strings.TrimLeft(value, logline.Spaces+":")
}

// setHeader sets one of the values. It returns what is wrong.
func (t *Template) setHeader(label, value string) (problem string) {
	switch {
	case value == "":
		return fmt.Sprintf("empty \"%s\" header value", label)
	case !isASCII(value):
		return fmt.Sprintf("non-ASCII \"%s\" header value", label)
	}
	switch strings.ToLower(label) {
	case "charset":
		t.Charset = value
	case "from":
		t.From = value
	case "subject":
		t.Subject = value
	case "postmaster-subject":
		if t.PostmasterSubject == "" {
			return fmt.Sprintf("inapplicable \"%s\" header label", label)
		}
		t.PostmasterSubject = value
	default:
		return fmt.Sprintf("unknown \"%s\" header label", label)
	}
	return ""
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

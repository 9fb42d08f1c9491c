package virtual

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// FileName is the name of the file that makes a directory a virtual mailbox.
const FileName = "dovecot-virtual"

// maxSize bounds the file, in bytes. Those that people write have a few hundred.
const maxSize = 1 << 20

// A Config is what the file says.
type Config struct {
	Mailboxes []Mailbox // in the order of the file
	Save      int       // which of them gets what is saved here; -1 for none
}

// A Mailbox is one line of the file that names backing mailboxes, or restricts those that patterns find.
type Mailbox struct {
	Name        string // full name; empty if Entry is set
	Pattern     bool   // Name has wildcards, * and %
	ClearRecent bool   // "+": messages seen here are no longer \Recent there
	Exclude     bool   // "-": not these; with Entry: only those without the annotation
	Entry       string // name of an annotation (RFC 5464 4.1) that mailboxes found by patterns must have
	Value       string // pattern of its value
	Rule        string // search keys; empty for ALL. Each line of the rule is preceded by a blank.
}

// An Env is what a file depends on besides its text.
type Env struct {
	Self string // full name of the virtual mailbox
	// HasNamespace reports whether a full name belongs to a namespace.
	HasNamespace func(name string) bool
}

// A LineError is a mistake in the file. The texts are Dovecot's.
type LineError struct {
	Line int // from 1
	Text string
}

func (e *LineError) Error() string { return fmt.Sprintf("Error at line %d: %s", e.Line, e.Text) }

// ErrNoMailboxes is the error for a file that names none.
var ErrNoMailboxes = errors.New("No mailboxes defined")

// errTooLarge is the error for a file that nobody can mean.
var errTooLarge = fmt.Errorf("the file is larger than %d bytes", maxSize)

// Parse reads a file. What is wrong with a line is a [*LineError]. Whether search rules are valid it does not look.
func Parse(r io.Reader, env *Env) (*Config, error) {
	limited := &io.LimitedReader{R: r, N: maxSize + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxSize+2)
	p := parser{env: env, cfg: &Config{Save: -1}}
	for n := 1; lines.Scan(); n++ {
		if text := p.line(lines.Text()); text != "" {
			return nil, &LineError{n, text}
		}
	}
	switch {
	case lines.Err() != nil:
		return nil, lines.Err()
	case limited.N <= 0:
		return nil, errTooLarge
	}
	p.endRule()
	if !p.named {
		return nil, ErrNoMailboxes
	}
	return p.cfg, nil
}

type parser struct {
	env   *Env
	cfg   *Config
	rule  strings.Builder
	ruled int  // how many mailboxes have their rule
	named bool // a line names mailboxes
}

// line reads a line and returns what is wrong with it.
func (p *parser) line(line string) string {
	switch {
	case line == "":
		p.endRule()
		return ""
	case line[0] == '#':
		return ""
	case line[0] != ' ' && line[0] != '\t':
		if p.rule.Len() > 0 {
			p.endRule()
		}
		return p.mailbox(line)
	case p.ruled == len(p.cfg.Mailboxes):
		return "Search rule without a mailbox"
	}
	p.rule.WriteString(" " + strings.TrimLeft(line, " \t"))
	return ""
}

// endRule gives the rule to the mailboxes that have none yet.
func (p *parser) endRule() {
	for i := range p.cfg.Mailboxes[p.ruled:] {
		p.cfg.Mailboxes[p.ruled+i].Rule = p.rule.String()
	}
	p.ruled = len(p.cfg.Mailboxes)
	p.rule.Reset()
}

// mailbox reads a line that names mailboxes.
func (p *parser) mailbox(line string) string {
	if !utf8.ValidString(line) {
		return "Mailbox name not UTF-8: " + line
	}
	m := Mailbox{Name: line}
	save := false
	switch line[0] {
	case '+':
		m.ClearRecent = true
	case '-':
		m.Exclude = true
	case '!':
		if save = true; p.cfg.Save >= 0 {
			return "Multiple save mailboxes defined"
		}
	}
	if save || m.ClearRecent || m.Exclude {
		m.Name = line[1:]
	}
	if strings.EqualFold(m.Name, "INBOX") {
		m.Name = "INBOX"
	}
	if strings.HasPrefix(m.Name, "/") {
		if text := m.annotated(); text != "" {
			return text
		}
	} else if text := p.check(&m, !save); text != "" {
		return text
	}
	if save {
		p.cfg.Save = len(p.cfg.Mailboxes)
	}
	p.cfg.Mailboxes = append(p.cfg.Mailboxes, m)
	return ""
}

// check looks at a name, which may be a pattern if wild is set.
func (p *parser) check(m *Mailbox, wild bool) string {
	m.Pattern = wild && strings.ContainsAny(m.Name, "*%")
	if !p.env.HasNamespace(m.Name) {
		return "Namespace not found for " + m.Name
	}
	if m.Name == p.env.Self {
		return "Virtual mailbox can't point to itself"
	}
	p.named = true
	return ""
}

// annotated splits "/private/comment:value".
func (m *Mailbox) annotated() string {
	entry, value, ok := strings.Cut(m.Name, ":")
	if !ok {
		return "':' separator missing between metadata entry name and value"
	}
	m.Name, m.Entry, m.Value = "", entry, value
	return checkEntry(entry)
}

// checkEntry looks whether a name that begins with a slash can be one of an annotation.
func checkEntry(entry string) string {
	for i := range len(entry) {
		switch c := entry[i]; {
		case c == '/' && i > 0 && entry[i-1] == '/':
			return "Entry name can't contain consecutive '/'"
		case c == '/' && i == len(entry)-1:
			return "Entry name can't end with '/'"
		case c == '*' || c == '%':
			return "Entry name can't contain '" + string(c) + "'"
		case c <= 0x19:
			return "Entry name can't contain control chars"
		}
	}
	first, _, _ := strings.Cut(entry[1:], "/")
	if !strings.EqualFold(first, "private") && !strings.EqualFold(first, "shared") {
		return "Entry name must begin with /private or /shared"
	}
	return ""
}

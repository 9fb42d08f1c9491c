package dovecot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	maxConfig   = 64 << 20 // bytes of names and values kept
	maxIncludes = 100      // nesting of include files
	maxWarnings = 1000
)

// A parser fills a Config. Sections may begin in one file and end in another,
// so its stack outlives the files.
type parser struct {
	cfg      *Config
	opts     options
	stack    []block
	includes []string // files being read, and those to be read after them
	depth    int      // of nested files
	pos      pos
	seq      int // of the last new key
	size     int
	base     *section // what the built-in services set; empty while they are read
	obsolete bool     // the note about obsolete settings was given
	auth     oldAuth
}

// A block is an open section or filter.
type block struct {
	layer   *layer
	sec     *section
	start   pos
	missing bool // a filter inside a section that the filter does not have
}

func newParser(c *Config, o options, base *section) *parser {
	c.layers = []*layer{{root: newSection(schema().root, "", -1, pos{})}}
	return &parser{cfg: c, opts: o, base: base, stack: []block{{layer: c.layers[0], sec: c.layers[0].root}}}
}

func (p *parser) cur() *block { return &p.stack[len(p.stack)-1] }

func (p *parser) file() string { return p.includes[len(p.includes)-1] }

func (p *parser) warn(text string) {
	if len(p.cfg.warnings) < maxWarnings {
		p.cfg.warnings = append(p.cfg.warnings, text)
	}
}

// parse reads one file and what it includes.
func (p *parser) parse(name string, r io.Reader) error {
	p.includes = append(p.includes, name)
	return p.read(r)
}

// read reads the file that is the last one in p.includes.
func (p *parser) read(r io.Reader) error {
	name := p.file()
	p.depth++
	defer func() { p.depth-- }()
	file := slices.Index(p.cfg.files, name)
	if file < 0 {
		file = len(p.cfg.files)
		p.cfg.files = append(p.cfg.files, name)
	}
	lex := &lexer{r: bufio.NewReader(r), warn: func(text string, num int) {
		p.warn(fmt.Sprintf("Configuration file %s line %d: %s", name, num, text))
	}}
	for {
		ln, err := lex.next()
		if err == io.EOF || errors.Is(err, syscall.EISDIR) {
			return nil
		}
		p.pos = pos{file, ln.num}
		if err == nil {
			err = p.line(ln)
		}
		if err != nil {
			return p.locate(err)
		}
	}
}

// locate gives an error the position it arose at, unless it has one.
func (p *parser) locate(err error) error {
	var located *Error
	if errors.As(err, &located) {
		located.Warnings, located.Errors = p.cfg.warnings, p.cfg.errors
		return err
	}
	return &Error{File: p.cfg.files[p.pos.file], Line: p.pos.line, Text: err.Error(), Warnings: p.cfg.warnings, Errors: p.cfg.errors}
}

// finish is called at the end of all input.
func (p *parser) finish() error {
	if len(p.stack) == 1 {
		return nil
	}
	return &Error{File: p.cfg.path, Text: fmt.Sprintf("Missing '}' (section started at %s)", p.cfg.where(p.cur().start))}
}

func (p *parser) line(ln line) error {
	p.size += len(ln.key) + len(ln.value)
	if p.size > maxConfig {
		return errors.New("Configuration is too large")
	}
	switch ln.kind {
	case lineInclude, lineIncludeTry:
		return p.include(ln)
	case lineEnd:
		if done, err := p.closeOldAuth(); done || err != nil {
			return err
		}
		if len(p.stack) == 1 {
			return errors.New("Unexpected '}'")
		}
		p.stack = p.stack[:len(p.stack)-1]
		return nil
	case lineSection:
		if isFilter(ln.key) {
			return p.openFilter(ln)
		}
		return p.openSection(ln)
	}
	return p.assignment(ln)
}

// include reads the files of an !include line at once, so that what they set
// comes before the lines that follow. Like Dovecot it opens them all before it reads any:
// none of them may include another.
func (p *parser) include(ln line) error {
	try := ln.kind == lineIncludeTry
	paths := Glob(p.relative(ln.value))
	if len(paths) == 0 && !try {
		return errors.New("No matches")
	}
	open := len(p.includes)
	defer func() { p.includes = p.includes[:open] }()
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, path := range slices.Backward(paths) {
		if slices.Contains(p.includes, path) || p.depth >= maxIncludes {
			return fmt.Errorf("Recursive include file: %s", path)
		}
		f, err := os.Open(path)
		if err != nil && try {
			continue
		}
		if err != nil {
			return fmt.Errorf("Couldn't open include file %s: %s", path, errnoText(err))
		}
		files = append(files, f)
		p.includes = append(p.includes, path)
	}
	for _, f := range slices.Backward(files) {
		if err := p.read(f); err != nil {
			return err
		}
		p.includes = p.includes[:len(p.includes)-1]
	}
	return nil
}

// relative resolves a path in the directory of the file being read.
func (p *parser) relative(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	dir, _ := filepath.Split(p.file())
	return dir + path
}

// errnoText is the system's text of an error as C programs print it.
func errnoText(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	s := no.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

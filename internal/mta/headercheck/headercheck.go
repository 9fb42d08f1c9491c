// Package headercheck looks lines of messages up in the tables of header_checks(5):
// header_checks, mime_header_checks, nested_header_checks and body_checks of
// cleanup(8), and smtp_header_checks and their kin of the SMTP client.
//
// The key is a whole header, with line ends "\n" where it is folded, or one body
// line. The result is an action with a text. What actions do is up to the program:
// see [Verdict].
package headercheck

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// An Action is what a table says.
type Action uint8

// The actions.
const (
	None    Action = iota // DUNNO, OK, or nothing was found
	Ignore                // the line is dropped
	Strip                 // the line is dropped, which is logged
	Warn                  // log
	Info                  // log
	Prepend               // Text comes before the line
	Replace               // Text takes its place
	BCC                   // Text is a recipient more
	Discard
	Filter // Text is transport:nexthop
	Hold
	Pass // no more checks
	Redirect
	Reject
	Unknown // Text is the whole result
)

var actions = []struct {
	Action
	name string
}{
	{Reject, "REJECT"}, {Warn, "WARN"}, {Info, "INFO"}, {Filter, "FILTER"}, {Pass, "PASS"}, {Discard, "DISCARD"}, {Hold, "HOLD"},
	{Prepend, "PREPEND"}, {Replace, "REPLACE"}, {Redirect, "REDIRECT"}, {BCC, "BCC"}, {Strip, "STRIP"},
	{Ignore, "IGNORE"}, {None, "DUNNO"}, {None, "OK"},
}

// A Verdict is what a table says about a line.
type Verdict struct {
	Action Action
	Text   string
}

// A Context is what kind of line is looked up.
type Context string

// The contexts, as the log names them.
const (
	Header  Context = "header"
	Body    Context = "body"
	Content Context = "content"
)

// Checks are the tables of one parameter. A nil *Checks is empty.
type Checks struct {
	param string
	maps  resolve.Maps
	log   *maillog.Logger
}

// New opens the tables that value, the value of param, names. It returns nil where
// there are none.
func New(param, value string, open resolve.Opener, log *maillog.Logger) (*Checks, error) {
	maps, err := open.OpenMaps(param, value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", param, err)
	}
	if maps.Empty() {
		return nil, nil
	}
	return &Checks{param: param, maps: maps, log: log}, nil
}

// Param names the parameter.
func (c *Checks) Param() string { return c.param }

// Check looks a line up. A result that cannot be followed is warned about, and is
// None then. An error is temporary.
func (c *Checks) Check(ctx context.Context, kind Context, line []byte) (Verdict, error) {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i] // what Postfix's tables see of it
	}
	value, found, err := c.maps.Lookup(ctx, string(line))
	if err != nil || !found {
		return Verdict{}, err
	}
	v := Parse(value)
	if problem := v.problem(kind, c.param); problem != "" {
		c.log.Warningf("%s", problem)
		return Verdict{}, nil
	}
	return v, nil
}

// Parse splits a result into action and text.
func Parse(value string) Verdict {
	name, text := value, ""
	if i := strings.IndexAny(value, " \t"); i >= 0 {
		name, text = value[:i], strings.TrimLeft(value[i:], " \t\r\n\v\f")
	}
	for _, a := range actions {
		if strings.EqualFold(name, a.name) {
			return Verdict{a.Action, text}
		}
	}
	return Verdict{Unknown, value}
}

// String is the result as a table has it.
func (v Verdict) String() string {
	for _, a := range actions {
		if a.Action == v.Action && v.Action != None {
			return strings.TrimSpace(a.name + " " + v.Text)
		}
	}
	return v.Text
}

// problem tells why an action cannot be followed.
func (v *Verdict) problem(kind Context, param string) string {
	header := kind == Header && !IsHeader(v.Text)
	switch v.Action {
	case Unknown:
		return fmt.Sprintf("unknown command in %s map: %s", param, v.Text)
	case Filter:
		if v.Text == "" {
			return fmt.Sprintf("missing FILTER command argument in %s map", param)
		}
		if strings.IndexByte(v.Text, ':') < 0 {
			return fmt.Sprintf("bad FILTER command %s in %s -- need transport:destination", v.Text, param)
		}
	case Prepend:
		if v.Text == "" {
			return fmt.Sprintf("PREPEND action without text in %s map", param)
		}
		if header {
			return fmt.Sprintf("bad PREPEND header text %q in %s map -- need \"headername: headervalue\"", v.Text, param)
		}
	case Replace:
		if v.Text == "" {
			return fmt.Sprintf("REPLACE action without text in %s map", param)
		}
		if header {
			return fmt.Sprintf("bad REPLACE header text %q in %s map -- need \"headername: headervalue\"", v.Text, param)
		}
	case Redirect:
		if strings.IndexByte(v.Text, '@') < 0 {
			return fmt.Sprintf("bad REDIRECT target %q in %s map -- need user@domain", v.Text, param)
		}
	case BCC:
		if strings.IndexByte(v.Text, '@') < 0 {
			return fmt.Sprintf("bad BCC address %q in %s map -- need user@domain", v.Text, param)
		}
	}
	return ""
}

// IsHeader reports whether text begins as a header does.
func IsHeader(text string) bool {
	name, _, ok := strings.Cut(text, ":")
	name = strings.TrimRight(name, " \t")
	if !ok || name == "" {
		return false
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

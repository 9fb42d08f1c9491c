package smtp

import (
	"bytes"
	"strconv"
	"strings"
)

// ParseCommand splits a command line, without its line end, into the verb, in
// the client's spelling, and its arguments without surrounding blanks.
func ParseCommand(line []byte) (verb, args []byte) {
	line = trimBlanks(line)
	for i, c := range line {
		if isBlank(c) {
			return line[:i], trimBlanks(line[i:])
		}
	}
	return line, nil
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func trimBlanks(b []byte) []byte {
	for len(b) > 0 && isBlank(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isBlank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

// Extensions are the ESMTP parameters that a server takes; a parameter of any
// other is refused with [BadOption].
type Extensions uint16

// The parameters of MAIL and RCPT.
const (
	ExtSize       Extensions = 1 << iota // RFC 1870: SIZE=
	Ext8BitMIME                          // RFC 6152: BODY=
	ExtDSN                               // RFC 3461: RET= ENVID= NOTIFY= ORCPT=
	ExtSMTPUTF8                          // RFC 6531: SMTPUTF8
	ExtAuth                              // RFC 4954: AUTH=
	ExtXVERP                             // Postfix: XVERP
	ExtBinaryMIME                        // RFC 3030: BODY=BINARYMIME
)

// Body is the encoding that a client declared for the content (RFC 6152).
type Body uint8

// The values of BODY=.
const (
	BodyUnknown Body = iota
	Body7Bit
	Body8BitMIME
	BodyBinaryMIME
)

// Ret says how much of a message a notification returns (RFC 3461 4.3).
type Ret uint8

// The values of RET=.
const (
	RetDefault Ret = iota
	RetFull
	RetHeaders
)

// Notify is a set of events the sender wants to hear of (RFC 3461 4.1).
type Notify uint8

// The values of NOTIFY=. Zero means that the client did not say.
const (
	NotifyNever Notify = 1 << iota
	NotifySuccess
	NotifyFailure
	NotifyDelay
)

// Mail holds the arguments of MAIL.
type Mail struct {
	From     string // internal form; empty is the null sender
	Routed   bool   // it came with a source route, which was removed
	Size     int64  // SIZE=, -1 when absent
	Body     Body
	SMTPUTF8 bool
	Ret      Ret
	EnvID    string // ENVID=, as xtext of printable ASCII
	Auth     string // AUTH=, as sent, without control characters; empty when the client vouches for nobody ("<>")
	XVERP    string // delimiters, "default" when the client named none
}

// Rcpt holds the arguments of RCPT.
type Rcpt struct {
	To     string // internal form
	Routed bool
	Notify Notify
	ORcpt  string // ORCPT=, decoded, without NUL: "rfc822;user@example.com"; it may hold any other control character
}

// An ArgError says what is wrong with the arguments of MAIL or RCPT. Servers
// choose their own words for it.
type ArgError struct {
	Kind ArgErrorKind
	Text string // the address or parameter at fault
}

// ArgErrorKind tells apart the ways to be wrong.
type ArgErrorKind uint8

// What may be wrong.
const (
	BadSyntax     ArgErrorKind = iota // no "FROM:" or "TO:" with a path
	BadAddress                        // the path is no address
	BadOption                         // parameter unknown or not announced
	BadSize                           // SIZE= is no number
	BadRet                            // RET=
	BadEnvID                          // ENVID=
	BadNotify                         // NOTIFY=
	BadORcpt                          // ORCPT=
	DuplicateAuth                     // second AUTH=
	BadXVERP                          // delimiters not two of "-=+"
	NullXVERP                         // XVERP with the null sender
)

var argErrorText = [...]string{
	BadSyntax: "syntax error", BadAddress: "bad address syntax", BadOption: "unsupported option",
	BadSize: "bad SIZE", BadRet: "bad RET", BadEnvID: "bad ENVID", BadNotify: "bad NOTIFY",
	BadORcpt: "bad ORCPT", DuplicateAuth: "multiple AUTH",
	BadXVERP: "bad XVERP", NullXVERP: "XVERP with null sender",
}

func (e *ArgError) Error() string {
	if e.Text == "" {
		return argErrorText[e.Kind]
	}
	return argErrorText[e.Kind] + ": " + e.Text
}

func argError(kind ArgErrorKind, text []byte) *ArgError {
	return &ArgError{Kind: kind, Text: string(text)}
}

// ParseMailArgs reads the arguments of MAIL: "FROM:<path>" and parameters. An
// error is an *ArgError.
func ParseMailArgs(args []byte, ext Extensions) (Mail, error) {
	m := Mail{Size: -1}
	path, rest, ok := cutPath(args, "FROM:")
	if !ok {
		return m, argError(BadSyntax, args)
	}
	addr, err := ParsePath(path)
	if err != nil {
		return m, argError(BadAddress, path)
	}
	m.From, m.Routed = addr.Address, addr.Routed
	for {
		var param []byte
		if param, rest = nextParam(rest); param == nil {
			break
		}
		if kind := m.param(param, ext); kind != noArgError {
			return m, argError(kind, param)
		}
	}
	if m.XVERP != "" && m.From == "" {
		return m, argError(NullXVERP, nil)
	}
	return m, nil
}

const noArgError ArgErrorKind = 255

func (m *Mail) param(p []byte, ext Extensions) ArgErrorKind {
	name, value, _ := bytes.Cut(p, []byte{'='})
	hasValue := len(name) < len(p)
	switch {
	case ext&ExtSize != 0 && hasValue && equalFold(name, "SIZE"):
		size, ok := parseSize(value)
		if !ok {
			return BadSize
		}
		m.Size = size
	case ext&Ext8BitMIME != 0 && hasValue && equalFold(name, "BODY"):
		return m.body(value, ext)
	case ext&ExtSMTPUTF8 != 0 && equalFold(p, "SMTPUTF8"):
		m.SMTPUTF8 = true
	case ext&ExtDSN != 0 && hasValue && equalFold(name, "RET"):
		switch {
		case equalFold(value, "FULL"):
			m.Ret = RetFull
		case equalFold(value, "HDRS"):
			m.Ret = RetHeaders
		default:
			return BadRet
		}
	case ext&ExtDSN != 0 && hasValue && equalFold(name, "ENVID"):
		// RFC 3461 4.4: printable text. As Postfix does, more than 100 characters are taken.
		text, ok := ParseXtext(value)
		text = beforeNUL(text)
		if !ok || text == "" || m.EnvID != "" || !isPrintable(text) {
			return BadEnvID
		}
		m.EnvID = Xtext(text)
	case ext&ExtAuth != 0 && hasValue && equalFold(name, "AUTH"):
		if m.Auth != "" {
			return DuplicateAuth
		}
		// As Postfix does: it stays encoded, so that it can be shown anywhere.
		if string(value) != "<>" {
			m.Auth = Visible(string(value))
		}
	case ext&ExtXVERP != 0 && equalFold(name, "XVERP"):
		m.XVERP = "default"
		if hasValue {
			if !isVERP(value) {
				return BadXVERP
			}
			m.XVERP = string(value)
		}
	default:
		return BadOption
	}
	return noArgError
}

func (m *Mail) body(value []byte, ext Extensions) ArgErrorKind {
	switch {
	case equalFold(value, "7BIT"):
		m.Body = Body7Bit
	case equalFold(value, "8BITMIME"):
		m.Body = Body8BitMIME
	case ext&ExtBinaryMIME != 0 && equalFold(value, "BINARYMIME"):
		m.Body = BodyBinaryMIME
	default:
		return BadOption
	}
	return noArgError
}

func isVERP(value []byte) bool {
	return len(value) == 2 && strings.IndexByte("-=+", value[0]) >= 0 && strings.IndexByte("-=+", value[1]) >= 0
}

// ParseRcptArgs reads the arguments of RCPT: "TO:<path>" and parameters. An
// error is an *ArgError.
func ParseRcptArgs(args []byte, ext Extensions) (Rcpt, error) {
	var r Rcpt
	path, rest, ok := cutPath(args, "TO:")
	if !ok {
		return r, argError(BadSyntax, args)
	}
	addr, err := ParsePath(path)
	if err != nil || addr.Address == "" {
		return r, argError(BadAddress, path)
	}
	r.To, r.Routed = addr.Address, addr.Routed
	for {
		var param []byte
		if param, rest = nextParam(rest); param == nil {
			return r, nil
		}
		if kind := r.param(param, ext); kind != noArgError {
			return r, argError(kind, param)
		}
	}
}

func (r *Rcpt) param(p []byte, ext Extensions) ArgErrorKind {
	name, value, ok := bytes.Cut(p, []byte{'='})
	switch {
	case ext&ExtDSN != 0 && ok && equalFold(name, "NOTIFY"):
		notify, ok := ParseNotify(value)
		if !ok || r.Notify != 0 {
			return BadNotify
		}
		r.Notify = notify
	case ext&ExtDSN != 0 && ok && equalFold(name, "ORCPT"):
		// RFC 3461 4.2: "addr-type;xtext".
		kind, text, ok := bytes.Cut(value, []byte{';'})
		if !ok || len(kind) == 0 || r.ORcpt != "" {
			return BadORcpt
		}
		decode := ParseXtext
		if equalFold(kind, "UTF-8") {
			decode = ParseUxtext // RFC 6533 3
		}
		decoded, ok := decode(text)
		if !ok {
			return BadORcpt
		}
		r.ORcpt = string(kind) + ";" + beforeNUL(decoded)
	default:
		return BadOption
	}
	return noArgError
}

// ParseNotify reads the value of NOTIFY=: NEVER alone, or a list of SUCCESS,
// FAILURE and DELAY.
func ParseNotify(value []byte) (Notify, bool) {
	if equalFold(value, "NEVER") {
		return NotifyNever, true
	}
	var n Notify
	for len(value) > 0 {
		item, rest, more := bytes.Cut(value, []byte{','})
		switch {
		case equalFold(item, "SUCCESS"):
			n |= NotifySuccess
		case equalFold(item, "FAILURE"):
			n |= NotifyFailure
		case equalFold(item, "DELAY"):
			n |= NotifyDelay
		default:
			return 0, false
		}
		if more && len(rest) == 0 {
			return 0, false
		}
		value = rest
	}
	return n, n != 0
}

// cutPath takes "FROM:" or "TO:", in any case, and the path after it, which
// ends at a blank outside quotes and brackets. Blanks before the path are
// allowed, as many clients send them.
func cutPath(args []byte, keyword string) (path, rest []byte, ok bool) {
	args = trimBlanks(args)
	if len(args) < len(keyword) || !equalFold(args[:len(keyword)], keyword) {
		return nil, nil, false
	}
	args = trimBlanks(args[len(keyword):])
	quoted, depth := false, 0
	for i := 0; i < len(args); i++ {
		switch c := args[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			depth++
		case c == '>' && depth > 0:
			depth--
		case isBlank(c) && depth == 0:
			return args[:i], args[i:], true
		}
	}
	return args, nil, len(args) > 0
}

func nextParam(b []byte) (param, rest []byte) {
	b = trimBlanks(b)
	if len(b) == 0 {
		return nil, nil
	}
	for i, c := range b {
		if isBlank(c) {
			return b[:i], b[i:]
		}
	}
	return b, nil
}

func parseSize(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(b), 10, 64)
	return n, err == nil
}

// equalFold compares b with an upper-case ASCII word.
func equalFold(b []byte, upper string) bool {
	if len(b) != len(upper) {
		return false
	}
	for i := range len(b) {
		c := b[i]
		if c >= 'a' && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != upper[i] {
			return false
		}
	}
	return true
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

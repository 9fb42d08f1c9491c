package interop

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A view is all that clients can see of a user's mail through one server.
type view struct {
	List, LSub []string // responses
	POP3       []string // UIDL of INBOX
	Boxes      map[string]*boxView
}

// A boxView is a mailbox in a [view].
type boxView struct {
	Status   map[string]string // of STATUS
	Selected map[string]string // of EXAMINE: response codes and FLAGS
	UIDs     []uint32
	Messages map[uint32]map[string]string // items of FETCH
}

func (b *boxView) number(name string) uint64 {
	n, _ := strconv.ParseUint(b.Status[name], 10, 64)
	return n
}

// look logs in as user n and looks at everything but POP3, which would take \Recent away.
func look(mb *harness.Mailbox, n int) (*view, error) {
	c, err := harness.Dial(mb.IMAP)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Login(n); err != nil {
		return nil, err
	}
	v := &view{Boxes: make(map[string]*boxView)}
	if v.List, err = listing(c, `LIST "" "*"`); err != nil {
		return nil, err
	}
	if v.LSub, err = listing(c, `LSUB "" "*"`); err != nil {
		return nil, err
	}
	for _, line := range v.List {
		attributes, name := listed(line)
		if strings.Contains(attributes, `\Noselect`) || strings.Contains(attributes, `\NonExistent`) {
			continue
		}
		if v.Boxes[name], err = lookAt(c, name); err != nil {
			return nil, fmt.Errorf("mailbox %s: %w", name, err)
		}
	}
	_, _, err = c.IMAP("LOGOUT")
	return v, err
}

// listing returns the responses of a LIST command, sorted.
func listing(c *harness.Client, command string) ([]string, error) {
	untagged, _, err := c.IMAP(command)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	var lines []string
	for _, line := range untagged {
		p := &parser{rest: line}
		kind := p.words(2) // "* LIST"
		attributes := strings.Fields(strings.Trim(p.value(), "()"))
		// Hints, which Dovetail does not give.
		attributes = slices.DeleteFunc(attributes, func(a string) bool { return a == `\Marked` || a == `\UnMarked` })
		if strings.HasPrefix(command, "LSUB") { // which Dovecot tells at times
			attributes = slices.DeleteFunc(attributes, func(a string) bool { return a == `\NoInferiors` })
		}
		slices.Sort(attributes)
		separator := p.value()
		lines = append(lines, fmt.Sprintf("%s (%s) %s %s", kind, strings.Join(attributes, " "), separator, p.text()))
		if p.err != nil {
			return nil, fmt.Errorf("%s: %w", line, p.err)
		}
	}
	slices.Sort(lines)
	return lines, nil
}

// listed returns the attributes and the name in a line of listing.
func listed(line string) (attributes, name string) {
	_, rest, _ := strings.Cut(line, "(")
	attributes, rest, _ = strings.Cut(rest, ") ")
	_, name, _ = strings.Cut(rest, " ")
	return attributes, name
}

const statusItems = "MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ"

var responseCode = regexp.MustCompile(`^\* OK \[(UIDVALIDITY|UIDNEXT|UNSEEN|HIGHESTMODSEQ|PERMANENTFLAGS|NOMODSEQ) ?([^\]]*)\]`)

// lookAt looks at a mailbox without changing it.
func lookAt(c *harness.Client, name string) (*boxView, error) {
	b := &boxView{Status: make(map[string]string), Selected: make(map[string]string), Messages: make(map[uint32]map[string]string)}
	untagged, _, err := c.IMAP("EXAMINE " + quote(name) + " (CONDSTORE)")
	if err != nil {
		return nil, err
	}
	for _, line := range untagged {
		if m := responseCode.FindStringSubmatch(line); m != nil && m[1] != "PERMANENTFLAGS" {
			b.Selected[m[1]] = m[2]
		}
		if flags, ok := strings.CutPrefix(line, "* FLAGS "); ok {
			b.Selected["FLAGS"] = sorted(flags)
		}
		if f := strings.Fields(line); len(f) == 3 && (f[2] == "EXISTS" || f[2] == "RECENT") {
			b.Selected[f[2]] = f[1]
		}
	}
	untagged, _, err = c.IMAP("UID FETCH 1:* (UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT])")
	if err != nil {
		return nil, err
	}
	for _, response := range untagged {
		items, err := fetchItems(response)
		if err != nil {
			return nil, err
		}
		if items == nil {
			continue
		}
		n, err := strconv.ParseUint(items["UID"], 10, 32)
		if err != nil || b.Messages[uint32(n)] != nil {
			return nil, fmt.Errorf("FETCH response without or with a repeated UID: %.200q", response)
		}
		b.UIDs = append(b.UIDs, uint32(n))
		b.Messages[uint32(n)] = items
	}
	if !slices.IsSorted(b.UIDs) {
		return nil, fmt.Errorf("uids out of order: %v", b.UIDs)
	}
	untagged, _, err = c.IMAP("STATUS " + quote(name) + " (" + statusItems + ")")
	if err != nil {
		return nil, err
	}
	for _, line := range untagged {
		_, items, ok := strings.Cut(line, " (")
		if !ok || !strings.HasPrefix(line, "* STATUS ") {
			continue
		}
		if open := strings.LastIndex(line, " ("); open >= 0 {
			items = line[open+2:]
		}
		f := strings.Fields(strings.TrimSuffix(items, ")"))
		for i := 0; i+1 < len(f); i += 2 {
			b.Status[f[i]] = f[i+1]
		}
	}
	if len(b.Status) != len(strings.Fields(statusItems)) {
		return nil, fmt.Errorf("STATUS is answered with %q", untagged)
	}
	return b, nil
}

// uidls returns the UIDL listing of user n.
func uidls(mb *harness.Mailbox, n int) ([]string, error) {
	c, err := pop3(mb, n)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if reply, err := c.Ask("UIDL"); err != nil || !strings.HasPrefix(reply, "+OK") {
		return nil, fmt.Errorf("UIDL: %s, %v", reply, err)
	}
	lines := []string{}
	for {
		line, err := c.Line()
		if err != nil {
			return nil, err
		}
		if line == "." {
			break
		}
		lines = append(lines, line)
	}
	_, err = c.Ask("QUIT")
	return lines, err
}

// pop3 returns a POP3 session of user n.
func pop3(mb *harness.Mailbox, n int) (*harness.Client, error) {
	c, err := harness.Dial(mb.POP3)
	if err != nil {
		return nil, err
	}
	for _, command := range []string{"USER " + harness.User(n), "PASS " + harness.Password} {
		if reply, err := c.Ask(command); err != nil || !strings.HasPrefix(reply, "+OK") {
			c.Close()
			return nil, fmt.Errorf("%s: %s, %v", command, reply, err)
		}
	}
	return c, nil
}

// quote makes a mailbox name an argument.
func quote(name string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `"`
}

// sorted sorts the words of a parenthesized list.
func sorted(list string) string {
	words := strings.Fields(strings.Trim(list, "()"))
	slices.Sort(words)
	return strings.Join(words, " ")
}

// fetchItems returns the items of a FETCH response, or nil of another one. Strings
// are written in one way, however the server sent them, and flags are sorted.
func fetchItems(response string) (map[string]string, error) {
	p := &parser{rest: response}
	if f := strings.Fields(p.words(3)); len(f) < 3 || f[2] != "FETCH" {
		return nil, nil
	}
	items := make(map[string]string)
	p.expect('(')
	for p.err == nil && !p.skip(')') {
		key := p.atom()
		value := p.value()
		if key == "FLAGS" {
			value = sorted(value)
		}
		items[key] = value
	}
	if p.err != nil {
		return nil, fmt.Errorf("%w in %.300q", p.err, response)
	}
	return items, nil
}

// A parser reads what is in a response. Its first error stays.
type parser struct {
	rest string
	err  error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("no %s before %.40q", what, p.rest)
	}
	p.rest = ""
}

func (p *parser) blanks() { p.rest = strings.TrimLeft(p.rest, " ") }

func (p *parser) skip(b byte) bool {
	p.blanks()
	if p.rest == "" || p.rest[0] != b {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *parser) expect(b byte) {
	if !p.skip(b) {
		p.fail(string(b))
	}
}

// words returns the next n words.
func (p *parser) words(n int) string {
	var all []string
	for range n {
		word, rest, _ := strings.Cut(p.rest, " ")
		all = append(all, word)
		p.rest = rest
	}
	return strings.Join(all, " ")
}

// atom reads up to a blank or parenthesis outside of brackets.
func (p *parser) atom() string {
	p.blanks()
	depth, i := 0, 0
	for ; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case depth == 0 && (c == ' ' || c == '(' || c == ')'):
			goto end
		}
	}
end:
	if i == 0 {
		p.fail("atom")
		return ""
	}
	atom := p.rest[:i]
	p.rest = p.rest[i:]
	return atom
}

// value reads an atom, a string or a list and writes it in one way.
func (p *parser) value() string {
	p.blanks()
	switch {
	case p.rest == "":
		p.fail("value")
		return ""
	case p.rest[0] == '"' || p.rest[0] == '{':
		return strconv.Quote(p.text())
	case p.rest[0] == '(':
		p.rest = p.rest[1:]
		var all []string
		for p.err == nil && !p.skip(')') {
			all = append(all, p.value())
		}
		return "(" + strings.Join(all, " ") + ")"
	}
	return p.atom()
}

// text reads an atom or a string and returns what it stands for.
func (p *parser) text() string {
	p.blanks()
	switch {
	case strings.HasPrefix(p.rest, `"`):
		var b strings.Builder
		for i := 1; i < len(p.rest); i++ {
			switch c := p.rest[i]; c {
			case '"':
				p.rest = p.rest[i+1:]
				return b.String()
			case '\\':
				i++
				if i < len(p.rest) {
					b.WriteByte(p.rest[i])
				}
			default:
				b.WriteByte(c)
			}
		}
	case strings.HasPrefix(p.rest, "{"):
		size, rest, ok := strings.Cut(p.rest[1:], "}\r\n")
		n, err := strconv.Atoi(size)
		if ok && err == nil && n <= len(rest) {
			p.rest = rest[n:]
			return rest[:n]
		}
	default:
		return p.atom()
	}
	p.fail("string")
	return ""
}

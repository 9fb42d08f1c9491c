package search

import (
	"strconv"
	"strings"
)

// A node is IMAP data: NIL, a string or number, or a list.
type node struct {
	list   []node
	text   string
	isText bool
	isList bool
}

// maxNodeDepth bounds the nesting of lists.
const maxNodeDepth = 400

// parseNode reads one node and returns what follows.
func parseNode(s string, depth int) (n node, rest string, ok bool) {
	switch {
	case s == "" || depth > maxNodeDepth:
		return n, s, false
	case s[0] == '(':
		return parseList(s[1:], depth)
	case s[0] == '"':
		return parseQuoted(s[1:])
	case s[0] == '{':
		size, data, found := strings.Cut(s[1:], "}\r\n")
		length, err := strconv.ParseUint(size, 10, 31)
		if !found || err != nil || length > uint64(len(data)) {
			return n, s, false
		}
		return node{text: data[:length], isText: true}, data[length:], true
	}
	end := strings.IndexAny(s, " ()")
	if end < 0 {
		end = len(s)
	}
	word := s[:end]
	if strings.EqualFold(word, "NIL") {
		return n, s[end:], true
	}
	return node{text: word, isText: true}, s[end:], word != ""
}

func parseList(s string, depth int) (n node, rest string, ok bool) {
	n.isList = true
	for {
		s = strings.TrimLeft(s, " ")
		if strings.HasPrefix(s, ")") {
			return n, s[1:], true
		}
		child, rest, ok := parseNode(s, depth+1)
		if !ok {
			return n, s, false
		}
		n.list, s = append(n.list, child), rest
	}
}

func parseQuoted(s string) (n node, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return node{text: b.String(), isText: true}, s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return n, s, false
}

// A nodeReader takes nodes one after the other; behind the last are NILs.
type nodeReader struct{ list []node }

func (r *nodeReader) next() (n node) {
	if len(r.list) > 0 {
		n, r.list = r.list[0], r.list[1:]
	}
	return n
}

// A pair is a parameter of a Content-* field.
type pair struct{ name, value string }

func pairs(n node) (list []pair) {
	for i := 0; i+1 < len(n.list); i += 2 {
		list = append(list, pair{n.list[i].text, n.list[i+1].text})
	}
	return list
}

// A part is a node of the MIME tree as BODYSTRUCTURE describes it (RFC 3501 7.4.2).
type part struct {
	parent    *part
	children  []*part
	index     uint64 // among its siblings, from 1
	size      uint64
	text      map[PartOp]string // what it says about itself; what is missing it does not say
	params    []pair
	dispParam []pair
	languages []string
	envelope  bool
}

// parseParts makes the tree of a BODYSTRUCTURE.
func parseParts(structure string) (*part, bool) {
	n, _, ok := parseNode(structure, 0)
	if !ok || !n.isList {
		return nil, false
	}
	return newPart(n, nil, 1), true
}

func newPart(n node, parent *part, index int) *part {
	p := &part{parent: parent, index: uint64(index), text: make(map[PartOp]string)}
	r := nodeReader{n.list}
	for len(r.list) > 0 && r.list[0].isList {
		p.children = append(p.children, newPart(r.next(), p, len(p.children)+1))
	}
	if len(p.children) > 0 {
		p.text[PartType] = "multipart"
		p.put(PartSubtype, r.next())
		p.params = pairs(r.next())
	} else {
		p.single(&r)
	}
	if disposition := r.next(); disposition.isList && len(disposition.list) > 0 {
		p.put(PartDispositionType, disposition.list[0])
		if len(disposition.list) > 1 {
			p.dispParam = pairs(disposition.list[1])
		}
	}
	switch languages := r.next(); {
	case languages.isList:
		for _, l := range languages.list {
			p.languages = append(p.languages, l.text)
		}
	case languages.isText:
		p.languages = []string{languages.text}
	}
	p.put(PartLocation, r.next())
	return p
}

func (p *part) put(op PartOp, n node) {
	if n.isText {
		p.text[op] = n.text
	}
}

// single reads what a part without parts has up to its MD5.
func (p *part) single(r *nodeReader) {
	kind, subtype := r.next(), r.next()
	p.put(PartType, kind)
	p.put(PartSubtype, subtype)
	p.params = pairs(r.next())
	p.put(PartID, r.next())
	p.put(PartDescription, r.next())
	p.put(PartEncoding, r.next())
	p.size, _ = strconv.ParseUint(r.next().text, 10, 64)
	switch {
	case strings.EqualFold(kind.text, "text"):
		r.next() // lines
	case strings.EqualFold(kind.text, "message") && strings.EqualFold(subtype.text, "rfc822") && len(r.list) > 1 && r.list[1].isList:
		envelope := r.next()
		child := newPart(r.next(), p, 1)
		child.setEnvelope(envelope)
		p.children = []*part{child}
		r.next() // lines
	}
	p.put(PartMD5, r.next())
}

// setEnvelope takes over the envelope that a message/rfc822 part gives its message.
func (p *part) setEnvelope(n node) {
	p.envelope = true
	r := nodeReader{n.list}
	p.put(partDate, r.next())
	p.put(PartSubject, r.next())
	for _, op := range [...]PartOp{PartFrom, PartSender, PartReplyTo, PartTo, PartCc, PartBcc} {
		p.text[op] = addressText(r.next())
	}
	p.put(PartInReplyTo, r.next())
	p.put(PartMessageID, r.next())
}

// addressText writes addresses as in a header field.
func addressText(n node) string {
	var b strings.Builder
	for i, a := range n.list {
		if len(a.list) < 4 {
			continue
		}
		name, mailbox, host := a.list[0], a.list[2].text, a.list[3]
		switch {
		case !host.isText && mailbox == "":
			b.WriteString(";")
			continue
		case !host.isText:
			b.WriteString(mailbox + ": ")
			continue
		case i > 0 && !strings.HasSuffix(b.String(), ": "):
			b.WriteString(", ")
		}
		if name.text != "" {
			b.WriteString(phrase(name.text) + " ")
		}
		b.WriteString("<" + mailbox + "@" + host.text + ">")
	}
	return b.String()
}

// phrase quotes a name if it needs that.
func phrase(s string) string {
	if strings.Contains(s, "=?") || !strings.ContainsAny(s, `()<>[]:;@\,."`) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

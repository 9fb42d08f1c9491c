package thread

import "strings"

// IDs returns the message-ids of a field, normalized: without white space and needless quotes.
// Words that are none are left out.
func IDs(field string) []string {
	var ids []string
	for {
		id, rest, ok := nextID(field)
		if !ok {
			return ids
		}
		ids = append(ids, id)
		field = rest
	}
}

// FirstID returns the first message-id of a field, or "".
func FirstID(field string) string {
	id, _, _ := nextID(field)
	return id
}

// nextID finds the next message-id.
func nextID(s string) (id, rest string, ok bool) {
	for {
		_, s, ok = strings.Cut(s, "<")
		if !ok {
			return "", "", false
		}
		end := strings.IndexAny(s, ">\"([")
		if end < 0 {
			return "", "", false
		}
		if s[end] == '>' {
			if id := s[:end]; strings.Contains(id, "@") {
				return strip(id), s[end+1:], true
			}
			s = s[end+1:]
			continue
		}
		if id, rest, ok := parseID(s); ok {
			return id, rest, true
		}
	}
}

func strip(id string) string {
	return strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(id)
}

// parseID reads an id with quotes or comments (RFC 5322 3.6.4), behind the "<".
func parseID(s string) (id, rest string, ok bool) {
	p := idParser{rest: s}
	p.skip()
	var left string
	if left, ok = p.quoted(); !ok {
		left, ok = p.atom()
	}
	if !ok || !strings.HasPrefix(p.rest, "@") {
		return "", "", false
	}
	p.rest = p.rest[1:]
	p.skip()
	right, ok := p.atom()
	if !ok || !strings.HasPrefix(p.rest, ">") {
		return "", "", false
	}
	return left + "@" + right, p.rest[1:], true
}

type idParser struct{ rest string }

// skip skips white space and comments.
func (p *idParser) skip() {
	for depth := 0; p.rest != ""; p.rest = p.rest[1:] {
		switch c := p.rest[0]; {
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case c == '\\' && depth > 0 && len(p.rest) > 1:
			p.rest = p.rest[1:]
		case depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n':
			return
		}
	}
}

// atom reads words with dots between.
func (p *idParser) atom() (text string, ok bool) {
	var b strings.Builder
	for {
		n := strings.IndexAny(p.rest, " \t\r\n()<>[]:;@\\,.\"")
		if n < 0 {
			n = len(p.rest)
		}
		if n == 0 {
			return "", false
		}
		b.WriteString(p.rest[:n])
		p.rest = p.rest[n:]
		p.skip()
		if !strings.HasPrefix(p.rest, ".") {
			return b.String(), true
		}
		b.WriteByte('.')
		p.rest = p.rest[1:]
		p.skip()
	}
}

// quoted reads a text in quotes, without them.
func (p *idParser) quoted() (text string, ok bool) {
	if !strings.HasPrefix(p.rest, `"`) {
		return "", false
	}
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			p.skip()
			return b.String(), true
		case c == '\\' && i+1 < len(p.rest):
			i++
			b.WriteByte(p.rest[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", false
}

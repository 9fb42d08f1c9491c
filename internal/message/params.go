package message

import (
	"bytes"
	"slices"
	"strconv"
)

// A param is a parameter of a Content-* field.
type param struct{ name, value []byte }

// mediaType returns the type/subtype of the part as written, without blanks,
// and the parameters. It is nil if the field is missing or invalid.
func (p *Part) mediaType() ([]byte, []param) {
	value, ok := p.value(fieldContentType)
	if !ok {
		return nil, nil
	}
	s := scanner{data: value}
	s.skipLWSP()
	mediaType, ok := s.mediaType()
	if !ok {
		return nil, nil
	}
	return mediaType, s.params()
}

// mediaType reads type "/" subtype, after which a parameter or nothing must
// follow, or a type alone.
func (s *scanner) mediaType() ([]byte, bool) {
	var b []byte
	st := s.token(&b)
	if st != more || len(b) == 0 || s.peek() != '/' {
		return b, st != more && len(b) > 0
	}
	s.i++
	if s.skipLWSP() != more {
		return nil, false
	}
	b = append(b, '/')
	n := len(b)
	st = s.token(&b)
	if len(b) == n {
		return nil, false
	}
	return b, st == atEnd || st == more && s.peek() == ';'
}

// maxParams bounds the parameters of a field. Dovecot gives as many.
const maxParams = 128

// params reads the parameters up to the end. Those split or encoded by RFC 2231
// are joined, but not decoded, and come last.
func (s *scanner) params() []param {
	var plain []param
	var split []splitParam
	for !s.end() && len(plain)+len(split) < maxParams {
		name, value, ok := s.param()
		if !ok {
			s.nextParam()
			continue
		}
		if sp, ok := parseSplit(name, value); ok {
			split = append(split, sp)
			continue
		}
		plain = append(plain, param{name, value})
	}
	return joinSplit(plain, split)
}

// nextParam goes on to the semicolon after something invalid.
func (s *scanner) nextParam() {
	for s.i++; s.i < len(s.data) && s.data[s.i] != ';'; s.i++ {
	}
}

// param reads one "; name=value".
func (s *scanner) param() (name, value []byte, ok bool) {
	if s.peek() != ';' {
		return nil, nil, false
	}
	s.i++
	if s.skipLWSP() != more || s.token(&name) != more || s.peek() != '=' {
		return nil, nil, false
	}
	s.i++
	value = []byte{}
	if st := s.skipLWSP(); st != more {
		return name, value, st == atEnd
	}
	switch s.peek() {
	case '"':
		if s.quoted(&value) == failed {
			return nil, nil, false
		}
	case '=':
		// An encoded word without quotes, as some mailers write it.
		start := s.i
		for s.i < len(s.data) && s.data[s.i] != ';' && !is(s.data[s.i], classBlank) {
			s.i++
		}
		value = append(value, s.data[start:s.i]...)
		s.skipLWSP()
	default:
		if s.token(&value) == failed {
			return nil, nil, false
		}
	}
	return name, value, true
}

// A splitParam is one piece of a parameter in the form of RFC 2231: name*,
// name*0, name*0*.
type splitParam struct {
	full     []byte // the name as written
	name     []byte
	number   int // -1: the only piece
	extended bool
	value    []byte
}

func parseSplit(name, value []byte) (splitParam, bool) {
	star := bytes.IndexByte(name, '*')
	if star < 0 {
		return splitParam{}, false
	}
	sp := splitParam{full: name, name: name[:star], number: -1, value: value}
	rest := name[star+1:]
	if len(rest) == 0 {
		sp.extended = true
		return sp, true
	}
	if rest[len(rest)-1] == '*' {
		sp.extended = true
		rest = rest[:len(rest)-1]
	}
	n, err := strconv.Atoi(string(rest))
	if err != nil || n < 0 {
		return splitParam{}, false
	}
	sp.number = n
	return sp, true
}

// joinSplit appends the split parameters to the plain ones.
func joinSplit(plain []param, split []splitParam) []param {
	slices.SortStableFunc(split, func(a, b splitParam) int {
		if c := bytes.Compare(a.name, b.name); c != 0 {
			return c
		}
		return a.number - b.number
	})
	for len(split) > 0 {
		n := 1
		for n < len(split) && bytes.Equal(split[n].name, split[0].name) {
			n++
		}
		plain = joinPieces(plain, split[:n])
		split = split[n:]
	}
	return plain
}

// joinPieces joins the pieces of one parameter if their numbers have no gap.
func joinPieces(out []param, pieces []splitParam) []param {
	if pieces[0].number < 0 {
		out = append(out, param{pieces[0].full, pieces[0].value})
		if pieces = pieces[1:]; len(pieces) == 0 {
			return out
		}
	}
	extended := false
	for i, piece := range pieces {
		if piece.number != i {
			for _, piece := range pieces {
				out = append(out, param{piece.full, piece.value})
			}
			return out
		}
		extended = extended || piece.extended
	}
	name := slices.Clone(pieces[0].name)
	var value []byte
	if extended {
		name = append(name, '*')
		if !pieces[0].extended {
			value = append(value, "''"...)
		}
	}
	for _, piece := range pieces {
		if extended && !piece.extended {
			value = appendPercent(value, piece.value)
			continue
		}
		value = append(value, piece.value...)
	}
	return append(out, param{name, value})
}

// appendPercent appends a piece that was not extended to ones that were.
func appendPercent(b, value []byte) []byte {
	const hex = "0123456789abcdef"
	for _, c := range value {
		if c == '%' || c == '\'' || c == '*' || !is(c, classToken) || c >= 0x80 {
			b = append(b, '%', hex[c>>4], hex[c&15])
			continue
		}
		b = append(b, c)
	}
	return b
}

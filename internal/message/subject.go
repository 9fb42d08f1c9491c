package message

import "strings"

// BaseSubject returns what is left of a Subject field without what answers and forwards
// add to it (RFC 5256 2.1), in a form that does not tell upper from lower case. reply is true if
// something was left out that says so.
func BaseSubject(field string) (base string, reply bool) {
	text := DecodeHeader(nil, AppendUnfolded(nil, []byte(field)))
	s := string(AppendCasemap(nil, []byte(packBlanks(string(text)))))
	for {
		s = trimTrailer(s, &reply)
		s = trimLeaders(s, &reply)
		inner, ok := strings.CutPrefix(s, "[FWD:")
		if !ok || !strings.HasSuffix(inner, "]") {
			return s, reply
		}
		s, reply = strings.TrimSuffix(inner, "]"), true
	}
}

// packBlanks makes one blank of white space.
func packBlanks(s string) string {
	var b strings.Builder
	blank := false
	for _, c := range []byte(s) {
		switch c {
		case ' ', '\t', '\r', '\n':
			if !blank {
				b.WriteByte(' ')
			}
			blank = true
		default:
			b.WriteByte(c)
			blank = false
		}
	}
	return b.String()
}

// trimTrailer removes all (fwd) and blanks from the end.
func trimTrailer(s string, reply *bool) string {
	for {
		s = strings.TrimRight(s, " ")
		rest, ok := strings.CutSuffix(s, "(FWD)")
		if !ok {
			return s
		}
		s, *reply = rest, true
	}
}

// trimLeaders removes from the begin all that stands before a subject: Re:, Fwd: and [...].
func trimLeaders(s string, reply *bool) string {
	for {
		before := s
		s = trimLeader(s, reply)
		if rest, ok := trimBlob(s); ok && rest != "" {
			s = rest
		}
		if s == before {
			return s
		}
	}
}

// trimLeader removes a blank, and [...]Re[...]: or the like.
func trimLeader(s string, reply *bool) string {
	s = strings.TrimPrefix(s, " ")
	rest := s
	for {
		after, ok := trimBlob(rest)
		if !ok {
			break
		}
		rest = after
	}
	found := false
	for _, word := range [...]string{"RE", "FWD", "FW"} {
		if after, ok := strings.CutPrefix(rest, word); ok {
			rest, found = after, true
			break
		}
	}
	if !found {
		return s
	}
	rest = strings.TrimPrefix(rest, " ")
	if after, ok := trimBlob(rest); ok {
		rest = after
	}
	if rest, found = strings.CutPrefix(rest, ":"); !found {
		return s
	}
	*reply = true
	return rest
}

// trimBlob removes [...] and a blank behind it.
func trimBlob(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] == '[' {
		return s, false
	}
	return strings.TrimPrefix(s[end+2:], " "), true
}

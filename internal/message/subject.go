package message

import "strings"

// BaseSubject returns the base subject (RFC 5256 2.1) of a decoded subject, in
// its own case, and whether a marker of replies or forwards was removed.
func BaseSubject(subject string) (base string, reply bool) {
	s := strings.Join(strings.Fields(subject), " ")
	for {
		s, reply = trimTrailer(s, reply)
		s, reply = trimLeaders(s, reply)
		inner, ok := forwarded(s)
		if !ok {
			return s, reply
		}
		s, reply = inner, true
	}
}

// trimTrailer removes subj-trailer: "(fwd)" and blanks.
func trimTrailer(s string, reply bool) (string, bool) {
	for {
		s = strings.TrimRight(s, " ")
		if n := len(s) - len("(fwd)"); n >= 0 && strings.EqualFold(s[n:], "(fwd)") {
			s, reply = s[:n], true
			continue
		}
		return s, reply
	}
}

// trimLeaders removes subj-leader and subj-blob as long as something is left.
func trimLeaders(s string, reply bool) (string, bool) {
	for {
		s = strings.TrimLeft(s, " ")
		if rest, ok := trimRefwd(s); ok {
			s, reply = rest, true
			continue
		}
		rest, ok := trimBlob(s)
		if !ok || strings.TrimSpace(rest) == "" {
			return s, reply
		}
		s = rest
	}
}

// trimRefwd removes *subj-blob ("re" / "fw" / "fwd") [subj-blob] ":".
func trimRefwd(s string) (string, bool) {
	for {
		rest, ok := trimBlob(s)
		if !ok {
			break
		}
		s = rest
	}
	matched := false
	for _, word := range [...]string{"re", "fwd", "fw"} {
		if len(s) >= len(word) && strings.EqualFold(s[:len(word)], word) {
			s, matched = s[len(word):], true
			break
		}
	}
	if !matched {
		return "", false
	}
	s = strings.TrimLeft(s, " ")
	if rest, ok := trimBlob(s); ok {
		s = rest
	}
	return strings.CutPrefix(s, ":")
}

// trimBlob removes "[" *BLOBCHAR "]" and the blanks after it.
func trimBlob(s string) (string, bool) {
	if !strings.HasPrefix(s, "[") {
		return s, false
	}
	end := strings.IndexAny(s[1:], "[]")
	if end < 0 || s[1+end] != ']' {
		return s, false
	}
	return strings.TrimLeft(s[end+2:], " "), true
}

// forwarded returns what stands inside "[fwd:" and "]".
func forwarded(s string) (string, bool) {
	const prefix = "[fwd:"
	if len(s) <= len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) || s[len(s)-1] != ']' {
		return "", false
	}
	return s[len(prefix) : len(s)-1], true
}

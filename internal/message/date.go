package message

import (
	"bytes"
	"time"
)

// ParseDate parses the value of a Date field (RFC 5322 3.3 with its obsolete
// forms) as Dovecot does: the weekday is optional and not checked, comments are
// skipped, years of two and three digits and named zones are known, and an
// unknown zone is UTC.
func ParseDate(value []byte) (time.Time, bool) {
	s := dateScanner{scanner{data: value}}
	return s.date()
}

type dateScanner struct{ scanner }

func (s *dateScanner) date() (time.Time, bool) {
	none := time.Time{}
	if s.skipLWSP() != more {
		return none, false
	}
	word, st := s.word()
	if st == more && len(word) == 3 && !isDigit(word[0]) {
		if s.peek() == ',' {
			s.i++
			if s.skipLWSP() != more {
				return none, false
			}
		}
		word, st = s.word()
	}
	day, ok := number(word, 1, 2)
	if !ok || st != more || day < 1 || day > 31 {
		return none, false
	}
	word, st = s.word()
	month, ok := monthNumber(word)
	if !ok || st != more {
		return none, false
	}
	word, st = s.word()
	year, ok := yearNumber(word)
	if !ok || st != more {
		return none, false
	}
	hour, minute, second, ok := s.clock()
	if !ok {
		return none, false
	}
	zone := s.zone()
	t := time.Date(year, month, day, hour, minute, second, 0, time.FixedZone("", zone*60))
	return t, true
}

// word reads an atom.
func (s *dateScanner) word() ([]byte, step) {
	var b []byte
	st := s.atom(&b)
	return b, st
}

// clock reads hour ":" minute [":" second]; dots are taken for colons.
func (s *dateScanner) clock() (hour, minute, second int, ok bool) {
	word, st := s.word()
	hour, ok = number(word, 1, 2)
	if !ok || hour > 23 || st != more || !isColon(s.peek()) {
		return 0, 0, 0, false
	}
	s.i++
	if s.skipLWSP() != more {
		return 0, 0, 0, false
	}
	word, st = s.word()
	minute, ok = number(word, 2, 2)
	if !ok || minute > 59 || st == failed {
		return 0, 0, 0, false
	}
	if st == more && isColon(s.peek()) {
		s.i++
		if s.skipLWSP() != more {
			return 0, 0, 0, false
		}
		word, st = s.word()
		second, ok = number(word, 2, 2)
		if !ok || second > 60 || st == failed {
			return 0, 0, 0, false
		}
	}
	return hour, minute, second, true
}

func isColon(c byte) bool { return c == ':' || c == '.' }

// zone reads the zone, in minutes east of UTC.
func (s *dateScanner) zone() int {
	if s.end() {
		return 0
	}
	word, _ := s.word()
	if len(word) == 5 && (word[0] == '+' || word[0] == '-') {
		n, ok := number(word[1:], 4, 4)
		if !ok {
			return 0
		}
		minutes := n/100*60 + n%100
		if word[0] == '-' {
			return -minutes
		}
		return minutes
	}
	return namedZone(word)
}

// zones are the obsolete names of RFC 5322 4.3, in hours.
var zones = map[string]int{
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}

func namedZone(word []byte) int {
	return zones[string(bytes.ToUpper(word))] * 60
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// number reads a word of minLen to maxLen digits.
func number(word []byte, minLen, maxLen int) (int, bool) {
	if len(word) < minLen || len(word) > maxLen {
		return 0, false
	}
	n := 0
	for _, c := range word {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}

// yearNumber understands years of two digits (RFC 5322 4.3) and more.
func yearNumber(word []byte) (int, bool) {
	switch n, ok := number(word, 2, 4); {
	case !ok:
		return 0, false
	case len(word) == 2 && n < 50:
		return n + 2000, true
	case len(word) < 4:
		return n + 1900, true
	default:
		return n, true
	}
}

const monthNames = "janfebmaraprmayjunjulaugsepoctnovdec"

// monthNumber knows months by their first three letters.
func monthNumber(word []byte) (time.Month, bool) {
	if len(word) < 3 {
		return 0, false
	}
	i := bytes.Index([]byte(monthNames), bytes.ToLower(word[:3]))
	if i < 0 || i%3 != 0 {
		return 0, false
	}
	return time.Month(i/3 + 1), true
}

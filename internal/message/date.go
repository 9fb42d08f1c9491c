package message

import (
	"bytes"
	"time"
)

// ParseDate parses the value of a Date field (RFC 5322 3.3 with its obsolete
// forms) as Dovecot does: the weekday may be missing and may be any word of three
// letters, comments are skipped, dots may stand for colons, years may have two
// digits, and an unknown zone is UTC.
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
	if st == more && len(word) == 3 && s.peek() == ',' {
		s.i++
		if s.skipLWSP() != more {
			return none, false
		}
		word, st = s.word()
	}
	day, ok := number(word, 1, 2)
	if !ok || st != more {
		return none, false
	}
	word, st = s.word()
	month, ok := monthNumber(word)
	if !ok || st != more {
		return none, false
	}
	word, st = s.word()
	year, ok := yearNumber(word)
	if !ok || st != more || day < 1 || day > daysIn(year, month) {
		return none, false
	}
	hour, minute, second, ok := s.clock()
	if !ok {
		return none, false
	}
	zone, ok := s.zone()
	if !ok {
		return none, false
	}
	t := time.Date(year, month, day, hour, minute, second, 0, time.FixedZone("", zone*60))
	return t, true
}

func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

// word reads an atom.
func (s *dateScanner) word() ([]byte, step) {
	var b []byte
	st := s.atom(&b)
	return b, st
}

// clock reads hour ":" minute [":" second]. A leap second is the one before it.
func (s *dateScanner) clock() (hour, minute, second int, ok bool) {
	word, st := s.word()
	if hour, ok = number(word, 2, 2); !ok || hour > 23 || st != more || !s.colon() {
		return 0, 0, 0, false
	}
	word, st = s.word()
	if minute, ok = number(word, 2, 2); !ok || minute > 59 || st == failed {
		return 0, 0, 0, false
	}
	if st != more || !isColon(s.peek()) {
		return hour, minute, 0, true
	}
	if !s.colon() {
		return 0, 0, 0, false
	}
	word, st = s.word()
	if second, ok = number(word, 2, 2); !ok || second > 60 || st == failed {
		return 0, 0, 0, false
	}
	return hour, minute, min(second, 59), true
}

// colon skips a colon, after which something must follow.
func (s *dateScanner) colon() bool {
	if !isColon(s.peek()) {
		return false
	}
	s.i++
	return s.skipLWSP() == more
}

func isColon(c byte) bool { return c == ':' || c == '.' }

// zone reads the zone, in minutes east of UTC. It may be missing.
func (s *dateScanner) zone() (int, bool) {
	if s.end() {
		return 0, true
	}
	word, st := s.word()
	if len(word) == 0 {
		return 0, false
	}
	if len(word) != 5 || word[0] != '+' && word[0] != '-' {
		return namedZone(word), st != failed
	}
	n, ok := number(word[1:], 4, 4)
	if !ok {
		return 0, true
	}
	minutes := n/100*60 + n%100
	if word[0] == '-' {
		minutes = -minutes
	}
	return minutes, true
}

// zones are the obsolete names of RFC 5322 4.3, in hours.
var zones = map[string]int{
	"EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
}

// militaryZones are the letters for the hours from -12 to 12; J is not used.
const militaryZones = "YXWVUTSRQPONZABCDEFGHIKLM"

func namedZone(word []byte) int {
	if len(word) == 1 {
		if i := bytes.IndexByte([]byte(militaryZones), word[0]); i >= 0 {
			return (i - 12) * 60
		}
		return 0
	}
	return zones[string(word)] * 60
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

// yearNumber understands years of four digits and of two, up to 2069.
func yearNumber(word []byte) (int, bool) {
	n, ok := number(word, 2, 4)
	switch {
	case !ok || len(word) == 3:
		return 0, false
	case len(word) == 2 && n < 70:
		return n + 2000, true
	case len(word) == 2:
		return n + 1900, true
	}
	return n, true
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

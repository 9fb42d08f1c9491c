package postscreen

import (
	"strconv"
	"strings"
	"time"
)

// test numbers the tests in the order of the cache's table.
type test int

const (
	pregreet test = iota
	dnsblTest
	pipelining
	nonSMTP
	bareNewline
	testCount
)

// A testSet is a set of tests.
type testSet uint8

func setOf(t test) testSet { return 1 << t }

func (s testSet) has(t test) bool { return s&setOf(t) != 0 }

const (
	earlyTests testSet = 1<<pregreet | 1<<dnsblTest
	lateTests  testSet = 1<<pipelining | 1<<nonSMTP | 1<<bareNewline
)

// stamps say until when each test need not be repeated, in seconds since 1970.
type stamps [testCount]int64

const (
	stampNew      = 0 // not tested yet
	stampDisabled = 1 // the test was turned off, or failed
)

// todo are the enabled tests that are due.
func (s *stamps) todo(enabled testSet, now int64) (set testSet, fresh bool) {
	for t := range testCount {
		if enabled.has(t) && now > s[t] {
			set |= setOf(t)
		}
		fresh = fresh || s[t] == stampNew
	}
	return set, fresh
}

// parseStamps reads the value of the table; what is missing or no number was turned off.
func parseStamps(value string) (s stamps) {
	for t := range testCount {
		field, rest, _ := strings.Cut(value, ";")
		value = rest
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil || n < 0 {
			n = stampDisabled
		}
		s[t] = n
	}
	return s
}

// format makes the value of the table. Tests that are turned off are marked so.
func (s *stamps) format() string {
	var b []byte
	for t := range testCount {
		if t > 0 {
			b = append(b, ';')
		}
		b = strconv.AppendInt(b, s[t], 10)
	}
	return string(b)
}

// action is what is done about a client that fails a test.
type action uint8

const (
	ignore  action = iota // go on
	enforce               // refuse its mail
	drop                  // disconnect
)

var actions = map[string]action{"ignore": ignore, "continue": ignore, "enforce": enforce, "drop": drop}

// lateTest is what is configured for a test of the dialogue.
type lateTest struct {
	action action
	ttl    time.Duration
}

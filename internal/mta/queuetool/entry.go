package queuetool

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
)

// An entry goes over the socket as "postqueue -j" shows it. A queue may have
// hundreds of thousands, so that this one line of JSON is written and read
// without reflection; what is written otherwise encoding/json reads.

// appendEntry appends an entry, with a blank after each comma and colon.
func appendEntry(b []byte, e *Entry) []byte {
	b = appendQuoted(append(b, `{"queue_name": `...), e.Queue)
	b = appendQuoted(append(b, `, "queue_id": `...), e.ID)
	b = strconv.AppendInt(append(b, `, "arrival_time": `...), e.Arrival, 10)
	b = strconv.AppendInt(append(b, `, "message_size": `...), e.Size, 10)
	b = strconv.AppendBool(append(b, `, "forced_expire": `...), e.Expired)
	b = appendQuoted(append(b, `, "sender": `...), e.Sender)
	b = append(b, `, "recipients": [`...)
	for i := range e.Recipients {
		r := &e.Recipients[i]
		if i > 0 {
			b = append(b, ", "...)
		}
		b = appendQuoted(append(b, `{"address": `...), r.Address)
		if r.Reason != "" {
			b = appendQuoted(append(b, `, "delay_reason": `...), r.Reason)
		}
		b = append(b, '}')
	}
	return append(b, "]}"...)
}

// shortEscapes are the control characters that have a short form (RFC 8259 7).
var shortEscapes = map[byte]byte{'\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't'}

// appendQuoted appends a JSON string. Unlike encoding/json it leaves "<" and
// ">" alone, which addresses in reasons have.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case shortEscapes[c] != 0:
			b = append(b, '\\', shortEscapes[c])
		default:
			b = fmt.Appendf(b, "\\u%04X", c)
		}
	}
	return append(b, '"')
}

// entryStart is how a line that appendEntry wrote begins.
var entryStart = []byte(`{"queue_name": "`)

// readEntry reads what appendEntry wrote. It reports false for anything else,
// JSON or not.
func readEntry(line []byte, e *Entry) bool {
	s := scanner{b: line}
	*e = Entry{Recipients: e.Recipients[:0]}
	s.text(`{"queue_name": `)
	e.Queue = s.string()
	s.text(`, "queue_id": `)
	e.ID = s.string()
	s.text(`, "arrival_time": `)
	e.Arrival = s.number()
	s.text(`, "message_size": `)
	e.Size = s.number()
	s.text(`, "forced_expire": `)
	e.Expired = s.bool()
	s.text(`, "sender": `)
	e.Sender = s.string()
	s.text(`, "recipients": [`)
	for !s.failed && !s.try("]") {
		if len(e.Recipients) > 0 {
			s.text(", ")
		}
		var r Recipient
		s.text(`{"address": `)
		r.Address = s.string()
		if s.try(`, "delay_reason": `) {
			r.Reason = s.string()
		}
		s.text("}")
		e.Recipients = append(e.Recipients, r)
	}
	s.text("}")
	return !s.failed && len(bytes.TrimSpace(s.b)) == 0 && e.ID != ""
}

// A scanner takes a line apart. A failure sticks.
type scanner struct {
	b      []byte
	failed bool
}

func (s *scanner) fail() { s.failed, s.b = true, nil }

// try takes a text, if it comes next.
func (s *scanner) try(text string) bool {
	if len(s.b) < len(text) || string(s.b[:len(text)]) != text {
		return false
	}
	s.b = s.b[len(text):]
	return true
}

func (s *scanner) text(text string) {
	if !s.try(text) {
		s.fail()
	}
}

func (s *scanner) bool() bool {
	if s.try("true") {
		return true
	}
	s.text("false")
	return false
}

func (s *scanner) number() int64 {
	n := 0
	for n < len(s.b) && (s.b[n] >= '0' && s.b[n] <= '9' || s.b[n] == '-') {
		n++
	}
	v, err := strconv.ParseInt(string(s.b[:n]), 10, 64)
	if err != nil {
		s.fail()
		return 0
	}
	s.b = s.b[n:]
	return v
}

// string takes a string. Those with escapes are left to encoding/json.
func (s *scanner) string() string {
	if !s.try(`"`) {
		s.fail()
		return ""
	}
	escaped := false
	for i := 0; i < len(s.b); i++ {
		switch c := s.b[i]; {
		case c == '\\':
			escaped = true
			i++
		case c == '"':
			text := string(s.b[:i])
			if escaped && json.Unmarshal([]byte(`"`+text+`"`), &text) != nil {
				s.fail()
				return ""
			}
			if !s.failed {
				s.b = s.b[i+1:]
			}
			return text
		case c < ' ':
			s.fail()
			return ""
		}
	}
	s.fail()
	return ""
}

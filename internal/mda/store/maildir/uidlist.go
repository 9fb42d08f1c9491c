package maildir

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The names of the files about the messages.
const (
	uidlistName  = "dovecot-uidlist"
	keywordsName = "dovecot-keywords"
)

// maxUIDList bounds the size of a uidlist that is read.
const maxUIDList = 4 << 30

// An Entry is a message in the uidlist.
type Entry struct {
	UID    uint32
	Base   string
	Fields string // such as "S157 W164 Gabc", or ""
}

// Get returns the value of a field, "" if it is missing.
func (e *Entry) Get(key byte) string {
	for rest := e.Fields; rest != ""; {
		var field string
		field, rest, _ = strings.Cut(rest, " ")
		if field != "" && field[0] == key {
			return field[1:]
		}
	}
	return ""
}

// number returns the value of a field that is a number.
func (e *Entry) number(key byte) (int64, bool) {
	v, err := strconv.ParseUint(e.Get(key), 10, 63)
	return int64(v), err == nil
}

// GUID returns the GUID of the message.
func (e *Entry) GUID() string {
	if g := e.Get('G'); g != "" {
		return g
	}
	return e.Base
}

// UIDL returns the message's own POP3 UIDL, or "".
func (e *Entry) UIDL() string {
	for rest := e.Fields; rest != ""; {
		var field string
		field, rest, _ = strings.Cut(rest, " ")
		if field == "P" {
			return e.Base
		}
		if field != "" && field[0] == 'P' {
			return field[1:]
		}
	}
	return ""
}

// A uidlist is the content of dovecot-uidlist.
type uidlist struct {
	validity uint32 // 0 if unknown
	next     uint32
	guid     [16]byte
	extra    string // header fields that are kept as they are
	entries  []Entry
}

// errUIDList is what damage of a uidlist is.
var errUIDList = errors.New("damaged")

// parseUIDList reads a uidlist. If it returns an error, which describes the first damage,
// the list has what can be read.
func parseUIDList(text string) (l uidlist, err error) {
	l.next = 1
	header, rest, complete := strings.Cut(text, "\n")
	if !complete {
		header = header[:strings.LastIndexByte(header, ' ')+1] // the last number may be cut
	}
	version, err := l.parseHeader(header)
	if err == nil && !complete {
		err = fmt.Errorf("%w: header is cut", errUIDList)
	}
	l.next = max(l.next, 1)
	l.entries = make([]Entry, 0, strings.Count(rest, "\n"))
	for n := 2; rest != ""; n++ {
		line, after, complete := strings.Cut(rest, "\n")
		rest = after
		var why string
		if !complete {
			why = "line is cut"
		} else {
			why = l.parseLine(line, version)
		}
		if why != "" && err == nil {
			err = fmt.Errorf("%w: line %d: %s", errUIDList, n, why)
		}
	}
	l.dropDuplicates()
	return l, err
}

func (l *uidlist) parseHeader(line string) (version int, err error) {
	number := func(s string) uint32 {
		v, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			return 0
		}
		return uint32(v)
	}
	fields := strings.Fields(line)
	switch {
	case len(fields) == 3 && fields[0] == "1":
		version, l.validity, l.next = 1, number(fields[1]), number(fields[2])
	case len(fields) > 0 && fields[0] == "3":
		version = 3
		for _, f := range fields[1:] {
			switch f[0] {
			case 'V':
				l.validity = number(f[1:])
			case 'N':
				l.next = number(f[1:])
			case 'G':
				if len(f) == 33 {
					if g, err := hex.DecodeString(f[1:]); err == nil {
						l.guid = [16]byte(g)
					}
				}
			default:
				l.extra += " " + f
			}
		}
	default:
		return 3, fmt.Errorf("%w: header %.40q", errUIDList, line)
	}
	if l.validity == 0 || l.next == 0 {
		return version, fmt.Errorf("%w: header %.80q has no uidvalidity or next uid", errUIDList, line)
	}
	return version, nil
}

// parseLine adds a message. It returns what is wrong with the line.
func (l *uidlist) parseLine(line string, version int) (why string) {
	digits, rest, ok := strings.Cut(line, " ")
	uid, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || uid == 0 || uid == 1<<32-1 || digits[0] == '+' {
		return fmt.Sprintf("no uid in %.80q", line)
	}
	e := Entry{UID: uint32(uid), Base: strings.TrimLeft(rest, " ")}
	if version == 3 {
		// A field has no colon at its begin, and a base name none at all.
		fields, base, ok := strings.Cut(" "+rest, " :")
		if !ok {
			return fmt.Sprintf("no file name in %.80q", line)
		}
		e.Fields, e.Base = strings.TrimSpace(fields), base
	}
	if !validBase(e.Base) {
		return fmt.Sprintf("file name %.80q", e.Base)
	}
	if n := len(l.entries); n > 0 && l.entries[n-1].UID >= e.UID {
		return fmt.Sprintf("uid %d after %d", e.UID, l.entries[n-1].UID)
	}
	l.entries = append(l.entries, e)
	l.next = max(l.next, e.UID+1)
	return ""
}

func validBase(base string) bool {
	return base != "" && base[0] != '.' && len(base) <= 255 && !strings.ContainsAny(base, "/:\x00\n")
}

// dropDuplicates leaves of lines with one file name the last. They are no damage: Dovecot
// appends a message that was moved away and comes back while the file still has it.
func (l *uidlist) dropDuplicates() {
	last := make(map[string]uint32, len(l.entries))
	for i := range l.entries {
		last[l.entries[i].Base] = l.entries[i].UID
	}
	if len(last) < len(l.entries) {
		l.entries = slices.DeleteFunc(l.entries, func(e Entry) bool { return last[e.Base] != e.UID })
	}
}

// append writes the list.
func (l *uidlist) append(b []byte) []byte {
	b = append(b, "3 V"...)
	b = strconv.AppendUint(b, uint64(l.validity), 10)
	b = append(b, " N"...)
	b = strconv.AppendUint(b, uint64(l.next), 10)
	b = append(b, " G"...)
	b = hex.AppendEncode(b, l.guid[:])
	b = append(b, l.extra...)
	b = append(b, '\n')
	return appendEntries(b, l.entries)
}

// appendEntries writes lines.
func appendEntries(b []byte, entries []Entry) []byte {
	for i := range entries {
		e := &entries[i]
		b = strconv.AppendUint(b, uint64(e.UID), 10)
		if e.Fields != "" {
			b = append(b, ' ')
			b = append(b, e.Fields...)
		}
		b = append(b, " :"...)
		b = append(b, e.Base...)
		b = append(b, '\n')
	}
	return b
}

// find returns the position of the entry with the uid, or where it would be.
func (l *uidlist) find(uid uint32) (i int, ok bool) {
	return slices.BinarySearchFunc(l.entries, uid, func(e Entry, uid uint32) int {
		switch {
		case e.UID < uid:
			return -1
		case e.UID > uid:
			return 1
		}
		return 0
	})
}

package milter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// The answers of filters.
const (
	replyAccept     = 'a'
	replyContinue   = 'c'
	replyDiscard    = 'd'
	replyProgress   = 'p' // not done yet
	replyQuarantine = 'q' // changes nothing else: the answer comes behind it
	replyReject     = 'r'
	replySkip       = 's' // no more of this kind
	replyTempfail   = 't'
	replyText       = 'y'
	replyShutdown   = '4'

	changeAddHeader    = 'h'
	changeInsertHeader = 'i'
	changeHeader       = 'm'
	changeFrom         = 'e'
	changeAddRcpt      = '+'
	changeAddRcptArgs  = '2'
	changeDeleteRcpt   = '-'
	changeBody         = 'b'
)

var replyNames = map[byte]string{
	replyAccept: "SMFIR_ACCEPT", replyContinue: "SMFIR_CONTINUE", replyDiscard: "SMFIR_DISCARD", replyProgress: "SMFIR_PROGRESS",
	replyQuarantine: "SMFIR_QUARANTINE", replyReject: "SMFIR_REJECT", replySkip: "SMFIR_SKIP", replyTempfail: "SMFIR_TEMPFAIL",
	replyText: "SMFIR_REPLYCODE", replyShutdown: "SMFIR_SHUTDOWN", changeAddHeader: "SMFIR_ADDHEADER",
	changeInsertHeader: "SMFIR_INSHEADER", changeHeader: "SMFIR_CHGHEADER", changeFrom: "SMFIR_CHGFROM", changeAddRcpt: "SMFIR_ADDRCPT",
	changeAddRcptArgs: "SMFIR_ADDRCPT_PAR", changeDeleteRcpt: "SMFIR_DELRCPT", changeBody: "SMFIR_REPLBODY",
}

// A reply is one packet of a filter.
type reply struct {
	code  byte
	index uint32 // of a header
	name  string // of a header; an address; the text of replyText
	value string // of a header; ESMTP parameters
	body  []byte // of changeBody: valid until the next packet is read
}

// errExtra is data behind an answer that has none.
var errExtra = errors.New("data where there is none")

// parseReply reads the data of a packet. Packets of other kinds are for the caller to judge.
func parseReply(code byte, data []byte) (r reply, err error) {
	r.code = code
	switch code {
	case replyAccept, replyContinue, replyDiscard, replyProgress, replyReject, replySkip, replyTempfail, replyShutdown:
		if len(data) > 0 {
			return r, errExtra
		}
		return r, nil
	case replyText, replyQuarantine:
		text, _, _ := bytes.Cut(data, []byte{0})
		r.name = string(text)
		return r, nil
	case changeBody:
		r.body = data
		return r, nil
	}
	f := fields{data: data}
	switch code {
	case changeHeader, changeInsertHeader:
		r.index, r.name, r.value = f.number(), f.text(), f.text()
	case changeAddHeader:
		r.name, r.value = f.text(), f.text()
	case changeAddRcpt, changeDeleteRcpt:
		r.name = f.text()
	case changeFrom, changeAddRcptArgs:
		r.name = f.text()
		if len(f.data) > 0 {
			r.value = f.text()
		}
	default:
		return r, nil
	}
	return r, f.end()
}

// fields reads the data of a packet. It keeps its first error.
type fields struct {
	data []byte
	err  error
}

func (f *fields) number() uint32 {
	if len(f.data) < 4 {
		f.fail("input packet too short for network long")
		return 0
	}
	n := binary.BigEndian.Uint32(f.data)
	f.data = f.data[4:]
	return n
}

func (f *fields) text() string {
	if len(f.data) == 0 {
		f.fail("packet too short for string")
		return ""
	}
	text, rest, ok := bytes.Cut(f.data, []byte{0})
	if !ok {
		f.fail("missing string null terminator")
		return ""
	}
	f.data = rest
	return string(text)
}

func (f *fields) fail(text string) {
	if f.err == nil {
		f.err = errors.New(text)
	}
	f.data = nil
}

// end is the error, which data that is left over is too.
func (f *fields) end() error {
	if f.err == nil && len(f.data) > 0 {
		return fmt.Errorf("left-over data %d bytes", len(f.data))
	}
	return f.err
}

// parseText reads an SMTP reply of a filter, of one or more lines. Two percent signs stand
// for one, as Sendmail's filters write them, and one for nothing.
func parseText(text string) (smtp.Reply, error) {
	malformed := fmt.Errorf("malformed reply: %s", text)
	if len(text) < 4 || text[0] != '4' && text[0] != '5' || !isDigit(text[1]) || !isDigit(text[2]) || text[3] != ' ' && text[3] != '-' ||
		len(text) > 4 && isDigit(text[4]) && text[4] != text[0] {
		return smtp.Reply{}, malformed
	}
	r := smtp.Reply{Code: int(text[0]-'0')*100 + int(text[1]-'0')*10 + int(text[2]-'0')}
	code := text[:3]
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(withoutPercent(text), "\r\n"), "\n") {
		line = visible(strings.TrimSuffix(line, "\r"))
		if len(line) > 3 && line[:3] == code && (line[3] == ' ' || line[3] == '-') {
			line = line[4:]
		}
		e, n := smtp.ParseEnhanced(line)
		if len(lines) == 0 {
			r.Enhanced = e
		}
		if n > 0 && e == r.Enhanced {
			line = strings.TrimLeft(line[n:], " ")
		}
		lines = append(lines, line)
	}
	r.Text = strings.Join(lines, "\n")
	return r, nil
}

// visible replaces characters that would end the reply before its time.
func visible(line string) string {
	b := []byte(line)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func withoutPercent(text string) string {
	if strings.IndexByte(text, '%') < 0 {
		return text
	}
	b := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' {
			if i++; i == len(text) {
				break
			}
		}
		b = append(b, text[i])
	}
	return string(b)
}

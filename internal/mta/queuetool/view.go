package queuetool

import (
	"bufio"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mta/headercheck"
	"github.com/dovetail-mail/dovetail/internal/mta/queuefile"
)

// parts are what of a message postcat shows.
type parts struct{ envelope, header, body bool }

// A section is the part of a message that a record stands in.
type section int

const (
	envelope section = iota // before the content, or behind it
	header
	body
)

// A view shows the records of one message as postcat does.
type view struct {
	parts
	offsets bool // option -o
	types   bool // -d
	raw     bool // -r: pointers are not followed
	verbose bool // -v
	start   int64

	name    string
	w       *bufio.Writer
	warn    func(format string, args ...any)
	section section
	last    byte // type of the record before
}

// recordNames are what postcat calls records.
var recordNames = map[byte]string{
	queuefile.TypeSize: "message_size", queuefile.TypeTime: "message_arrival_time", queuefile.TypeCreated: "queue_file_create_time",
	queuefile.TypeFullName: "sender_fullname", queuefile.TypeInspector: "content_inspector", queuefile.TypeFilter: "content_filter",
	queuefile.TypeSender: "sender", queuefile.TypeDone: "done_recipient", queuefile.TypeCanceled: "canceled_recipient",
	queuefile.TypeRecipient: "recipient", queuefile.TypeOriginal: "original_recipient", queuefile.TypeWarn: "warning_message_time",
	queuefile.TypeAttribute: "named_attribute", queuefile.TypePointer: "pointer_record", queuefile.TypeKilled: "killed_record",
	queuefile.TypePadding: "padding", queuefile.TypeReceipt: "return_receipt", queuefile.TypeErrorsTo: "errors_to",
	queuefile.TypePriority: "priority", queuefile.TypeVERP: "verp_delimiters", queuefile.TypeRedirect: "redirect_to",
	queuefile.TypeRet: "dsn_return_flags", queuefile.TypeEnvID: "dsn_envelope_id", queuefile.TypeOrcpt: "dsn_original_recipient",
	queuefile.TypeNotify: "dsn_notify_flags",
}

// shown says whether the current section is wanted.
func (v *view) shown() bool {
	return v.section == envelope && v.envelope || v.section == header && v.header || v.section == body && v.body
}

// begin opens a new message.
func (v *view) begin(name string) {
	v.name, v.section, v.last = name, envelope, 0
	if v.start == 0 && v.envelope {
		fmt.Fprintf(v.w, "*** ENVELOPE RECORDS %s ***\n", name)
	}
}

// head writes what options -o and -d put before a record.
func (v *view) head(offset int64, typ byte) {
	if v.offsets {
		fmt.Fprintf(v.w, "%9d ", offset)
	}
	if v.types {
		fmt.Fprintf(v.w, "%3d ", typ)
	}
}

// mark writes the line between two sections.
func (v *view) mark(offset int64, typ byte, text string) {
	if v.envelope {
		v.head(offset, typ)
		fmt.Fprintf(v.w, "*** %s %s ***\n", text, v.name)
	}
}

// record shows a record, and reports whether the end of the message is reached.
func (v *view) record(offset int64, rec queuefile.Record) (end bool) {
	switch rec.Type {
	case queuefile.TypeMessage:
		v.mark(offset, rec.Type, "MESSAGE CONTENTS")
		v.section = header
		return false
	case queuefile.TypeExtracted:
		if v.last == queuefile.TypePiece && v.shown() {
			v.w.WriteByte('\n') //nolint:errcheck // the buffer keeps its first error
		}
		v.mark(offset, rec.Type, "HEADER EXTRACTED")
		v.section = envelope
		return false
	case queuefile.TypeEnd:
		v.mark(offset, rec.Type, "MESSAGE FILE END")
		return !v.raw
	case queuefile.TypePadding, queuefile.TypePointer:
		if v.verbose && v.shown() {
			v.field(offset, rec)
		}
		return false
	}
	text := v.section != envelope && (rec.Type == queuefile.TypeLine || rec.Type == queuefile.TypePiece)
	if text && v.section == header && v.last != queuefile.TypePiece && endsHeader(rec.Data) {
		v.section = body
	}
	if v.shown() {
		if text {
			v.text(offset, rec)
		} else {
			v.field(offset, rec)
		}
	}
	v.last = rec.Type
	return false
}

// endsHeader reports whether a line is none of a header.
func endsHeader(line []byte) bool {
	return len(line) == 0 || line[0] != ' ' && line[0] != '\t' && !headercheck.IsHeader(string(line))
}

// text shows a line of the content, or a piece of one.
func (v *view) text(offset int64, rec queuefile.Record) {
	v.head(offset, rec.Type)
	line := rec.Type == queuefile.TypeLine
	switch {
	case v.verbose && line:
		v.w.WriteString("regular_text: ") //nolint:errcheck // the buffer keeps its first error
	case v.verbose:
		v.w.WriteString("unterminated_text: ") //nolint:errcheck // as above
	}
	v.w.Write(rec.Data) //nolint:errcheck // as above
	if line || v.verbose || v.offsets {
		v.w.WriteByte('\n') //nolint:errcheck // as above
	}
}

// field shows any other record.
func (v *view) field(offset int64, rec queuefile.Record) {
	name, value := recordNames[rec.Type], string(rec.Data)
	if name == "" {
		name = "unknown_record_type"
	}
	switch rec.Type {
	case queuefile.TypeTime, queuefile.TypeWarn:
		value = date(value)
	case queuefile.TypeAttribute:
		attr, setting, ok := strings.Cut(value, "=")
		if !ok || attr == "" {
			v.warn("%s: malformed attribute: %.100s", v.name, value)
			return
		}
		if attr == "create_time" {
			name, value = attr, date(setting)
		}
	}
	v.head(offset, rec.Type)
	fmt.Fprintf(v.w, "%s: %s\n", name, value)
}

// date is a time that begins with its seconds.
func date(text string) string {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return text
	}
	seconds, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return text
	}
	return time.Unix(seconds, 0).Format(time.ANSIC)
}

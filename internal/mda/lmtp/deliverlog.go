package lmtp

import (
	"io"
	"strconv"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// standardFormat is the default of deliver_log_format, which is written without
// parsing it.
const standardFormat = "msgid=%m: %$"

// Limits of what is looked at and written for a log line.
const (
	maxHeaderScan = 64 << 10
	maxFieldText  = 1000 // of a header field
	maxLoggedText = 80
)

// A deliverLog is deliver_log_format.
type deliverLog struct{ format string }

func newDeliverLog(format string) *deliverLog { return &deliverLog{format} }

func (f *deliverLog) print(log *maillog.Logger, result string, env *Envelope, msg Content) {
	fields := readLogFields(msg, env.HeaderLen)
	if f.format == standardFormat {
		log.Append(maillog.Info, func(b []byte) []byte {
			b = append(append(b, "msgid="...), fields.messageID...)
			return append(append(b, ": "...), result...)
		})
		return
	}
	size := strconv.FormatInt(msg.Size(), 10)
	text, _ := dovecot.ExpandVars(f.format, &dovecot.Vars{Table: []dovecot.Var{ // an unknown variable shows as such
		{Key: '$', Name: "message", Value: result}, {Key: 'm', Name: "msgid", Value: fields.messageID},
		{Key: 's', Name: "subject", Value: fields.subject}, {Key: 'f', Name: "from", Value: fields.from},
		{Key: 'e', Name: "from_envelope", Value: env.Sender}, {Name: "to_envelope", Value: env.Recipient},
		{Key: 'p', Name: "size", Value: size}, {Key: 'w', Name: "vsize", Value: size},
		{Name: "session", Value: env.Session}, {Name: "storage_id"}, {Name: "delivery_time"}, {Name: "session_time"},
	}})
	log.Info(text)
}

// logFields are header fields that log lines may have.
type logFields struct{ messageID, subject, from string }

// readLogFields reads the header of a message, of which skip bytes are this
// server's own.
func readLogFields(msg Content, skip int64) logFields {
	f := logFields{messageID: "unspecified"}
	limit := min(msg.Size()-skip, maxHeaderScan)
	h := message.NewHeaderReader(io.NewSectionReader(msg, skip, limit), maxFieldText)
	for {
		field, ok := h.Next()
		if !ok {
			return f
		}
		switch {
		case len(field.Name) == len("Message-ID") && strings.EqualFold(string(field.Name), "Message-ID"):
			f.messageID = logged(field.Value())
		case len(field.Name) == len("Subject") && strings.EqualFold(string(field.Name), "Subject"):
			f.subject = logged(field.Value())
		case len(field.Name) == len("From") && strings.EqualFold(string(field.Name), "From"):
			if addrs := message.ParseAddresses(field.Value(), 1); len(addrs) > 0 {
				f.from = logged([]byte(addrs[0].Mailbox + "@" + addrs[0].Domain))
			}
		}
	}
}

// logged is a field's text as log lines show it, in one line and not too long.
func logged(value []byte) string {
	text := strings.TrimSpace(string(message.AppendUnfolded(nil, value)))
	if len(text) > maxLoggedText {
		return text[:maxLoggedText-3] + "..."
	}
	return text
}

package queuefile

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Size is the first record of a queue file. Its sizes count records with their
// heads, not bytes of the message.
type Size struct {
	Content    int64 // from the first content record to X, as the file was made
	Offset     int64 // of the first content record
	Recipients int64 // of any state
	Flags      int64 // FlagMixed and the OR of all NOTIFY, shifted by one
	Length     int64 // as Content, after milters' changes; shown as the size; 0 is Content
	Options    int64 // UTF8Requested and the like
}

// Bits of [Size.Flags].
const (
	FlagMixed   = 1 // recipients are mixed with other records
	notifyShift = 1
	maxFlags    = FlagMixed | 15<<notifyShift
)

// Bits of [Size.Options].
const (
	UTF8Requested = 1 // the client asked for SMTPUTF8
	UTF8Header    = 2 // there is UTF-8 in a header
	UTF8Sender    = 4
)

// sizeFormat is six numbers at fixed places.
const sizeFormat = "%15d %15d %15d %15d %15d %15d"

// sizeRecord is the length of the record with its head.
const sizeRecord = 97

// Bits of [Recipient.Notify] (RFC 3461 NOTIFY).
const (
	NotifyNever   = 1
	NotifySuccess = 2
	NotifyFailure = 4
	NotifyDelay   = 8
)

// Bits of the attribute trace_flags.
const (
	TraceProbe  = 256  // an address probe
	TraceVerify = 512  // sendmail -bv
	TraceRecord = 1024 // sendmail -v
)

// Names of attributes that this package knows.
const (
	attrCreated   = "create_time"
	attrEncoding  = "encoding"
	attrNotify    = "notify_flags"
	attrOrcpt     = "dsn_orig_rcpt"
	attrRet       = "ret_flags"
	attrEnvID     = "envelope_id"
	attrContext   = "rewrite_context"
	attrTrace     = "trace_flags"
	AttrLogIdent  = "log_ident"
	AttrSASLMech  = "sasl_method"
	AttrSASLUser  = "sasl_username"
	AttrSASLFrom  = "sasl_sender"
	AttrLogName   = "log_client_name"
	AttrLogAddr   = "log_client_address"
	AttrLogPort   = "log_client_port"
	AttrLogOrigin = "log_message_origin"
	AttrLogHelo   = "log_helo_name"
	AttrLogProto  = "log_protocol_name"
	AttrName      = "client_name"
	AttrReverse   = "reverse_client_name"
	AttrAddr      = "client_address"
	AttrPort      = "client_port"
	AttrHelo      = "helo_name"
	AttrProto     = "protocol_name"
	AttrFamily    = "client_address_type"
)

// A Recipient is an address with what belongs to it.
type Recipient struct {
	Address   string // internal form, without quotes
	Original  string // before aliasing; empty if that was not said
	Orcpt     string // "type;address", decoded; or empty
	Notify    int    // Notify bits
	Type      byte   // TypeRecipient, TypeDone or TypeCanceled
	Extracted bool   // stands behind the content
	Offset    int64  // of its record; ignored when it is written
}

// An Attribute is a named value.
type Attribute struct{ Name, Value string }

// A Message is what a queue file, or a file in the maildrop, says.
type Message struct {
	Size       *Size     // nil in the maildrop
	Arrival    time.Time // zero if it is not said
	Created    time.Time // when the queue file was made; zero if it is not said
	FullName   string
	Sender     string // empty is the null sender
	NoSender   bool   // not even an empty one was given
	Warn       int64  // seconds; 0: no warning wanted, negative: it was sent
	VERP       string
	Filter     string
	Redirect   string
	Encoding   string // "", "7bit" or "8bit"
	Ret        int    // 1 FULL, 2 HDRS
	EnvID      string
	Context    string // "local", "remote" or empty
	Trace      int    // Trace bits
	Attributes []Attribute
	Recipients []Recipient

	content content
}

// Attribute returns the first value of an attribute that has no field of its own.
func (m *Message) Attribute(name string) string {
	for i := range m.Attributes {
		if m.Attributes[i].Name == name {
			return m.Attributes[i].Value
		}
	}
	return ""
}

// Content returns a reader of the content, in lines that end in CRLF.
func (m *Message) Content() io.Reader { return m.content.reader() }

// Unended says whether the last line of the content has no end of its own. The
// reader that Content returns gives it one.
func (m *Message) Unended() bool { return m.content.unended }

// Complete says why m is not a queue file that the queue manager would take, if
// it is not: as for one that was being written when the system stopped.
func (m *Message) Complete() error {
	switch {
	case m.Size == nil:
		return corrupt("no size record")
	case m.Arrival.IsZero():
		return corrupt("no arrival time record")
	case m.NoSender:
		return corrupt("no sender record")
	case m.Size.Content <= 0 || m.Size.Length < 0:
		return corrupt("size record: the file was not completed")
	case m.Size.Flags < 0 || m.Size.Flags > maxFlags:
		return corrupt("size record: unknown flags %#x", m.Size.Flags)
	case m.Size.Offset != m.content.start:
		return corrupt("size record: content at %d, found at %d", m.Size.Offset, m.content.start)
	}
	var x [1]byte
	if _, err := m.content.src.ReadAt(x[:], m.Size.Offset+m.Size.Content); err != nil || x[0] != TypeExtracted {
		return corrupt("size record: the content does not end at %d", m.Size.Offset+m.Size.Content)
	}
	return nil
}

// parseSize reads the C record. Older files have fewer fields.
func parseSize(data []byte) (*Size, error) {
	s := new(Size)
	fields := strings.Fields(string(data))
	to := [...]*int64{&s.Content, &s.Offset, &s.Recipients, &s.Flags, &s.Length, &s.Options}
	if len(fields) < 3 || len(fields) > len(to) {
		return nil, corrupt("size record: %q", data)
	}
	for i, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return nil, corrupt("size record: %q", data)
		}
		*to[i] = n
	}
	return s, nil
}

func (s *Size) String() string {
	return fmt.Sprintf(sizeFormat, s.Content, s.Offset, s.Recipients, s.Flags, s.Length, s.Options)
}

// parseTime reads "SECONDS MICROSECONDS", or seconds alone.
func parseTime(data []byte) (time.Time, error) {
	sec, usec, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	s, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || s < 0 {
		return time.Time{}, corrupt("time %q", data)
	}
	us, err := strconv.ParseInt(strings.TrimSpace(usec), 10, 64)
	if usec != "" && (err != nil || us < 0 || us >= 1e6) {
		return time.Time{}, corrupt("time %q", data)
	}
	return time.Unix(s, us*1000), nil
}

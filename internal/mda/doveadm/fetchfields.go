package doveadm

import (
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// fetchFields are the fields that have no parameter, in the order in which they
// are listed.
var fetchFields = []fetchField{
	{"user", func(f *fetched) error { return f.put(f.u.Info().Username) }},
	{"mailbox", func(f *fetched) error { return f.put(f.b.Location().Name) }},
	{"mailbox-guid", func(f *fetched) error { return f.put(f.guid()) }},
	{"seq", func(f *fetched) error { return f.put(itoa(uint32(f.i + 1))) }},
	{"uid", func(f *fetched) error { return f.put(itoa(f.b.snap.UID(f.i))) }},
	{"guid", func(f *fetched) error { return f.text1(f.msg.GUID()) }},
	{"flags", func(f *fetched) error { return f.put(flagsText(f.b.snap, f.i)) }},
	{"modseq", func(f *fetched) error { return f.put(itoa(f.b.snap.ModSeq(f.i))) }},
	{"hdr", (*fetched).putHeader},
	{"body", (*fetched).putBody},
	{"body.preview", (*fetched).putPreview},
	{"body.snippet", (*fetched).putPreview},
	{"text", (*fetched).putText},
	{"text.utf8", (*fetched).putUTF8},
	{"size.physical", func(f *fetched) error { return f.number(f.msg.PhysicalSize()) }},
	{"size.virtual", func(f *fetched) error { return f.number(f.msg.VirtualSize()) }},
	{"date.received", func(f *fetched) error { return f.date(f.msg.Received()) }},
	{"date.sent", (*fetched).putSent},
	{"date.saved", func(f *fetched) error { return f.date(f.msg.Saved()) }},
	{"date.received.unixtime", func(f *fetched) error { return f.unixTime(f.msg.Received()) }},
	{"date.sent.unixtime", func(f *fetched) error { return f.unixTime(f.sent()) }},
	{"date.saved.unixtime", func(f *fetched) error { return f.unixTime(f.msg.Saved()) }},
	{"imap.envelope", func(f *fetched) error { return f.imap((*message.Structure).AppendEnvelope) }},
	{"imap.body", func(f *fetched) error { return f.imap((*message.Structure).AppendBody) }},
	{"imap.bodystructure", func(f *fetched) error { return f.imap((*message.Structure).AppendBodyStructure) }},
	{"pop3.uidl", func(f *fetched) error { return f.text1(f.msg.POP3UIDL()) }},
	{"pop3.order", func(f *fetched) error { return f.put("") }}, // no format stores it
	{"refcount", (*fetched).putRefCount},
	{"storageid", func(f *fetched) error { return f.put(f.msg.StorageID()) }},
}

func (f *fetched) put(value string) error {
	f.u.print(value)
	return nil
}

func (f *fetched) text1(value string, err error) error {
	if err != nil {
		return err
	}
	return f.put(value)
}

func (f *fetched) number(n int64, err error) error {
	if err != nil {
		return err
	}
	return f.put(itoa(n))
}

func (f *fetched) date(t time.Time, err error) error {
	if err != nil {
		return err
	}
	return f.put(t.Local().Format(time.DateTime))
}

func (f *fetched) unixTime(t time.Time, err error) error {
	if err != nil {
		return err
	}
	return f.put(itoa(t.Unix()))
}

// sent is the time of the Date field. Without one a message was sent in 1970.
func (f *fetched) sent() (time.Time, error) {
	s, err := f.structure()
	if err != nil {
		return time.Time{}, err
	}
	t, ok := s.Date()
	if !ok {
		t = time.Unix(0, 0).UTC()
	}
	return t, nil
}

// putSent prints the time of the Date field, as it is here, and in parentheses the
// zone that the message has.
func (f *fetched) putSent() error {
	t, err := f.sent()
	if err != nil {
		return err
	}
	return f.put(t.Local().Format(time.DateTime) + t.Format(" (-0700)"))
}

// imap prints an IMAP description without its parentheses.
func (f *fetched) imap(appendTo func(s *message.Structure, b []byte) []byte) error {
	s, err := f.structure()
	if err != nil {
		return err
	}
	text := string(appendTo(s, nil))
	return f.put(strings.TrimSuffix(strings.TrimPrefix(text, "("), ")"))
}

// putRefCount prints how many messages share the stored text.
func (f *fetched) putRefCount() error {
	if f.b.Location().Format == "mbox" {
		return f.put("")
	}
	r, err := f.msg.Reference(f.ctx)
	return f.number(int64(r.Count), err)
}

// flagsText is flags and keywords of a message.
func flagsText(s *mailbox.Snapshot, i int) string {
	var words []string
	for _, f := range flagNames {
		if s.Flags(i)&f.flag != 0 {
			words = append(words, f.name)
		}
	}
	if s.UID(i) >= s.FirstRecent() {
		words = append(words, `\Recent`)
	}
	return strings.Join(append(words, s.Keywords(i)...), " ")
}

// flagNames are the system flags in the order in which Dovecot writes them.
var flagNames = []struct {
	flag mailbox.Flags
	name string
}{
	{mailbox.Answered, `\Answered`}, {mailbox.Flagged, `\Flagged`}, {mailbox.Deleted, `\Deleted`},
	{mailbox.Seen, `\Seen`}, {mailbox.Draft, `\Draft`},
}

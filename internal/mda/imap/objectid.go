package imap

import (
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
)

// The identifiers of OBJECTID (RFC 8474) are made in package search, which looks for them.

// appendMailboxID appends "MAILBOXID (F...)", of a response code or of STATUS.
func appendMailboxID(b []byte, guid [16]byte) []byte {
	b = append(b, "MAILBOXID ("...)
	b = append(b, search.MailboxID(guid)...)
	return append(b, ')')
}

// createdID returns the response code of a mailbox that was created (RFC 8474 4.1). A directory has none, nor
// has a mailbox that the user may not open.
func (c *command) createdID(name string) string {
	mbox, err := c.user.Mailbox(c.ctx, name)
	if err != nil {
		return ""
	}
	defer mbox.Close()
	return string(appendMailboxID([]byte{'['}, mbox.GUID())) + "] "
}

// appendObjectID appends EMAILID or THREADID of the message at hand (RFC 8474 5).
func (f *fetcher) appendObjectID(b []byte, it item) ([]byte, error) {
	name, id, err := "EMAILID (", "", error(nil)
	if it == itemEmailID {
		id, err = search.EmailID(f.msg)
	} else {
		name = "THREADID ("
		id, err = search.ThreadID(f.ctx, f.msg)
	}
	b = append(append(b, name...), id...)
	return append(b, ')'), err
}

// objectID reads EMAILID or THREADID (RFC 8474 6).
func (p *searchParser) objectID(op search.Op) (*search.Key, error) {
	value, err := p.param()
	if err != nil {
		return nil, err
	}
	return &search.Key{Op: op, Text: string(value)}, nil
}

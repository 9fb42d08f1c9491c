package search

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/dbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
	"github.com/dovetail-mail/dovetail/internal/mda/store/thread"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// The identifiers of RFC 8474. Their first letter says what they are of, as they share one space.
const (
	emailLetter   = "M"
	threadLetter  = "T"
	mailboxLetter = "F"
)

// MailboxID returns the MAILBOXID of a mailbox with the GUID.
func MailboxID(guid [16]byte) string { return mailboxLetter + hex.EncodeToString(guid[:]) }

// EmailID returns the EMAILID of a message: its GUID, which copies share, in the alphabet that is allowed.
func EmailID(msg *mailbox.Message) (string, error) {
	guid, err := msg.GUID()
	id := dbox.GUID128(guid)
	return emailLetter + hex.EncodeToString(id[:]), err
}

// ThreadID returns the THREADID of a message. It must never change (RFC 8474 5.2), so it cannot depend on
// which other messages there are: it stands for the message-id that the thread began with, as the message
// itself says. One that says nothing is a thread of its own.
func ThreadID(ctx context.Context, msg *mailbox.Message) (string, error) {
	fields, err := msg.AppendFields(ctx, nil, threadFields)
	if err != nil {
		return "", err
	}
	values, err := firstFields(fields)
	if err != nil {
		return "", err
	}
	for _, name := range [...]string{"references", "in-reply-to", "message-id"} {
		if root := thread.FirstID(values[name]); root != "" {
			sum := sha256.Sum256([]byte(root))
			return threadLetter + hex.EncodeToString(sum[:16]), nil
		}
	}
	id, err := EmailID(msg)
	return threadLetter + strings.TrimPrefix(id, emailLetter), err
}

// firstFields returns the values of the first field of each name, in lower case.
func firstFields(fields []byte) (map[string]string, error) {
	values := make(map[string]string, len(threadFields))
	err := eachField(fields, func(f *message.Field) bool {
		name := strings.ToLower(string(f.Name))
		if _, ok := values[name]; !ok {
			values[name] = string(message.AppendUnfolded(nil, f.Value()))
		}
		return true
	})
	return values, err
}

// objectID compares an identifier of the message.
func (c *candidate) objectID(q *query) (bool, error) {
	msg, err := c.message()
	if err != nil {
		return false, err
	}
	var id string
	if q.Op == HasEmailID {
		id, err = EmailID(msg)
	} else {
		id, err = ThreadID(c.ctx, msg)
	}
	return id == q.Text, err
}

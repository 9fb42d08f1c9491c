package mailbox

import (
	"context"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
	"github.com/dovetail-mail/dovetail/internal/message"
)

// previewVersion is the version of how previews are made, Dovecot's, before a cached one.
const previewVersion = '1'

// Preview returns the beginning of the message's text (RFC 8970), as [message.Preview]
// makes it.
func (msg *Message) Preview(ctx context.Context) (text string, err error) {
	if text, ok := msg.CachedPreview(); ok {
		return text, nil
	}
	body, err := msg.Open()
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	parts, err := msg.Parts(ctx, body)
	if err != nil {
		return "", err
	}
	if text, err = message.Preview(parts, body); err != nil {
		return "", err
	}
	msg.addValue(cache.Snippet, append([]byte{previewVersion}, text...))
	return text, nil
}

// CachedPreview returns the preview if the cache has it.
func (msg *Message) CachedPreview() (text string, ok bool) {
	ok = msg.lookup(cache.Snippet, func(data []byte) bool {
		if len(data) == 0 || data[0] != previewVersion {
			return false
		}
		text = string(data[1:])
		return true
	})
	return text, ok
}

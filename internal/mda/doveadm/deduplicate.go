package doveadm

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var deduplicateCommand = &command{
	name: "deduplicate", usage: "[-m] <search query>",
	params: mailParams(flag('m', "by-msgid"), arguments("query")),
	mail:   prepareDeduplicate,
}

func prepareDeduplicate(in *invocation) (runFunc, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	by, what := (*box).guidOf, "GUID"
	if in.set("by-msgid") {
		by, what = (*box).messageID, "Message-ID:"
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.changeBoxes(ctx, q, func(b *box) error { return b.deduplicate(ctx, by, what) })
	}, nil
}

// deduplicate expunges messages whose key one before them has. Of a key only its
// hash is kept.
func (b *box) deduplicate(ctx context.Context, key func(*box, context.Context, uint32) (string, error), what string) error {
	seen := make(map[[16]byte]struct{})
	var extra []uint32
	err := b.each(ctx, func(i int) error {
		uid := b.snap.UID(i)
		k, err := key(b, ctx, uid)
		if errors.Is(err, mailbox.ErrExpunged) || err == nil && k == "" {
			return nil
		}
		if err != nil {
			return failed(err, "Couldn't lookup %s for UID=%d", what, uid)
		}
		sum := sha256.Sum256([]byte(k))
		id := [16]byte(sum[:])
		if _, ok := seen[id]; ok {
			extra = append(extra, uid)
		}
		seen[id] = struct{}{}
		return nil
	})
	return errors.Join(err, b.expunge(ctx, extra))
}

func (b *box) guidOf(_ context.Context, uid uint32) (string, error) {
	msg, err := b.Message(uid)
	if err != nil {
		return "", err
	}
	return msg.GUID()
}

func (b *box) messageID(ctx context.Context, uid uint32) (string, error) {
	msg, err := b.Message(uid)
	if err != nil {
		return "", err
	}
	s, err := msg.Structure(ctx)
	if err != nil {
		return "", err
	}
	return string(s.Root.Field("Message-ID")), nil
}

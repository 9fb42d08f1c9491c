package doveadm

import (
	"context"
	"strconv"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var mailboxUpdateCommand = &command{
	name: "mailbox update",
	usage: "[--mailbox-guid guid] [--uid-validity uid] [--min-next-uid uid] [--min-first-recent-uid uid] " +
		"[--min-highest-modseq seq] [--min-highest-pvt-modseq seq] <mailbox>",
	params: mailParams(
		option('g', "mailbox-guid"), option('V', "uid-validity"), option('N', "min-next-uid"), option('R', "min-first-recent-uid"),
		option('H', "min-highest-modseq"), option('P', "min-highest-pvt-modseq"), argument("mailbox"),
	),
	mail: prepareMailboxUpdate,
}

func prepareMailboxUpdate(in *invocation) (runFunc, error) {
	var u mailbox.Update
	if text, ok := in.text("mailbox-guid"); ok {
		if u.GUID, ok = parseGUID(text); !ok {
			return nil, errUsage
		}
	}
	for _, n := range []struct {
		name string
		to   *uint32
	}{{"uid-validity", &u.UIDValidity}, {"min-next-uid", &u.NextUID}, {"min-first-recent-uid", &u.FirstRecent}} {
		v, err := in.uint(n.name, 32)
		if err != nil {
			return nil, err
		}
		*n.to = uint32(v)
	}
	var err error
	if u.HighestModSeq, err = in.uint("min-highest-modseq", 64); err != nil {
		return nil, err
	}
	// Without private indexes there is nothing that has such a modseq.
	if _, err = in.uint("min-highest-pvt-modseq", 64); err != nil {
		return nil, err
	}
	name, ok := in.text("mailbox")
	if !ok {
		return nil, errUsage
	}
	if _, err := in.mailboxNames(name); err != nil {
		return nil, err
	}
	if u.FirstRecent > u.NextUID {
		return nil, fatalf(exNotPossible, "min_first_recent_uid > min_next_uid")
	}
	return func(ctx context.Context, user *mailUser) error {
		b, err := user.openBox(ctx, name)
		if err == nil {
			defer b.Close() //nolint:errcheck // what was to be written is
			err = b.Update(ctx, u)
		}
		if err != nil {
			return failed(err, "Cannot update %s", name)
		}
		return nil
	}, nil
}

// uint returns the number that an option has; 0 if it was not given.
func (in *invocation) uint(name string, bits int) (uint64, error) {
	text, ok := in.text(name)
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return 0, errUsage
	}
	return n, nil
}

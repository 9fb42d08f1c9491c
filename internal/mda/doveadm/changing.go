package doveadm

import (
	"context"
	"errors"
)

// changingCommands change messages: their rows stand in the files of the
// commands.
var changingCommands = []*command{
	altmoveCommand, backupCommand, batchCommand, copyCommand, deduplicateCommand, dumpCommand, execCommand, expungeCommand,
	flagsAdd, flagsRemove, flagsReplace, forceResyncCommand, importCommand, indexCommand, moveCommand, purgeCommand, saveCommand,
	syncCommand,
}

// changeBoxes calls fn with every mailbox that the query can match. One that is
// named and does not exist is an error, noticed as Dovecot does when all is done.
func (u *mailUser) changeBoxes(ctx context.Context, q *query, fn func(*box) error) error {
	return u.eachBox(ctx, q, fn, func(name string, err error) {
		u.report(failed(err, "Mailbox %s: Mailbox sync failed", name))
	})
}

// eachBatch calls fn with uids in pieces, so that each transaction is bounded and
// a long one can be interrupted.
func eachBatch(ctx context.Context, uids []uint32, fn func([]uint32) error) error {
	const size = 1000
	for len(uids) > 0 {
		if err := ctx.Err(); err != nil {
			return errors.Join(errReported, err)
		}
		n := min(size, len(uids))
		if err := fn(uids[:n:n]); err != nil {
			return err
		}
		uids = uids[n:]
	}
	return nil
}

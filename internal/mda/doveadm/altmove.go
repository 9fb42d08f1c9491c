package doveadm

import "context"

var altmoveCommand = &command{
	name: "altmove", usage: "[-r] <search query>",
	params: mailParams(flag('r', "reverse"), arguments("query")),
	mail:   prepareAltmove,
}

func prepareAltmove(in *invocation) (runFunc, error) {
	q, err := in.query()
	if err != nil {
		return nil, err
	}
	back := in.set("reverse")
	return func(ctx context.Context, u *mailUser) error {
		err := u.changeBoxes(ctx, q, func(b *box) error {
			uids, err := b.uids(ctx)
			if err == nil {
				err = b.AltMove(ctx, uids, back)
			}
			if err != nil {
				return failed(err, "Committing mailbox %s failed", b.name)
			}
			return nil
		})
		u.report(u.purge(ctx))
		return err
	}, nil
}

package doveadm

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/mda/store/cache"
)

var (
	cacheDecisionCommand = &command{
		name: "mailbox cache decision", format: "table",
		usage: "--all --fields <fields> --last-used <timestamp> --decision <decision> <mailbox> [<mailbox> ... ]",
		params: mailParams(
			flag('a', "all"), option('f', "fieldstr"), option('l', "last-used"), option('d', "decision"), arguments("mailbox"),
		),
		mail: prepareCacheDecision,
	}
	cacheRemoveCommand = &command{
		name: "mailbox cache remove", usage: "<search string>", format: "table",
		params: mailParams(arguments("query")), mail: prepareCacheRemove,
	}
	cachePurgeCommand = &command{
		name: "mailbox cache purge", usage: "<mailbox> [...]",
		params: mailParams(arguments("mailbox")), mail: prepareCachePurge,
	}
)

// A decider shows and changes what is cached.
type decider struct {
	fields   []string // nil for all
	decision *cache.Decision
	lastUsed *uint32
}

// decisions are the names of decisions.
var decisions = map[string]cache.Decision{"no": cache.No, "temp": cache.Temp, "yes": cache.Yes}

func decisionName(d cache.Decision) string {
	for name, v := range decisions {
		if v == d {
			return name
		}
	}
	return ""
}

func prepareCacheDecision(in *invocation) (runFunc, error) {
	in.column("mailbox", sticky)
	for _, name := range []string{"field", "decision", "last-used"} {
		in.column(name, 0)
	}
	var d decider
	if err := d.options(in); err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.eachNamed(ctx, in.array("mailbox"), func(b *box) error { return d.box(ctx, u, b) })
	}, nil
}

func (d *decider) options(in *invocation) error {
	if !in.set("all") {
		text, ok := in.text("fieldstr")
		if !ok {
			return fatalf(exTempFail, "Missing fields parameter")
		}
		d.fields = strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == ',' })
	}
	if text, ok := in.text("last-used"); ok {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			in.log.errorf("Invalid last-used '%s': not a number", text)
			return in.badParameter('l')
		}
		used := uint32(n)
		d.lastUsed = &used
	}
	if text, ok := in.text("decision"); ok {
		decision, ok := decisions[text]
		if !ok {
			in.log.errorf("Invalid decision '%s': must be one of yes, temp, no", text)
			return in.badParameter('d')
		}
		d.decision = &decision
	}
	return nil
}

func (in *invocation) badParameter(letter byte) error {
	in.log.errorf("Invalid parameter %c", letter)
	return exitStatus(exUsage)
}

// eachNamed calls fn with each of the mailboxes, up to one that fails.
func (u *mailUser) eachNamed(ctx context.Context, names []string, fn func(*box) error) error {
	for _, name := range names {
		if _, err := u.in.mailboxNames(name); err != nil {
			return err
		}
		b, err := u.openBox(ctx, name)
		if err != nil {
			return failed(err, "Cannot open mailbox %s", name)
		}
		err = fn(b)
		b.Close() //nolint:errcheck // what was to be written is
		if err != nil {
			return err
		}
	}
	return nil
}

// box shows one mailbox's fields.
func (d *decider) box(ctx context.Context, u *mailUser, b *box) error {
	fields, err := b.DecideCache(ctx, d.change)
	if errors.Is(err, cache.ErrNoFile) {
		return withStatus(exTempFail, "%v", cache.ErrNoFile)
	}
	if err != nil {
		return err
	}
	u.in.print.stick("mailbox", b.name)
	if d.fields == nil {
		for i := range fields {
			u.printField(&fields[i])
		}
		return nil
	}
	for _, name := range d.fields {
		i := slices.IndexFunc(fields, func(f cache.Field) bool { return strings.EqualFold(f.Name, name) })
		if i >= 0 {
			f := fields[i]
			f.Name = name
			u.printField(&f)
			continue
		}
		for _, value := range []string{name, "<not found>", ""} {
			u.print(value)
		}
	}
	return nil
}

// change changes a field as the options want it.
func (d *decider) change(f *cache.Field) {
	if d.fields != nil && !slices.ContainsFunc(d.fields, func(name string) bool { return strings.EqualFold(name, f.Name) }) {
		return
	}
	if d.decision != nil {
		f.Decision = *d.decision
	}
	if d.lastUsed != nil {
		f.LastUsed = *d.lastUsed
	}
}

func (u *mailUser) printField(f *cache.Field) {
	u.print(f.Name)
	u.print(decisionName(f.Decision))
	u.print(time.Unix(int64(f.LastUsed), 0).Format("2006-01-02 15:04:05 MST"))
}

func prepareCacheRemove(in *invocation) (runFunc, error) {
	words := in.array("query")
	if len(words) == 0 {
		return nil, errUsage
	}
	for _, name := range []string{"mailbox", "uid", "result"} {
		in.column(name, 0)
	}
	q, err := parseQuery(words)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.changeBoxes(ctx, q, func(b *box) error {
			uids, err := b.uids(ctx)
			if err != nil {
				return err
			}
			return eachBatch(ctx, uids, func(uids []uint32) error {
				if err := b.ForgetCached(ctx, uids); err != nil {
					return failed(err, "mail_index_transaction_commit() failed")
				}
				for _, uid := range uids {
					u.print(b.name)
					u.print(itoa(uid))
					u.print("ok")
				}
				return nil
			})
		})
	}, nil
}

func prepareCachePurge(in *invocation) (runFunc, error) {
	return func(ctx context.Context, u *mailUser) error {
		return u.eachNamed(ctx, in.array("mailbox"), func(b *box) error { return b.PurgeCache(ctx) })
	}, nil
}

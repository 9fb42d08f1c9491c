package doveadm

import (
	"context"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

var (
	flagsAdd     = flagsCommand("flags add", mailbox.FlagsAdd)
	flagsRemove  = flagsCommand("flags remove", mailbox.FlagsRemove)
	flagsReplace = flagsCommand("flags replace", mailbox.FlagsReplace)
)

func flagsCommand(name string, op mailbox.FlagOp) *command {
	return &command{
		name: name, usage: "<flags> <search query>",
		params: mailParams(argument("flagstr"), arguments("query")),
		mail:   func(in *invocation) (runFunc, error) { return prepareFlags(in, op) },
	}
}

// systemFlags are the flags that are no keywords, by name in lower case.
var systemFlags = map[string]mailbox.Flags{
	`\answered`: mailbox.Answered, `\flagged`: mailbox.Flagged, `\deleted`: mailbox.Deleted, `\seen`: mailbox.Seen,
	`\draft`: mailbox.Draft, `\recent`: 0, // accepted; only the server sets it
}

func prepareFlags(in *invocation, op mailbox.FlagOp) (runFunc, error) {
	text, words := in.values["flagstr"], in.array("query")
	if len(text) == 0 || len(words) == 0 {
		return nil, errUsage
	}
	change := mailbox.FlagChange{Op: op, UnchangedSince: mailbox.Unconditional}
	for _, name := range strings.Split(text[0], " ") {
		if !strings.HasPrefix(name, `\`) {
			if name != "" {
				change.Keywords = append(change.Keywords, name)
			}
			continue
		}
		flag, ok := systemFlags[strings.ToLower(name)]
		if !ok {
			return nil, fatalf(exTempFail, "Invalid system flag: %s", name)
		}
		change.Flags |= flag
	}
	q, err := parseQuery(words)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, u *mailUser) error {
		return u.changeBoxes(ctx, q, func(b *box) error { return b.setFlags(ctx, change) })
	}, nil
}

func (b *box) setFlags(ctx context.Context, change mailbox.FlagChange) error {
	if err := checkKeywords(change.Keywords); err != nil {
		return err
	}
	uids, err := b.uids(ctx)
	if err != nil {
		return err
	}
	return eachBatch(ctx, uids, func(uids []uint32) error {
		change.UIDs = uids
		if _, err := b.SetFlags(ctx, change); err != nil {
			return failed(err, "Committing mailbox %s failed", b.name)
		}
		return nil
	})
}

// maxKeyword is the longest keyword accepted (mail_max_keyword_length).
const maxKeyword = 50

// checkKeywords refuses keywords that IMAP clients could not be told of.
func checkKeywords(names []string) error {
	for _, name := range names {
		why := ""
		switch {
		case len(name) > maxKeyword:
			why = "Keyword length too long"
		case strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == 0x7f || strings.ContainsRune(`(){%*"\]`, c) }):
			why = "Invalid characters in keyword"
		case strings.ContainsFunc(name, func(c rune) bool { return c > 0x7f }):
			why = "8bit characters in keyword"
		default:
			continue
		}
		return withStatus(exNotPossible, "Invalid keywords: %s", why)
	}
	return nil
}

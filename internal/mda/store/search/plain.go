package search

import "github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"

// Plain returns the key without parameters that has the name, in upper case (RFC 3501 6.4.4).
func Plain(name string) (k *Key, ok bool) {
	plain, ok := plainKeys[name]
	return &plain, ok
}

var plainKeys = map[string]Key{
	"ALL":        {Op: All},
	"ANSWERED":   {Op: FlagsAll, Flags: mailbox.Answered},
	"DELETED":    {Op: FlagsAll, Flags: mailbox.Deleted},
	"DRAFT":      {Op: FlagsAll, Flags: mailbox.Draft},
	"FLAGGED":    {Op: FlagsAll, Flags: mailbox.Flagged},
	"SEEN":       {Op: FlagsAll, Flags: mailbox.Seen},
	"UNANSWERED": {Op: FlagsAll, Flags: mailbox.Answered, Not: true},
	"UNDELETED":  {Op: FlagsAll, Flags: mailbox.Deleted, Not: true},
	"UNDRAFT":    {Op: FlagsAll, Flags: mailbox.Draft, Not: true},
	"UNFLAGGED":  {Op: FlagsAll, Flags: mailbox.Flagged, Not: true},
	"UNSEEN":     {Op: FlagsAll, Flags: mailbox.Seen, Not: true},
	"RECENT":     {Op: Recent},
	"OLD":        {Op: Recent, Not: true},
	"NEW": {Op: And, Keys: []*Key{
		{Op: Recent}, {Op: FlagsAll, Flags: mailbox.Seen, Not: true},
	}},
}

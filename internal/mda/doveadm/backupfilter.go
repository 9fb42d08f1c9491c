package doveadm

import (
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A messageFilter chooses which messages a backup adds to the destination. What is there
// already follows the source whatever it is.
type messageFilter struct {
	since, until time.Time // of INTERNALDATE; zero for any
	max          int64     // virtual size; 0 for any
	flag         mailbox.Flags
	keyword      string
	without      bool // those without the flag or keyword
}

// options reads -t, -e, -I and -O.
func (f *messageFilter) options(in *invocation) error {
	for _, o := range []struct {
		name, letter string
		to           *time.Time
	}{{"sync-since-time", "t", &f.since}, {"sync-until-time", "e", &f.until}} {
		text, ok := in.text(o.name)
		if !ok {
			continue
		}
		date, instant, ok := humanDate(text, time.Now())
		if !ok {
			return fatalf(exTempFail, "Invalid -%s parameter: %s", o.letter, text)
		}
		if !instant { // a day begins at midnight of this host
			date = time.Date(date.Year(), date.Month(), date.Day(), 0, 0, 0, 0, time.Local)
		}
		if date.Unix() > 0 { // as in the original, what is earlier is no limit
			*o.to = date
		}
	}
	if text, ok := in.text("sync-max-size"); ok {
		size, err := dovecot.ParseSize(text)
		if err != nil {
			return fatalf(exTempFail, "Invalid -I parameter '%s': %v", text, err)
		}
		f.max = int64(min(size, 1<<62))
	}
	text, ok := in.text("sync-flags")
	if !ok {
		return nil
	}
	if strings.Contains(text, " ") {
		return fatalf(exTempFail, "-O parameter doesn't support multiple flags currently")
	}
	text, f.without = strings.CutPrefix(text, "-")
	if !strings.HasPrefix(text, `\`) {
		f.keyword = text
		return nil
	}
	if f.flag, ok = systemFlags[strings.ToLower(text)]; !ok {
		return fatalf(exTempFail, "Invalid system flag given for -O parameter: '%s'", text)
	}
	return nil
}

// wants reports whether message i of the box is to be added.
func (f *messageFilter) wants(b *box, i int) (bool, error) {
	if f.flag != 0 && (b.snap.Flags(i)&f.flag != 0) == f.without {
		return false, nil
	}
	if f.keyword != "" && hasKeyword(b.snap.Keywords(i), f.keyword) == f.without {
		return false, nil
	}
	if f.since.IsZero() && f.until.IsZero() && f.max == 0 {
		return true, nil
	}
	msg, err := b.Message(b.snap.UID(i))
	if err != nil {
		return false, err
	}
	if f.max > 0 {
		if size, err := msg.VirtualSize(); err != nil || size > f.max {
			return false, err
		}
	}
	received, err := msg.Received()
	if err != nil || !f.since.IsZero() && received.Before(f.since) || !f.until.IsZero() && received.After(f.until) {
		return false, err
	}
	return true, nil
}

func hasKeyword(names []string, keyword string) bool {
	for _, name := range names {
		if strings.EqualFold(name, keyword) {
			return true
		}
	}
	return false
}

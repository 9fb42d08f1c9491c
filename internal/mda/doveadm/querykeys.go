package doveadm

import (
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/mda/imap/imapwire"
	"github.com/dovetail-mail/dovetail/internal/mda/store/search"
	"github.com/dovetail-mail/dovetail/internal/mda/store/thread"
)

// plainKeys are the keys without parameters that IMAP does not have.
var plainKeys = map[string]search.Key{
	"NIL": {Op: search.All, Not: true},
	// There is no earlier search whose result this is (RFC 5182).
	"$": {Op: search.All, Not: true},
}

type keyParser = func(p *queryParser, l *keyList) (*search.Key, error)

// queryKeys are the keys with parameters.
var queryKeys map[string]keyParser

func init() {
	queryKeys = map[string]keyParser{
		"OR": func(p *queryParser, l *keyList) (*search.Key, error) {
			l.or = true
			return p.operand(l)
		},
		"NOT": func(p *queryParser, l *keyList) (*search.Key, error) {
			k, err := p.operand(l)
			if err != nil {
				return nil, err
			}
			if k.Op == search.MIMEPart { // it may match neither with NOT nor without
				k.Not = !k.Not
				return k, nil
			}
			return &search.Key{Op: search.And, Keys: []*search.Key{k}, Not: true}, nil
		},
		"FUZZY":  func(p *queryParser, l *keyList) (*search.Key, error) { return p.operand(l) },
		"BEFORE": dateKey(search.Before), "ON": dateKey(search.On), "SINCE": dateKey(search.Since),
		"SENTBEFORE": dateKey(search.SentBefore), "SENTON": dateKey(search.SentOn), "SENTSINCE": dateKey(search.SentSince),
		"SAVEDBEFORE": dateKey(search.SavedBefore), "SAVEDON": dateKey(search.SavedOn), "SAVEDSINCE": dateKey(search.SavedSince),
		"X-SAVEDBEFORE": dateKey(search.SavedBefore), "X-SAVEDON": dateKey(search.SavedOn), "X-SAVEDSINCE": dateKey(search.SavedSince),
		"OLDER": ageKey(search.Older), "YOUNGER": ageKey(search.Younger),
		"LARGER": sizeKey(search.Larger), "SMALLER": sizeKey(search.Smaller),
		"BCC": headerKey, "CC": headerKey, "FROM": headerKey, "SUBJECT": headerKey, "TO": headerKey,
		"HEADER": anyHeaderKey,
		"BODY":   textKey(search.Body, ""), "TEXT": textKey(search.TextOp, ""),
		"KEYWORD": keywordKey(false), "UNKEYWORD": keywordKey(true),
		"UID": setKey(search.UID, "Invalid UID messageset"), "X-REAL-UID": setKey(search.RealUID, "Invalid X-REAL-UID messageset"),
		"MODSEQ": modSeqKey,
		"GUID":   guidKey, "X-GUID": guidKey,
		"MAILBOX": mailboxKey, "X-MAILBOX": mailboxKey,
		"MAILBOX-GUID": func(p *queryParser, _ *keyList) (*search.Key, error) {
			v, err := p.value()
			return p.q.box(boxGUID, v), err
		},
		"SAVEDATESUPPORTED": func(p *queryParser, _ *keyList) (*search.Key, error) { return p.q.box(boxDatesSaves, ""), nil },
		"OLDESTONLY": func(p *queryParser, _ *keyList) (*search.Key, error) {
			p.q.oldestOnly = true
			return &search.Key{Op: search.All}, nil
		},
		"MIMEPART": mimePartKey,
		"INTHREAD": inThreadKey,
	}
}

func inThreadKey(p *queryParser, l *keyList) (*search.Key, error) {
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	algorithm, ok := thread.Parse(v)
	if !ok {
		return nil, errQuery("Unknown thread algorithm")
	}
	k, err := p.operand(l)
	if err != nil {
		return nil, err
	}
	return &search.Key{Op: search.InThread, Thread: algorithm, Keys: []*search.Key{k}}, nil
}

func dateKey(op search.Op) keyParser {
	return func(p *queryParser, _ *keyList) (*search.Key, error) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		k := &search.Key{Op: op}
		var ok bool
		if k.Date, k.Instant, ok = humanDate(v, p.now); !ok {
			return nil, errQuery("Invalid search date parameter: " + v)
		}
		return k, nil
	}
}

// humanDate reads a day, as 2024-12-31 or 31-Dec-2024, or a moment: seconds since 1970
// or the time that has passed since then ("2 weeks").
func humanDate(s string, now time.Time) (t time.Time, instant, ok bool) {
	if len(s) == len("yyyy-mm-dd") && s[4] == '-' && s[7] == '-' {
		year, err1 := strconv.ParseUint(s[:4], 10, 16)
		month, err2 := strconv.ParseUint(s[5:7], 10, 16)
		day, err3 := strconv.ParseUint(s[8:], 10, 16)
		if err1 == nil && err2 == nil && err3 == nil {
			return time.Date(int(year), time.Month(month), int(day), 0, 0, 0, 0, time.UTC), false, true
		}
	}
	if day, ok := imapwire.ParseDate([]byte(s)); ok {
		return day, false, true
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && s[0] != '+' && n >= math.MinInt32 && n <= 1<<40 {
		return time.Unix(n, 0), true, true
	}
	if d, err := dovecot.ParseTime(s); err == nil {
		return now.Add(-d), true, true
	}
	return t, false, false
}

func ageKey(op search.Op) keyParser {
	return func(p *queryParser, _ *keyList) (*search.Key, error) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil || n == 0 {
			return nil, errQuery("Invalid search interval parameter")
		}
		return &search.Key{Op: op, Seconds: uint32(n)}, nil
	}
}

func sizeKey(op search.Op) keyParser {
	return func(p *queryParser, _ *keyList) (*search.Key, error) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		n, err := dovecot.ParseSize(v)
		if err != nil {
			return nil, errQuery(err.Error())
		}
		return &search.Key{Op: op, Size: int64(min(n, math.MaxInt64))}, nil
	}
}

// utf8Value reads a parameter that is compared with text.
func (p *queryParser) utf8Value() (string, error) {
	v, err := p.value()
	if err == nil && !utf8.ValidString(v) {
		err = errQuery("Invalid search key")
	}
	return v, err
}

func textKey(op search.Op, field string) keyParser {
	return func(p *queryParser, _ *keyList) (*search.Key, error) {
		v, err := p.utf8Value()
		return &search.Key{Op: op, Field: field, Text: v}, err
	}
}

func headerKey(p *queryParser, l *keyList) (*search.Key, error) {
	return textKey(search.Header, p.name)(p, l)
}

func anyHeaderKey(p *queryParser, l *keyList) (*search.Key, error) {
	field, err := p.utf8Value()
	if err != nil {
		return nil, err
	}
	return textKey(search.Header, field)(p, l)
}

func keywordKey(not bool) keyParser {
	return func(p *queryParser, _ *keyList) (*search.Key, error) {
		v, err := p.value()
		return &search.Key{Op: search.Keyword, Text: v, Not: not}, err
	}
}

func setKey(op search.Op, mistake string) keyParser {
	return func(p *queryParser, _ *keyList) (*search.Key, error) {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if v == "$" && op == search.UID {
			return &search.Key{Op: search.All, Not: true}, nil
		}
		k, err := messageSet(op, v, mistake)
		if err == nil {
			notTheLast(k.Ranges)
		}
		return k, err
	}
}

// notTheLast makes "*" in a set of UIDs the highest number there could be. Other than
// in IMAP, "100:*" must not mean the last message where that is 99: the query may be
// for what is to be expunged.
func notTheLast(ranges []search.Range) {
	for i := range ranges {
		r := &ranges[i]
		r.Min, r.Max = min(r.Min, search.Star-1), min(r.Max, search.Star-1)
	}
}

// modSeqKey is MODSEQ with, as in RFC 7162 3.1.5, the name of a flag, which makes no
// difference: there is one modseq for all.
func modSeqKey(p *queryParser, _ *keyList) (*search.Key, error) {
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if flag, ok := strings.CutPrefix(strings.ToLower(v), "/flags/"); ok {
		if err := p.flagModSeq(flag); err != nil {
			return nil, err
		}
		if v, err = p.value(); err != nil {
			return nil, err
		}
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return nil, errQuery("Invalid MODSEQ value")
	}
	return &search.Key{Op: search.ModSeq, ModSeq: n}, nil
}

func (p *queryParser) flagModSeq(flag string) error {
	if strings.HasPrefix(flag, `\`) {
		switch flag {
		case `\answered`, `\flagged`, `\deleted`, `\seen`, `\draft`:
		default:
			return errQuery("Invalid MODSEQ system flag")
		}
	}
	kind, err := p.value()
	if err != nil {
		return err
	}
	switch strings.ToLower(kind) {
	case "all", "priv", "shared":
		return nil
	}
	return errQuery("Invalid MODSEQ type")
}

func guidKey(p *queryParser, _ *keyList) (*search.Key, error) {
	v, err := p.value()
	return &search.Key{Op: search.GUID, Text: v}, err
}

func mailboxKey(p *queryParser, _ *keyList) (*search.Key, error) {
	v, err := p.value()
	if err == nil && !utf8.ValidString(v) {
		err = errQuery("Mailbox name not valid UTF-8: " + v)
	}
	if err != nil {
		return nil, err
	}
	return p.q.mailbox(v), nil
}

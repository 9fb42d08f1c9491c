package postscreen

import (
	"context"
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// accessList is postscreen_access_list.
type accessList struct {
	mynetworks resolve.Networks
	items      []accessItem
	log        *maillog.Logger
}

// An accessItem is a word of the list, or a table.
type accessItem struct {
	word string
	maps resolve.Maps // nil: word decides
}

// access is what the list says of a client.
type access uint8

const (
	undecided access = iota
	allowed
	denied
	unclear // the rest of the list is not looked at
)

func newAccessList(value string, mynetworks resolve.Networks, open resolve.Opener, log *maillog.Logger) (*accessList, error) {
	l := &accessList{mynetworks: mynetworks, log: log}
	for _, word := range postfix.SplitList(value) {
		it := accessItem{word: word}
		if strings.Contains(word, ":") {
			var err error
			if it.maps, err = open.OpenMaps("postscreen_access_list", word); err != nil {
				return nil, err
			}
		}
		l.items = append(l.items, it)
	}
	return l, nil
}

// evaluate looks at the list until it decides.
func (l *accessList) evaluate(ctx context.Context, addr netip.Addr) access {
	for i := range l.items {
		it := &l.items[i]
		if it.maps == nil {
			if a, last := l.word(ctx, "postscreen_access_list", it.word, addr); last {
				return a
			}
			continue
		}
		value, found, err := it.maps.Lookup(ctx, addr.String())
		if err != nil {
			l.log.Warningf("postscreen_access_list: %s: table lookup error -- ignoring the remainder of this access list", it.word)
			return unclear
		}
		if !found {
			continue
		}
		if a := l.result(ctx, it.word, value, addr); a != undecided {
			return a
		}
	}
	return undecided
}

// result evaluates what a table has for a client, which is a list without tables.
func (l *accessList) result(ctx context.Context, origin, value string, addr netip.Addr) access {
	for _, word := range postfix.SplitList(value) {
		if strings.Contains(word, ":") {
			l.log.Warningf("table %s: lookup result \"%s\" is not allowed -- ignoring remainder of access list", origin, word)
			return undecided
		}
		if a, last := l.word(ctx, origin, word, addr); last {
			return a
		}
	}
	return undecided
}

// word evaluates one word; last says that those after it count nothing.
func (l *accessList) word(ctx context.Context, origin, word string, addr netip.Addr) (a access, last bool) {
	switch strings.ToLower(word) {
	case "reject":
		return denied, true
	case "permit":
		return allowed, true
	case "dunno":
		return undecided, true
	case "permit_mynetworks":
		match, err := l.mynetworks.MatchAddr(ctx, "", addr)
		if err != nil {
			l.log.Warningf("%s: %s: mynetworks lookup error -- ignoring the remainder of this access list", origin, word)
			return unclear, true
		}
		return allowed, match
	}
	l.log.Warningf("%s: unknown command: %s -- ignoring the remainder of this access list", origin, word)
	return unclear, true
}

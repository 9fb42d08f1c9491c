package table

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// A ListKind says how a pattern of a [List] matches.
type ListKind uint8

// The kinds of match lists (Postfix's match_list(3)).
const (
	Strings      ListKind = iota // exactly, without regard to case
	Domains                      // also subdomains of ".example.com"
	DomainsBelow                 // also subdomains of "example.com" (parent_domain_matches_subdomains)
)

// A List is a match list: names, tables, files of more items, each with "!"
// in front to mean the opposite. The first item that matches decides.
type List struct {
	param string
	kind  ListKind
	items []listItem
	o     Options
}

type listItem struct {
	negate bool
	text   string // lower case
	table  Table
	prefix netip.Prefix // networks
	err    error        // matching this item fails
}

// maxListFiles bounds files in files.
const maxListFiles = 20

// OpenList parses the value of param. Mistakes in it that make an item
// unusable make matches that reach the item fail.
func OpenList(param, value string, kind ListKind, o Options) (*List, error) {
	l := &List{param: param, kind: kind, o: o}
	err := l.add(value, false, 0)
	return l, err
}

func (l *List) add(value string, negate bool, depth int) error {
	if depth > maxListFiles {
		return fmt.Errorf("%s: files are nested more than %d deep", l.param, maxListFiles)
	}
	rest := value
	for _, item := range postfix.SplitList(value) {
		_, rest, _ = strings.Cut(rest, item)
		if strings.HasPrefix(item, "#") {
			l.o.warnf("%s: comment at end of line is not supported: %s %s", l.param, item, strings.TrimLeft(rest, " "))
			return nil
		}
		neg := negate
		for strings.HasPrefix(item, "!") {
			neg, item = !neg, item[1:]
		}
		if item == "" {
			return fmt.Errorf("%s: no pattern after '!'", l.param)
		}
		if err := l.addItem(item, neg, depth); err != nil {
			return err
		}
	}
	return nil
}

func (l *List) addItem(item string, negate bool, depth int) error {
	if strings.HasPrefix(item, "/") {
		content, err := listFile(item, &l.o)
		if err != nil {
			l.items = append(l.items, listItem{negate: negate, err: openError("", item, err)})
			return nil
		}
		for _, line := range content {
			if err := l.add(line, negate, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	if !strings.HasPrefix(item, "[") && strings.Contains(item, ":") && isTable(item) {
		l.items = append(l.items, listItem{negate: negate, text: item, table: OpenOrFail(item, l.o)})
		return nil
	}
	l.items = append(l.items, listItem{negate: negate, text: strings.ToLower(item)})
	return nil
}

// isTable tells "type:name" from an IPv6 address.
func isTable(item string) bool {
	if _, err := netip.ParseAddr(item); err == nil {
		return false
	}
	_, err := netip.ParsePrefix(item)
	return err != nil
}

// listFile returns the lines of a file that are no comments.
func listFile(name string, o *Options) ([]string, error) {
	content, err := o.readFile(name)
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(string(content)) {
		if !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// Match reports whether a name is in the list. An error is temporary.
func (l *List) Match(ctx context.Context, name string) (bool, error) {
	if l == nil || len(l.items) == 0 {
		return false, nil
	}
	name = strings.ToLower(name)
	for i := range l.items {
		it := &l.items[i]
		matched, err := l.matchItem(ctx, it, name)
		if err != nil {
			return false, lookupProblem(&l.o, l.param, it, err)
		}
		if matched {
			return !it.negate, nil
		}
	}
	return false, nil
}

// lookupProblem tells of a table that failed.
func lookupProblem(o *Options, param string, it *listItem, err error) error {
	if it.table != nil {
		o.warnf("%s: %s: table lookup problem", param, it.text)
	}
	return fmt.Errorf("%s: %w", param, err)
}

func (l *List) matchItem(ctx context.Context, it *listItem, name string) (bool, error) {
	if it.err != nil {
		return false, it.err
	}
	if it.table != nil {
		return l.matchTable(ctx, it.table, name)
	}
	if it.text == name {
		return true, nil
	}
	switch l.kind {
	case Domains:
		return it.text[0] == '.' && strings.HasSuffix(name, it.text), nil
	case DomainsBelow:
		n := len(name) - len(it.text)
		return n > 1 && name[n-1] == '.' && name[n:] == it.text, nil
	}
	return false, nil
}

// matchTable looks the name up, and its parent domains where those match too.
func (l *List) matchTable(ctx context.Context, t Table, name string) (bool, error) {
	_, found, err := t.Lookup(ctx, name)
	if err != nil || found || l.kind == Strings {
		return found, err
	}
	if _, pattern := t.(Pattern); pattern {
		return false, nil
	}
	for i := strings.IndexByte(name, '.'); i >= 0; {
		key := name[i:]
		if l.kind == DomainsBelow {
			key = name[i+1:]
		}
		if _, found, err = t.Lookup(ctx, key); err != nil || found {
			return found, err
		}
		next := strings.IndexByte(name[i+1:], '.')
		if next < 0 {
			break
		}
		i += 1 + next
	}
	return false, nil
}

// Networks is a match list of addresses and networks: mynetworks and its kin.
type Networks struct {
	// Subdomains says that "example.com" matches subdomains, not only
	// ".example.com" (parent_domain_matches_subdomains).
	Subdomains bool

	param string
	items []listItem
	o     Options
}

// OpenNetworks parses the value of param. A network whose host bits are not zero
// can only mean one thing: it is used, with a warning that has the correct
// form (Postfix would fail the lookups of all clients that reach it). What is
// no network at all fails the matches that reach it.
func OpenNetworks(param, value string, o Options) (*Networks, error) {
	l := &List{param: param, o: o}
	if err := l.add(value, false, 0); err != nil {
		return nil, err
	}
	n := &Networks{param: param, items: l.items, o: o}
	for i := range n.items {
		it := &n.items[i]
		if it.table != nil || it.err != nil {
			continue
		}
		if !strings.ContainsAny(it.text, "/:[") && !looksNumeric(it.text) {
			continue // a host name
		}
		it.prefix, it.err = ParseNetwork(it.text)
		if it.err == nil {
			continue
		}
		o.warnf("%s: %v", param, it.err)
		if it.prefix.IsValid() {
			it.prefix, it.err = it.prefix.Masked(), nil
		}
	}
	return n, nil
}

func looksNumeric(s string) bool { return s != "" && strings.Trim(s, "0123456789.") == "" }

// errNetworks marks an item that cannot be matched.
var errNetworks = errors.New("cannot be matched")

// MatchAddr reports whether a client is in the list, by address or by name. An
// error is temporary.
func (n *Networks) MatchAddr(ctx context.Context, host string, addr netip.Addr) (bool, error) {
	if n == nil {
		return false, nil
	}
	addr = addr.Unmap()
	for i := range n.items {
		it := &n.items[i]
		if it.err != nil {
			return false, fmt.Errorf("%s: %w: %w", n.param, errNetworks, it.err)
		}
		matched, err := n.matchItem(ctx, it, host, addr)
		if err != nil {
			return false, lookupProblem(&n.o, n.param, it, err)
		}
		if matched {
			return !it.negate, nil
		}
	}
	return false, nil
}

func (n *Networks) matchItem(ctx context.Context, it *listItem, host string, addr netip.Addr) (bool, error) {
	if it.prefix.IsValid() {
		return it.prefix.Contains(addr), nil
	}
	if host != "" && host != "unknown" {
		names := List{kind: Domains}
		if n.Subdomains {
			names.kind = DomainsBelow
		}
		if found, err := names.matchItem(ctx, it, strings.ToLower(host)); err != nil || found {
			return found, err
		}
	}
	if it.table == nil || !addr.IsValid() {
		return false, nil
	}
	_, found, err := it.table.Lookup(ctx, addr.String())
	return found, err
}

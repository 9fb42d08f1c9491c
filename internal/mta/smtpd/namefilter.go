package smtpd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
)

// Errors of smtpd_dns_reply_filter. As Postfix does, both are taken for temporary: the answer is not
// known.
var (
	errFiltered   = errors.New("DNS reply filter drops all results")
	errNameFilter = errors.New("Invalid DNS reply filter syntax")
)

// filteredNames are Names without the DNS records that smtpd_dns_reply_filter ignores. What the system
// says of host names is not filtered.
type filteredNames struct {
	Names
	maps resolve.Maps
	log  *maillog.Logger
}

// filterNames puts smtpd_dns_reply_filter, if there is one, before names.
func filterNames(names Names, maps resolve.Maps, log *maillog.Logger) Names {
	if names == nil || maps.Empty() {
		return names
	}
	return &filteredNames{names, maps, log}
}

func (f *filteredNames) Addrs(ctx context.Context, name string, family dns.Family) (dns.Answer[netip.Addr], error) {
	a, err := f.Names.Addrs(ctx, name, family)
	return filterAnswer(ctx, f, name, a, err, func(ip netip.Addr) string {
		if ip.Is4() {
			return "A " + ip.String()
		}
		return "AAAA " + ip.String()
	})
}

func (f *filteredNames) MX(ctx context.Context, name string) (dns.Answer[dns.MX], error) {
	a, err := f.Names.MX(ctx, name)
	if len(a.Records) == 1 && a.Records[0].Host == "" {
		return a, err // of a domain that takes no mail
	}
	return filterAnswer(ctx, f, name, a, err, func(mx dns.MX) string { return fmt.Sprintf("MX %d %s.", mx.Pref, mx.Host) })
}

func (f *filteredNames) NS(ctx context.Context, name string) (dns.Answer[string], error) {
	a, err := f.Names.NS(ctx, name)
	return filterAnswer(ctx, f, name, a, err, func(host string) string { return "NS " + host + "." })
}

func (f *filteredNames) TXT(ctx context.Context, name string) (dns.Answer[string], error) {
	a, err := f.Names.TXT(ctx, name)
	return filterAnswer(ctx, f, name, a, err, func(text string) string { return "TXT " + text })
}

// filterAnswer leaves out the records of an answer that the table says to ignore. data is type and data
// of a record, which the table is asked for as "name. ttl IN type data".
func filterAnswer[T any](ctx context.Context, f *filteredNames, name string, a dns.Answer[T], err error, data func(T) string) (dns.Answer[T], error) {
	if err != nil {
		return a, err
	}
	kind := ""
	var left []T
	for _, r := range a.Records {
		text := data(r)
		kind, _, _ = strings.Cut(text, " ")
		record := fmt.Sprintf("%s. %d IN %s", a.Name, int(a.TTL.Round(time.Second).Seconds()), text)
		value, found, err := f.maps.Lookup(ctx, record)
		if err != nil { // of which the table has told
			return dns.Answer[T]{}, &dns.Error{Name: name, Type: kind, Err: errNameFilter}
		}
		action, _, _ := strings.Cut(value, " ")
		switch {
		case !found:
			left = append(left, r)
		case strings.EqualFold(action, "IGNORE"):
			f.log.Infof("ignoring DNS RR: %s", record)
		default:
			f.log.Warningf("smtpd_dns_reply_filter: unknown DNS filter action: \"%s\"", value)
			return dns.Answer[T]{}, &dns.Error{Name: name, Type: kind, Err: errNameFilter}
		}
	}
	if len(left) == 0 {
		return dns.Answer[T]{}, &dns.Error{Name: name, Type: kind, Err: errFiltered}
	}
	a.Records = left
	return a, nil
}

// lookupError is how Postfix words that a lookup failed.
func lookupError(name, kind string, err error) string {
	for _, own := range []error{errFiltered, errNameFilter} {
		if errors.Is(err, own) {
			return "Error looking up name=" + name + " type=" + kind + ": " + own.Error()
		}
	}
	return "Host or domain name not found. " + err.Error()
}

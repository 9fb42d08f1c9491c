package smtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/dns"
)

// Errors of smtp_dns_reply_filter. Both are temporary.
var (
	errFiltered = errors.New("DNS reply filter drops all results")
	errFilter   = errors.New("Invalid DNS reply filter syntax")
)

func filterText(name, kind string, err error) string {
	return "Error looking up name=" + name + " type=" + kind + ": " + err.Error()
}

// filter leaves out the records of an answer that smtp_dns_reply_filter ignores, and those that are too many. text gives
// type and data of a record, for the form in which the table has it: "name. ttl IN type data".
func filter[T any](ctx context.Context, a *Agent, kind, name string, answer dns.Answer[T], text func(T) (kind, data string)) ([]T, error) {
	records := answer.Records
	if len(records) > maxRecords {
		a.log.Warningf("DNS record count limit (%d) exceeded -- dropping excess record(s) after qname=%s qtype=%s", maxRecords, name, kind)
		records = records[:maxRecords]
	}
	if a.dnsFilter.Empty() {
		return records, nil
	}
	param := a.protocol.prefix() + "dns_reply_filter"
	var left []T
	for _, r := range records {
		kind, data := text(r)
		record := fmt.Sprintf("%s. %d IN %s %s", answer.Name, int(answer.TTL.Round(time.Second).Seconds()), kind, data)
		value, found, err := a.dnsFilter.Lookup(ctx, record)
		if err != nil { // of which the table has told
			return nil, errFilter
		}
		action, _, _ := strings.Cut(value, " ")
		switch {
		case !found:
			left = append(left, r)
		case strings.EqualFold(action, "IGNORE"):
			a.log.Infof("ignoring DNS RR: %s", record)
		default:
			a.log.Warningf("%s: unknown DNS filter action: %q", param, value)
			return nil, errFilter
		}
	}
	if len(left) == 0 {
		return nil, errFiltered
	}
	return left, nil
}

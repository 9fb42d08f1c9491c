package smtpd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
)

// paths are addresses as clients write them, in MAIL or RCPT.
var paths = []string{"<a@good.example>", "a@good.example", "<a@good.example(x)>", "<a@good.example (x)>", "<(x)a@good.example>", "<@b:a@good.example>", "@b:a@good.example",
	"<\"(x)\"@good.example>", "<\"a b\"@good.example>", "<a\\(@good.example>", "<>", "<@>", "<@good.example>", "< a@good.example >",
	"<a>", "a", "<a@good.example>x", "<a@[192.0.2.1]>", "<a;b@good.example>", "<a@good.example,b@good.example>", "<<a@good.example>>"}

// strict_rfc821_envelopes, smtpd_dns_reply_filter, and a table of local_header_rewrite_clients that fails.
func TestFilters(t *testing.T) {
	names := dnstest.NewOnPort53(t, zone+"mail.example.test. IN A 127.0.0.1\n")
	names.Fail("fail.example", 2)
	tables := map[string]string{
		"dns": "/ A 203\\.0\\.113\\.66$/ IGNORE\n/^mx\\.good\\.example\\..* A / IGNORE text\n/ MX 10 mx\\.evil/ ignore\n/^sub/ REJECT\n" +
			"/^9\\.2\\.0\\.192\\.rbl\\.test\\. [0-9]+ IN TXT/ IGNORE\n/ NS ns\\.evil/ IGNORE\n/^66\\.113/ IGNORE\n",
		"access": "mx.good.example REJECT mx\n192.0.2.10 REJECT address\nmx.evil.example REJECT mx\n203.0.113.67 REJECT address\nns.evil.example REJECT ns\n",
	}
	services := []service{
		{"strict", []string{"strict_rfc821_envelopes = yes"}},
		{"lax", nil},
		{"rewrite", []string{"local_header_rewrite_clients = permit_mynetworks, check_address_map fail:x"}},
		{"dns", []string{"smtpd_dns_reply_filter = regexp:TABLES/dns", "smtpd_recipient_restrictions = reject_unauth_destination, reject_unknown_helo_hostname, reject_unknown_sender_domain, " +
			"check_sender_mx_access texthash:TABLES/access, check_sender_ns_access texthash:TABLES/access, check_helo_a_access texthash:TABLES/access, reject_rbl_client rbl.test, " +
			"reject_rhsbl_sender rhs.test"}},
		{"dnsfail", []string{"smtpd_dns_reply_filter = fail:x", "smtpd_recipient_restrictions = reject_unauth_destination, reject_unknown_sender_domain, reject_rbl_client rbl.test"}},
		{"mxnets", []string{"permit_mx_backup_networks = !127.0.0.66/32, 127.0.0.0/8, 192.0.2.0/24", "smtpd_recipient_restrictions = permit_mx_backup, reject", "smtpd_relay_restrictions ="}},
		{"backup", []string{"smtpd_dns_reply_filter = regexp:TABLES/dns", "smtpd_recipient_restrictions = permit_mx_backup, reject", "smtpd_relay_restrictions ="}},
	}
	var syntax dialogue
	syntax = append(syntax, "EHLO c\r\n")
	for _, path := range paths {
		syntax = append(syntax, "MAIL FROM:"+path+"\r\n", "RSET\r\n", "MAIL FROM: "+path+" SIZE=1\r\n", "RSET\r\n", "MAIL FROM:<a@good.example>\r\n", "RCPT TO:"+strings.ReplaceAll(path, "good.example", "example.com")+"\r\n", "RSET\r\n")
	}
	transactions := dialogue{"EHLO c\r\n", "MAIL FROM:<a@good.example>\r\n", "RCPT TO:<alice@example.com>\r\n", "RSET\r\n"}
	talks := map[string][]dialogue{"strict": {syntax}, "lax": {syntax}, "rewrite": {transactions,
		append(dialogue{"XCLIENT ADDR=10.1.2.3\r\n"}, transactions...)}}
	for _, addr := range []string{"192.0.2.9", "203.0.113.66"} {
		for _, helo := range []string{"mx.good.example", "evil.example", "nomx.example", "sub.good.example", "fail.example"} {
			for _, sender := range []string{"a@good.example", "a@evil.example", "a@nomx.example", "a@sub.good.example", "a@null.example", "a@fail.example", "a@none.example"} {
				d := dialogue{"XCLIENT NAME=[UNAVAILABLE] ADDR=" + addr + "\r\n", "EHLO " + helo + "\r\n", "MAIL FROM:<" + sender + ">\r\n", "RCPT TO:<alice@example.com>\r\n",
					"RCPT TO:<x@backup.example>\r\n", "RCPT TO:<x@evil.example>\r\n", "RCPT TO:<x@good.example>\r\n", "RCPT TO:<x@fail.example>\r\n", "RCPT TO:<x@none.example>\r\n"}
				for _, name := range []string{"dns", "dnsfail", "backup", "mxnets"} {
					talks[name] = append(talks[name], d)
				}
			}
		}
	}
	var outcomes [2]map[string]outcome
	for i, p := range programs {
		outcomes[i] = haveTalks(t, startSite(t, p, "", services, tables, names), talks)
	}
	for name, want := range map[string]string{"mxnets": "RCPT TO:<x@backup.example>\\r\\n\"\nS: 250 ", "backup": "RCPT TO:<x@good.example>\\r\\n\"\nS: 554 "} {
		if got := fmt.Sprint(outcomes[0][name].replies); !strings.Contains(got, want) {
			t.Errorf("%s: no %q in\n%.2000s", name, want, got)
		}
	}
	for _, s := range services {
		replies := cmp.Diff(outcomes[0][s.name].replies, outcomes[1][s.name].replies)
		log := cmp.Diff(lookups(outcomes[0][s.name].log), lookups(outcomes[1][s.name].log))
		if replies != "" || log != "" {
			t.Errorf("%s\nreplies (-Postfix +Dovetail):\n%s\nlog:\n%s", s.name, replies, log)
		}
	}
}

// lookups is a log without lines about DNS records: Postfix remembers what lists say, and asks for
// addresses and mail exchangers in another order.
func lookups(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "DNS RR: ") && !strings.Contains(line, "lookup error") {
			out.WriteString(line)
		}
	}
	return out.String()
}

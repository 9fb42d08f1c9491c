package smtpd

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
)

var (
	lists     = flag.Int("lists", 16, "how many random restriction lists the differential test has")
	dialogues = flag.Int("dialogues", 10, "how many random dialogues it has with each")
	seed      = flag.Uint64("seed", 1, "where its random choices begin")
)

const zone = `
good.example.          IN MX 10 mx.good.example.
good.example.          IN NS ns.good.example.
mx.good.example.       IN A 192.0.2.10
ns.good.example.       IN A 192.0.2.11
sub.good.example.      IN A 192.0.2.12
nomx.example.          IN A 192.0.2.13
null.example.          IN MX 0 .
evil.example.          IN MX 10 mx.evil.example.
evil.example.          IN NS ns.evil.example.
mx.evil.example.       IN A 203.0.113.66
ns.evil.example.       IN A 203.0.113.67
evil.example.          IN A 203.0.113.66
backup.example.        IN MX 10 mx.good.example.
backup.example.        IN MX 20 mail.example.test.
9.2.0.192.rbl.test.    IN A 127.0.0.2
9.2.0.192.rbl.test.    IN TXT "listed for the test"
66.113.0.203.rbl.test. IN A 127.0.0.10
evil.example.rhs.test. IN A 127.0.0.4
evil.example.rhs.test. IN TXT "see http://rhs.test/"
10.2.0.192.wl.test.    IN A 127.0.5.3
mx.good.example.wl.test. IN A 127.0.5.3
8.b.d.0.1.0.0.2.example. IN A 192.0.2.1
1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.rbl.test. IN A 127.0.0.2
`

// The words of which dialogues and lists are made.
var (
	clientAddrs = []string{"192.0.2.9", "192.0.2.10", "203.0.113.66", "10.1.2.3", "IPv6:2001:db8::1", "127.0.0.1", "198.51.100.7"}
	clientNames = []string{"mx.good.example", "mx.evil.example", "[UNAVAILABLE]", "[TEMPUNAVAIL]", "client.sub.good.example", "localhost"}
	heloNames   = []string{"mx.good.example", "evil.example", "localhost", "[192.0.2.9]", "[IPv6:2001:db8::1]", "[300.1.1.1]", "a_b.example", "-bad-.example",
		"none.example", "fail.example", "192.0.2.9", "nomx.example.", "x..y", "null.example", "a b c"}
	senders = []string{"a@good.example", "a@evil.example", "", "a@none.example", "a@fail.example", "a@null.example", "alice@example.com", "nobody@example.com",
		"a", "a@host", "a@sub.good.example", "a+x@good.example", "\"a b\"@good.example", "a@[192.0.2.9]", "gone@example.com", "v@vmail.example", "a%good.example@example.com"}
	recipients = []string{"alice@example.com", "bob@example.com", "nobody@example.com", "alice+ext@example.com", "v@vmail.example", "x@vmail.example",
		"info@alias.example", "x@alias.example", "r@relay.example", "x@relay.example", "a@good.example", "a@evil.example", "a@none.example", "a@null.example",
		"postmaster", "alice", "gone@example.com", "alice%good.example@example.com", "good.example!alice@example.com", "@good.example:alice@example.com",
		"\"a@good.example\"@example.com", "alice@[127.0.0.1]", "a@fail.example", "a@backup.example", "a@sub.good.example", "\"al ice\"@example.com"}
	actions = []string{"OK", "REJECT", "REJECT no thanks", "REJECT 5.7.9 no thanks", "DUNNO", "DEFER", "DEFER 4.1.8 wait", "450 4.2.0 later", "554 go away", "550",
		"421 too busy", "DEFER_IF_PERMIT", "DEFER_IF_PERMIT 4.5.6 maybe", "DEFER_IF_REJECT perhaps", "HOLD", "HOLD why not", "DISCARD", "DISCARD quietly", "INFO noted",
		"WARN careful", "PREPEND X-Test: yes", "PREPEND nonsense", "REDIRECT bob@example.com", "REDIRECT nowhere", "BCC bob@example.com", "FILTER discard:x", "FILTER x",
		"123456", "RELAY", "permit_mynetworks, reject", "reject_unauth_destination", "warn_if_reject reject", "strict", "lenient", "no_such_thing", "200 fine",
		"check_client_access hash:/x", "reject_rbl_client rbl.test", "5.1.1 x", "550 5.1.1 mapped", "REJECT 5.1.6 moved"}
	keys = []string{"mx.good.example", "good.example", "example", "evil.example", "unknown", "localhost", "192.0.2.9", "192.0.2", "203.0", "10", "2001:db8", "2001:db8::1",
		"a@good.example", "a@", "alice@", "alice@example.com", "example.com", "alice+ext@example.com", "<>", "nobody@example.com", "203.0.113.66", "ns.evil.example",
		"mx.evil.example", "none.example", "vmail.example", "relay.example", "bob@", "DATA", "localhost.localdomain", "nomx.example"}
)

// tableCount is how many random access tables there are.
const tableCount = 12

// random makes lists and dialogues.
type random struct{ *rand.Rand }

func (r random) of(words []string) string { return words[r.IntN(len(words))] }

func (r random) table() string { return fmt.Sprintf("texthash:TABLES/access%d", r.IntN(tableCount)) }

// access is the text of an access table.
func (r random) access() string {
	var b strings.Builder
	for _, i := range r.Perm(len(keys))[:6] {
		fmt.Fprintf(&b, "%s %s\n", keys[i], r.of(actions))
	}
	return b.String()
}

// restrictions by the lists they may stand in; TABLE is any access table.
var general = []string{"permit_mynetworks", "defer_if_permit", "defer_if_reject", "reject_unauth_pipelining", "check_client_access TABLE", "check_client_access TABLE",
	"check_reverse_client_hostname_access TABLE", "check_helo_access TABLE", "check_helo_access TABLE", "check_sender_access TABLE", "check_sender_access TABLE",
	"check_recipient_access TABLE", "check_recipient_access TABLE", "reject_unknown_client_hostname", "reject_unknown_reverse_client_hostname", "reject_invalid_helo_hostname",
	"reject_non_fqdn_helo_hostname", "reject_unknown_helo_hostname", "reject_non_fqdn_sender", "reject_unknown_sender_domain", "reject_non_fqdn_recipient",
	"reject_unknown_recipient_domain", "reject_unlisted_recipient", "reject_multi_recipient_bounce", "reject_rbl_client rbl.test",
	"reject_rbl_client rbl.test=127.0.0.[1..3;9]", "reject_rhsbl_client rhs.test", "reject_rhsbl_helo rhs.test", "reject_rhsbl_sender rhs.test", "reject_rhsbl_recipient rhs.test",
	"reject_rhsbl_reverse_client rhs.test", "permit_dnswl_client wl.test", "permit_rhswl_client wl.test", "check_sender_mx_access TABLE", "check_sender_ns_access TABLE",
	"check_sender_a_access TABLE", "check_helo_mx_access TABLE", "check_helo_a_access TABLE", "check_client_mx_access TABLE", "check_client_a_access TABLE",
	"check_recipient_mx_access TABLE", "check_recipient_ns_access TABLE", "permit_auth_destination", "permit_mx_backup", "strict", "lenient", "reject_plaintext_session",
	"reject_sender_login_mismatch", "permit_sasl_authenticated", "reject_rbl_client", "check_client_access", "no_such_restriction", "check_policy_service inet:POLICY",
	"check_etrn_access TABLE"}

// list makes a restriction list.
func (r random) list(n int) string {
	var words []string
	for range r.IntN(n + 1) {
		word := strings.ReplaceAll(r.of(general), "TABLE", r.table())
		if r.IntN(8) == 0 {
			word = "warn_if_reject " + word
		}
		words = append(words, word)
	}
	return strings.Join(words, ", ")
}

// endings close the recipient list.
var endings = []string{"reject_unauth_destination", "defer_unauth_destination", "permit_mynetworks, reject", "reject_unauth_destination, permit", "permit_auth_destination, defer"}

func (r random) service(i int) service {
	s := service{name: fmt.Sprintf("list%d", i)}
	for _, param := range []string{"client", "helo", "sender", "data", "end_of_data", "etrn"} {
		if r.IntN(3) > 0 {
			continue
		}
		list := r.list(3)
		if param == "sender" && r.IntN(3) == 0 {
			list += ", reject_unlisted_sender" // elsewhere Postfix forgets to check it for other recipients
		}
		s.settings = append(s.settings, "smtpd_"+param+"_restrictions = "+list)
	}
	s.settings = append(s.settings,
		"smtpd_relay_restrictions = "+r.of([]string{"", "permit_mynetworks, defer_unauth_destination", r.list(3)}),
		"smtpd_recipient_restrictions = "+r.list(5)+" permit_mynetworks, "+r.of(endings)) // what lacks an argument takes the first
	for _, setting := range []string{
		"smtpd_delay_reject = no", "soft_bounce = yes", "smtpd_reject_unlisted_sender = yes", "smtpd_reject_unlisted_recipient = no", "reject_tempfail_action = defer",
		"smtpd_helo_required = yes", "smtpd_log_access_permit_actions = static:all", "smtpd_relay_before_recipient_restrictions = no", "access_map_reject_code = 521",
		"smtpd_null_access_lookup_key = nobody@example.com", "parent_domain_matches_subdomains =", "allow_untrusted_routing = yes", "show_user_unknown_table_name = no",
		"smtpd_reject_footer = \\c. For $recipient of $sender_domain from $client_address ask $server_name", "unknown_client_reject_code = 554", "unknown_address_reject_code = 554",
		"rbl_reply_maps = inline:{{rbl.test=521 4.7.1 blocked by $$rbl_domain: $$rbl_what $$rbl_class$${rbl_reason?, $$rbl_reason}}}", "smtpd_expansion_filter = abcdefghijklmnopqrstuvwxyz",
		"permit_mx_backup_networks = 192.0.2.0/24", "disable_vrfy_command = yes", "swap_bangpath = no", "allow_percent_hack = no",
		"unknown_local_recipient_reject_code = 450", "smtpd_discard_ehlo_keywords = etrn, dsn", "smtpd_recipient_limit = 2",
	} {
		if r.IntN(10) == 0 {
			s.settings = append(s.settings, setting)
		}
	}
	return s
}

// dialogue makes what a client says. RSET follows each message: Postfix goes on with the
// transaction if smtpd_end_of_data_restrictions refused it, and dies at the next BDAT.
func (r random) dialogue() dialogue {
	d := dialogue{fmt.Sprintf("XCLIENT NAME=%s ADDR=%s\r\n", r.of(clientNames), r.of(clientAddrs))}
	if r.IntN(2) == 0 {
		d[0] = strings.TrimSuffix(d[0], "\r\n") + " REVERSE_NAME=" + r.of(clientNames) + "\r\n"
	}
	say := func(format string, args ...any) { d = append(d, fmt.Sprintf(format, args...)+"\r\n") }
	if r.IntN(10) > 0 {
		say("%s %s", r.of([]string{"HELO", "EHLO", "EHLO"}), r.of(heloNames))
	}
	for range 1 + r.IntN(3) {
		say("MAIL FROM:<%s>%s", r.of(senders), r.of([]string{"", "", "", " SIZE=1000", " BODY=8BITMIME", " SIZE=99999999", " RET=HDRS ENVID=x"}))
		for range 1 + r.IntN(4) {
			say("RCPT TO:<%s>%s", r.of(recipients), r.of([]string{"", "", "", " NOTIFY=NEVER", " ORCPT=rfc822;x@y"}))
		}
		switch r.IntN(6) {
		case 0:
			say("RSET")
		case 1:
			say("BDAT %d LAST\r\nSubject: x\r\n", len("Subject: x\r\n")+2)
			say("RSET")
		case 2, 3, 4:
			say("DATA")
			// If that was refused this is a command, and the end of the session.
			say("Subject: x\r\n\r\nhello\r\n.")
			say("RSET")
		case 5:
			say("VRFY %s", r.of(recipients))
			say("RSET")
		}
		if r.IntN(8) == 0 {
			say("ETRN %s", r.of([]string{"example.com", "relay.example", "@good.example", "x y"}))
		}
	}
	return d
}

// TestDifferential has random clients talk with random restriction lists, and wants the same
// replies and the same log lines of both programs.
func TestDifferential(t *testing.T) {
	r := random{rand.New(rand.NewPCG(*seed, 0))}
	names := dnstest.NewOnPort53(t, zone)
	names.Fail("fail.example", 2)
	policy := startPolicy(t)
	tables := make(map[string]string)
	for i := range tableCount {
		tables[fmt.Sprintf("access%d", i)] = r.access()
	}
	var services []service
	talks := make(map[string][]dialogue)
	for i := range *lists {
		s := r.service(i)
		for i, setting := range s.settings {
			s.settings[i] = strings.ReplaceAll(setting, "POLICY", policy.addr)
		}
		services = append(services, s)
		for range *dialogues {
			talks[s.name] = append(talks[s.name], r.dialogue())
		}
	}
	const classes = `
smtpd_restriction_classes = strict, lenient
strict = reject_unknown_sender_domain, check_sender_access texthash:TABLES/access0, defer_if_permit
lenient = permit_mynetworks, warn_if_reject reject_non_fqdn_sender, check_client_access texthash:TABLES/access1
`
	var outcomes [2]map[string]outcome
	for i, p := range programs {
		outcomes[i] = haveTalks(t, startSite(t, p, classes, services, tables, names), talks)
	}
	for _, s := range services {
		replies := cmp.Diff(outcomes[0][s.name].replies, outcomes[1][s.name].replies)
		log := cmp.Diff(outcomes[0][s.name].log, outcomes[1][s.name].log)
		if replies != "" || log != "" {
			t.Errorf("%s\n  %s\nreplies (-Postfix +Dovetail):\n%s\nlog:\n%s", s.name, strings.Join(s.settings, "\n  "), replies, log)
		}
	}
}

// outcome is what came of all dialogues with a service.
type outcome struct{ replies, log string }

// haveTalks has the dialogues with each service, one after the other; some services
// at the same time.
func haveTalks(t *testing.T, s *site, talks map[string][]dialogue) map[string]outcome {
	all := make(map[string]outcome)
	var mu sync.Mutex
	var work sync.WaitGroup
	slots := make(chan struct{}, 8)
	for name, dialogues := range talks {
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			var replies strings.Builder
			log := ""
			for i, d := range dialogues {
				replies.WriteString(s.play(t, name, d) + "\n")
				log = s.logged(t, name, i+2) // after that of startSite
			}
			mu.Lock()
			defer mu.Unlock()
			all[name] = outcome{replies.String(), comparable(log)}
		})
	}
	work.Wait()
	return all
}

// once are warnings that Dovetail gives at start, once, or that tell of what happens within
// one of Postfix's processes.
var once = []string{"is ignored", "will be removed from Postfix"}

// comparable is a log without the lines that need not be the same.
func comparable(log string) string {
	var out strings.Builder
	for line := range strings.Lines(log) {
		if !slices.ContainsFunc(once, func(s string) bool { return strings.Contains(line, s) }) {
			out.WriteString(line)
		}
	}
	return out.String()
}

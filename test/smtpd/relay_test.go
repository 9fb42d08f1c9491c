package smtpd

import (
	"strings"
	"testing"
)

// relayProbes are addresses by which an open relay is found: each may lead to elsewhere
// through a host that is thought to be ours.
var relayProbes = []string{
	"victim@elsewhere.test", "victim%elsewhere.test@example.com", "victim%elsewhere.test@[127.0.0.1]", "victim%elsewhere.test", "elsewhere.test!victim",
	"elsewhere.test!victim@example.com", "elsewhere.test!victim@[127.0.0.1]", "elsewhere.test!victim%example.com", "@example.com:victim@elsewhere.test",
	"@[127.0.0.1]:victim@elsewhere.test", "@example.com,@localhost:victim@elsewhere.test", `"victim@elsewhere.test"`, `"victim@elsewhere.test"@example.com`,
	`"victim%elsewhere.test"@example.com`, `"victim%elsewhere.test"`, `"victim@elsewhere.test"@[127.0.0.1]`, `"elsewhere.test!victim"@example.com`,
	"victim@elsewhere.test@example.com", "victim@example.com@elsewhere.test", "victim@[192.0.2.1]", "victim@[127.0.0.1]", "victim@[IPv6:::1]", "victim@127.0.0.1", "victim@192.0.2.1",
	"victim%[192.0.2.1]@example.com", "victim@elsewhere.test.", "victim@elsewhere.test..", "alice@example.com.", "alice@EXAMPLE.com", "alice@example.com%elsewhere.test",
	"a%b%c@example.com", "a!b!c@example.com", "a!b%c@example.com", "a%b!c@example.com", "victim%elsewhere.test@relay.example", "elsewhere.test!victim@relay.example",
	"victim%elsewhere.test@vmail.example", "victim%elsewhere.test@alias.example", "info%elsewhere.test@alias.example", "victim@alias.example@elsewhere.test",
	"r@relay.example@elsewhere.test", "victim@#1", "victim@[127.0.0.1", "victim@127.0.0.1]", "victim@elsewhere.test:25", "victim@[elsewhere.test]", "\\victim@elsewhere.test",
	"victim\\@elsewhere.test@example.com", "|victim@example.com", "/victim@example.com", "victim @elsewhere.test", "victim@ elsewhere.test", "victim(@example.com)@elsewhere.test",
	"victim@elsewhere.test(@example.com)", "<victim@elsewhere.test>", "victim@elsewhere.test>, <alice@example.com", "group:victim@elsewhere.test;", "victim@", "@elsewhere.test", "@", "%elsewhere.test",
	"!victim", "elsewhere.test!", "victim%", "%", "postmaster@elsewhere.test", "postmaster%elsewhere.test", "\"postmaster\"", "postmaster@", "victim@elsewhere.test\x00@example.com",
	"victim@elsewhere.test\r@example.com", "victim@xn--ls8h.test", "víctim@elsewhere.test", "victim@elsewhëre.test",
}

// TestOpenRelay tries all that relays fall for: the same is refused as by Postfix.
func TestOpenRelay(t *testing.T) {
	services := []service{
		{"default", []string{"smtpd_relay_restrictions = permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"}},
		{"trusting", []string{"smtpd_relay_restrictions = reject_unauth_destination", "allow_untrusted_routing = yes"}},
		{"literal", []string{"smtpd_relay_restrictions = reject_unauth_destination", "allow_percent_hack = no", "swap_bangpath = no", "append_at_myorigin = no"}},
		{"access", []string{"smtpd_relay_restrictions =", "smtpd_recipient_restrictions = check_recipient_access inline:{{example.com=OK},{elsewhere.test=DUNNO}}, reject_unauth_destination"}},
	}
	var d dialogue
	for _, probe := range relayProbes {
		d = append(d, "RCPT TO:<"+probe+">\r\n", "RCPT TO:"+probe+"\r\n", "VRFY "+probe+"\r\n")
	}
	var got [2]map[string]string
	for i, p := range programs {
		s := startSite(t, p, "", services, nil, nil)
		got[i] = make(map[string]string)
		for _, svc := range services {
			for _, sender := range []string{"a@sender.test", "", "alice@example.com"} {
				say := append(dialogue{"XCLIENT NAME=probe.test ADDR=192.0.2.77\r\n", "EHLO probe.test\r\n", "MAIL FROM:<" + sender + ">\r\n"}, d...)
				got[i][svc.name+" <"+sender+">"] = s.play(t, svc.name, say)
			}
		}
	}
	for name, want := range got[0] {
		compareVerdicts(t, name, want, got[1][name])
	}
}

// compareVerdicts wants the same accepted and the same refused in two transcripts. What is
// no address either program may say in its own words.
func compareVerdicts(t *testing.T, name, want, got string) {
	t.Helper()
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	if len(a) != len(b) {
		t.Errorf("%s: %d lines, want %d:\n%s", name, len(b), len(a), got)
		return
	}
	denied, said := 0, ""
	for i := range a {
		if strings.HasPrefix(a[i], "C: ") {
			said = a[i]
		}
		if strings.Contains(a[i], "Relay access denied") {
			denied++
		}
		if a[i] != b[i] && (!refused(a[i]) || !refused(b[i])) {
			t.Errorf("%s: %s: Dovetail says %q, Postfix %q", name, said, b[i], a[i])
		}
	}
	if denied < 20 && !strings.HasPrefix(name, "trusting") {
		t.Errorf("%s: Postfix denied relay only %d times", name, denied)
	}
}

// refused reports whether a reply refuses what was said.
func refused(reply string) bool {
	return strings.HasPrefix(reply, "S: 4") || strings.HasPrefix(reply, "S: 5")
}

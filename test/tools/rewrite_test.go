package tools

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// rewritings are configurations that change envelopes and headers, and mail that shows it. The
// next hop takes all of it, in as many letters as Postfix sends.
var rewritings = []struct {
	name, main string
	send       []sending
	letters    int
}{
	{"mapping", `append_dot_mydomain = yes
canonical_maps = texthash:@ABOVE@/canonical
sender_canonical_maps = inline:{{joe@origin.test = joe.smith@company.test}}
recipient_canonical_maps = inline:{{old@remote.test = new@remote.test}}
masquerade_domains = !keep.company.test company.test
masquerade_exceptions = root
virtual_alias_maps = inline:{{list@remote.test = a@remote.test, b+x@remote.test} {plus@remote.test = minus@remote.test}}
always_bcc = archive@remote.test
sender_bcc_maps = inline:{{@company.test = audit@remote.test}}
recipient_bcc_maps = inline:{{new@remote.test = watch@remote.test}}
`, []sending{
		{"<joe@origin.test>", []string{"<list@remote.test>", "<old@remote.test>", "<plus+tag@remote.test>"},
			"From: joe@origin.test (Joe)\r\nTo: list@remote.test, \"Old, Man\" <old@remote.test>,\r\n\tsomebody\r\nCc: x@host, y!z\r\nSubject: one\r\n\r\nbody\r\n"},
		{"<user@pc.company.test>", []string{"<a@remote.test>"}, "From: user@pc.company.test\r\nSender: root@pc.company.test\r\nReply-To: u@a.keep.company.test\r\n\r\n"},
	}, 2},
	{"checks", `header_checks = regexp:{ {/^Subject: replace/ REPLACE Subject: other} {/^X-Drop/ IGNORE} {/^X-Strip/ STRIP} {/^X-Pre/ PREPEND X-Before: me}
 {/^X-Copy/ BCC copy@remote.test} {/^X-To/ REDIRECT redirected@remote.test} {/^X-Warn/ WARN of this} {/^X-Discard/ DISCARD} }
mime_header_checks = regexp:{ {/name=.*exe/ REPLACE X-Removed: it} }
nested_header_checks = regexp:{ {/^Subject:/ INFO nested} }
body_checks = regexp:{ {/^secret/ REPLACE [removed]} }
`, []sending{
		{"<sender@origin.test>", []string{"<a@remote.test>"}, "Subject: replace me\r\nX-Drop: 1\r\nX-Strip: 2\r\nX-Pre: 3\r\nX-Copy: 4\r\n\r\nsecret word\r\nopen word\r\n"},
		{"<sender@origin.test>", []string{"<a@remote.test>", "<b@remote.test>"}, "Subject: x\r\nX-To: elsewhere\r\nX-Warn: folded\r\n here\r\n\r\n"},
		{"<sender@origin.test>", []string{"<a@remote.test>"}, "Subject: x\r\nX-Discard: y\r\n\r\n"},
		{"<sender@origin.test>", []string{"<a@remote.test>"}, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/x; name=a.exe\r\n\r\nx\r\n" +
			"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nsecret\r\n--b--\r\n"},
	}, 3},
	{"another cleanup service", `cleanup_service_name = other
header_checks = regexp:{ {/^Subject/ REPLACE Subject: wrong} }
`, []sending{{"<sender@origin.test>", []string{"<a@remote.test>"}, "Subject: right\r\nX-Mark: y\r\n\r\n"}}, 1},
	{"receive_override_options", `receive_override_options = no_address_mappings, no_header_body_checks
header_checks = regexp:{ {/^Subject/ REJECT} }
canonical_maps = static:wrong@remote.test
always_bcc = wrong@remote.test
`, []sending{{"<sender@origin.test>", []string{"<a@remote.test>"}, "Subject: kept\r\nFrom: a@origin.test\r\n\r\n"}}, 1},
}

// otherCleanup is a cleanup service with settings of its own.
const otherCleanup = `other unix n - n - 0 cleanup
  -o syslog_name=postfix/other
  -o { header_checks = regexp:{ {/^X-Mark/ REPLACE X-Marked: by the other} } }
`

// TestRewriting sends the same mail through both, and compares what comes out and what cleanup
// logs.
func TestRewriting(t *testing.T) {
	for _, c := range rewritings {
		t.Run(c.name, func(t *testing.T) {
			var letters, logs [2][]string
			for i, p := range programs {
				next := startNexthop(t, new(nexthop))
				tr := harness.NewTransport(t, p, harness.TransportOptions{
					Relay: "smtp:[127.0.0.1]:" + portOf(next.Addr), Master: otherCleanup,
					Main: "smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtpd_sasl_type = dovecot\nsmtpd_reject_unlisted_recipient = no\n" +
						strings.ReplaceAll(c.main, "@ABOVE@", "$config_directory/.."),
				})
				harness.Write(t, tr.Dir+"/canonical", "somebody@other.test  nobody@remote.test\n@pc.company.test  @host.company.test\n")
				tr.Start(t)
				for _, s := range c.send {
					submit(t, tr.SMTP, s)
				}
				letters[i] = sortedRecipients(next.collect(t, c.letters))
				tr.Empty(t)
				if more := next.pending(); more > 0 {
					t.Errorf("%v: %d letters more than expected", p, more)
				}
				logs[i] = cleanupLog(t, tr.Log)
			}
			if diff := cmp.Diff(lines(letters[0]), lines(letters[1])); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
			}
			if diff := cmp.Diff(logs[0], logs[1]); diff != "" {
				t.Errorf("log: Postfix (-), Dovetail (+):\n%s", diff)
			}
		})
	}
}

// sortedRecipients sorts the RCPT commands of letters, which Postfix's queue manager sorts too.
func sortedRecipients(letters []string) []string {
	for i, letter := range letters {
		from, rest, _ := strings.Cut(letter, "\n")
		var to []string
		for strings.HasPrefix(rest, "RCPT TO:") {
			var command string
			command, rest, _ = strings.Cut(rest, "\n")
			to = append(to, command)
		}
		slices.Sort(to)
		letters[i] = from + "\n" + strings.Join(to, "\n") + "\n" + rest
	}
	return letters
}

var cleanupLine = regexp.MustCompile(`postfix/(?:other/)?cleanup\[\d+\]: (.*)`)

// cleanupLog is what cleanup logged, sorted: of Postfix several may run.
func cleanupLog(t *testing.T, file string) (all []string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range cleanupLine.FindAllStringSubmatch(string(text), -1) {
		all = append(all, normal(found[1]))
	}
	slices.Sort(all)
	return all
}

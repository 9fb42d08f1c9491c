package postfix

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Nothing registered supports these here. A value is refused if it asks for something
// whose absence would weaken security or lose mail.
func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"smtpd_milters = inet:localhost:1\n":                                  "mail would not pass through the filter",
		"smtpd_milters =\n":                                                   "",
		"smtpd_milters = $mua_milters\n":                                      "",
		"smtpd_milters = $mua_milters\nmua_milters = unix:m\n":                "mail would not pass through the filter",
		"smtp_dns_support_level = enabled\n":                                  "",
		"smtp_dns_support_level = dnssec\n":                                   "DNS answers",
		"smtpd_tls_mandatory_exclude_ciphers = aNULL, MD5 RC4:DES-CBC3-SHA\n": "",
		"smtpd_tls_exclude_ciphers = EDH+AES256\n":                            "",
		"smtp_tls_exclude_ciphers = aNULL, AES128\n":                          "ciphers that it excludes could be used",
		"mime_header_checks = $header_checks\n":                               "",
		"header_checks = pcre:/x\n":                                           "mail it would reject would be accepted",
		"strict_8bitmime = no\n":                                              "",
		"strict_8bitmime = yes\n":                                             "mail it would reject would be accepted",
		"smtpd_hide_client_session = yes\n":                                   "Received headers",
		"postscreen_dnsbl_sites = a.example\n":                                "",
	} {
		m := parseOK(t, text)
		switch err := m.Refused(); {
		case want == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "/test/main.cf, line 1: ")):
			t.Errorf("%q: %v, want %q with its place", text, err, want)
		}
	}
}

// The words in the table of refusals are parameters of Postfix.
func TestRefusalsAreKnown(t *testing.T) {
	for _, r := range refused {
		if Lookup(r.name) == nil {
			t.Errorf("%s is no parameter", r.name)
		}
	}
	for name := range noEffect {
		if Lookup(name) == nil {
			t.Errorf("%s is no parameter", name)
		}
	}
}

func TestOptionsOfServices(t *testing.T) {
	main := parseOK(t, "mua_filter = \nmessage_size_limit = 5\n")
	honors := func(e *ServiceEntry) Honors {
		return map[string]Honors{"smtpd": HonorsOptions, "cleanup": HonorsMain}[e.Command]
	}
	const where = "/test/master.cf: line 1: service x: "
	for _, tt := range []struct{ entry, refused, warning string }{
		{"smtpd -o smtpd_proxy_filter=127.0.0.1:10025", where + "-o smtpd_proxy_filter is not supported, and without it mail would not pass through the filter: remove it to start all the same", ""},
		{"smtpd -o smtpd_proxy_filter= -o smtpd_milters=$mua_filter", "", ""},
		{"smtpd -o {smtpd_milters = inet:localhost:1}", where + "-o smtpd_milters is not supported", ""},
		{"smtpd -o message_size_limit=7", "", ""},
		{"smtpd -o qmqpd_timeout=7", "", where + "setting -o qmqpd_timeout has no effect: there is no QMQP server"},
		{"smtpd -o my_own=7", "", ""},
		{"pipe -o smtpd_milters=inet:localhost:1", "", ""},
		{"cleanup -o header_checks=pcre:/x", where + "-o header_checks is not supported", ""},
		{"cleanup -o message_size_limit=7", "", where + "setting -o message_size_limit has no effect: the service runs with the parameters of main.cf"},
		{"cleanup -o message_size_limit=5", "", ""},
	} {
		services, err := ParseMaster("/test/master.cf", "x unix - - n - - "+tt.entry+"\n")
		if err != nil {
			t.Fatal(err)
		}
		if err := services.Refused(main, honors); (err != nil) != (tt.refused != "") || err != nil && !strings.HasPrefix(err.Error(), tt.refused) {
			t.Errorf("%s: %v, want %q", tt.entry, err, tt.refused)
		}
		if tt.refused != "" {
			continue
		}
		if got := strings.Join(services.WithoutEffect(main, honors), "\n"); got != tt.warning {
			t.Errorf("%s: warning %q, want %q", tt.entry, got, tt.warning)
		}
	}
}

func TestDisable(t *testing.T) {
	const text = "smtp inet n - n - - smtpd\nsubmission inet n - n - - smtpd\nsmtp unix - - n - - smtp\nx unix - - n - - smtp\n"
	for patterns, want := range map[string][]string{
		"":                        {"smtp/inet", "submission/inet", "smtp/unix", "x/unix"},
		"inet":                    {"smtp/unix", "x/unix"},
		"smtp/inet, x/unix":       {"submission/inet", "smtp/unix"},
		"!submission/inet inet":   {"submission/inet", "smtp/unix", "x/unix"},
		"inet, !submission/inet":  {"smtp/unix", "x/unix"},
		"submission.inet":         {"smtp/inet", "smtp/unix", "x/unix"},
		"smtp, nosuch/inet, fifo": {"smtp/inet", "submission/inet", "smtp/unix", "x/unix"},
	} {
		m, err := ParseMaster("/test/master.cf", text)
		if err != nil {
			t.Fatal(err)
		}
		m.Disable(patterns)
		var got []string
		for _, s := range m.Services {
			got = append(got, s.Name+"/"+s.Type)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", patterns, diff)
		}
	}
}

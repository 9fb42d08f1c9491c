package procedures

import (
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

const mainCF = "postfix/main.cf"

// postfixProcedures are those of chapter 2.
var postfixProcedures = []procedure{
	{
		number: "2.2-interfaces",
		steps:  []step{{"2a", []edit{change(mainCF, "inet_interfaces", "127.0.0.1/32, [::1]/128, 192.0.2.1, [2001:db8:1::1]")}}},
		fatal:  "postconf: fatal: config variable inet_interfaces: host not found: 127.0.0.1/32\n",
	},
	{
		number: "2.2-all-interfaces",
		steps: []step{
			{"2a", []edit{change(mainCF, "inet_interfaces", "all")}},
			{"2b", []edit{add(mainCF, "myhostname = smtp.example.com")}},
			{"2c", []edit{add(mainCF, "mydomain = example.com")}},
			{"2d", []edit{uncomment(mainCF, "myorigin = $mydomain")}},
			{"2e", []edit{add(mainCF, "mynetworks = 127.0.0.1/32, [::1]/128, 192.0.2.1/24, [2001:db8:1::1]/64")}},
		},
		want: []string{
			"inet_interfaces = all",
			"mydomain = example.com",
			"myhostname = smtp.example.com",
			"mynetworks = 127.0.0.1/32, [::1]/128, 192.0.2.1/24, [2001:db8:1::1]/64",
			"myorigin = $mydomain",
		},
	},
	{
		number: "2.2-open-relay-server1",
		steps:  []step{{"verification 3a", []edit{change(mainCF, "relayhost", "192.0.2.2")}}},
		want:   []string{"relayhost = 192.0.2.2"},
	},
	{
		number: "2.2-open-relay-server2",
		steps:  []step{{"verification 3b", []edit{change(mainCF, "mynetworks", "192.0.2.2")}}},
		want:   []string{"mynetworks = 192.0.2.2"},
	},
	{
		number: "2.3-tls",
		steps: []step{
			{"1", []edit{
				change(mainCF, "smtpd_tls_cert_file", "/etc/pki/tls/certs/postfix.pem"),
				change(mainCF, "smtpd_tls_key_file", "/etc/pki/tls/private/postfix.key"),
			}},
			{"2", []edit{add(mainCF, "smtpd_tls_auth_only = yes")}},
			{"note", []edit{add(mainCF, "smtp_tls_loglevel = 1")}},
		},
		want: []string{
			"smtp_tls_loglevel = 1",
			"smtpd_tls_auth_only = yes",
			"smtpd_tls_cert_file = /etc/pki/tls/certs/postfix.pem",
			"smtpd_tls_key_file = /etc/pki/tls/private/postfix.key",
		},
	},
	{
		number: "2.4-null-client",
		steps: []step{
			{"1a", []edit{change(mainCF, "mydestination", "")}},
			{"1b", []edit{change(mainCF, "relayhost", "[relay.example.com]")}},
			{"1c", []edit{change(mainCF, "inet_interfaces", "loopback-only")}},
			{"1d", []edit{change(mainCF, "myorigin", "relay.example.com")}},
			{"1e", []edit{add(mainCF, "local_transport = error: local delivery disabled")}},
			{"1f", []edit{add(mainCF, "mynetworks = 127.0.0.0/8, [::1]/128")}},
		},
		want: []string{
			"inet_interfaces = loopback-only",
			"local_transport = error: local delivery disabled",
			"mydestination =",
			"mynetworks = 127.0.0.0/8, [::1]/128",
			"myorigin = relay.example.com",
			"relayhost = [relay.example.com]",
		},
	},
	{
		number: "2.5-domains",
		steps: []step{
			{"1", []edit{add("postfix/virtual", "info@example.com user22@example.net\nsales@example.com user11@example.org")}},
			{"3", []edit{add(mainCF, "virtual_alias_maps = hash:/etc/postfix/virtual")}},
		},
		want: []string{"virtual_alias_maps = hash:/etc/postfix/virtual"},
	},
	{
		number: "2.6-ldap",
		steps: []step{
			{"1", []edit{create("postfix/ldap-aliases.cf", "server_host = ldap.example.com\nsearch_base = dc=example,dc=com\nquery_filter = mailacceptinggeneralid=%s")}},
			{"2", []edit{add(mainCF, "virtual_alias_maps = ldap:/etc/postfix/ldap-aliases.cf")}},
		},
		want: []string{"virtual_alias_maps = ldap:/etc/postfix/ldap-aliases.cf"},
	},
	{
		number: "2.7-submission",
		steps: []step{
			{"1a", []edit{add(mainCF, "smtpd_sasl_auth_enable = yes\nbroken_sasl_auth_clients = yes")}},
			{"1b", []edit{add(mainCF, "smtpd_tls_auth_only = yes")}},
			{"1c", []edit{add(mainCF, "smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination")}},
			{"1d", []edit{add(mainCF, "smtpd_sender_restrictions = reject_sender_login_mismatch")}},
		},
		want: []string{
			"broken_sasl_auth_clients = yes",
			"smtpd_relay_restrictions = permit_mynetworks permit_sasl_authenticated defer_unauth_destination",
			"smtpd_sasl_auth_enable = yes",
			"smtpd_sender_restrictions = reject_sender_login_mismatch",
			"smtpd_tls_auth_only = yes",
		},
	},
	{
		number: "2.8-dovecot-virtual",
		steps:  []step{{"1", []edit{add(mainCF, "virtual_transport = lmtp:unix:/var/run/dovecot/lmtp")}}},
		want:   []string{"virtual_transport = lmtp:unix:/var/run/dovecot/lmtp"},
	},
	{
		number: "2.8-dovecot-local",
		steps:  []step{{"1", []edit{change(mainCF, "mailbox_transport", "lmtp:unix:/var/run/dovecot/lmtp")}}},
		want:   []string{"mailbox_transport = lmtp:unix:/var/run/dovecot/lmtp"},
	},
	{
		number: "2.9-dovecot-elsewhere",
		steps:  []step{{"1", []edit{add(mainCF, "mailbox_transport = lmtp:inet:192.0.2.3:24")}}},
		want:   []string{"mailbox_transport = lmtp:inet:192.0.2.3:24"},
	},
	{
		number: "2.10.1-loopback",
		want:   []string{"inet_interfaces = localhost"}, // as installed
	},
	{
		number: "2.10.1-all",
		steps:  []step{{"3", []edit{change(mainCF, "inet_interfaces", "all")}}},
		want:   []string{"inet_interfaces = all"},
	},
	{
		number: "2.10.2-limits",
		steps: []step{{"1", []edit{add(mainCF, `smtpd_client_connection_rate_limit = 10
anvil_rate_time_unit = 120s
smtpd_client_event_limit_exceptions = 192.0.2.0/24
smtpd_client_message_rate_limit = 20
default_process_limit = 50
queue_minfree = 30720000
header_size_limit = 51200
message_size_limit = 20480000`)}}},
		want: []string{
			"anvil_rate_time_unit = 120s",
			"default_process_limit = 50",
			"header_size_limit = 51200",
			"message_size_limit = 20480000",
			"queue_minfree = 30720000",
			"smtpd_client_connection_rate_limit = 10",
			"smtpd_client_event_limit_exceptions = 192.0.2.0/24",
			"smtpd_client_message_rate_limit = 20",
		},
	},
	{
		number: "2.10.3-sasl-socket",
		steps: []step{
			{"2a", []edit{add(mainCF, "smtpd_sasl_auth_enable = yes")}},
			{"2b", []edit{add(mainCF, "smtpd_sasl_type = dovecot")}},
			{"2c", []edit{add(mainCF, "smtpd_sasl_path = private/auth")}},
			{"2d", []edit{add(mainCF, "smtpd_sasl_security_options = noanonymous, noplaintext\nsmtpd_sasl_tls_security_options = noanonymous")}},
		},
		want: []string{
			"smtpd_sasl_auth_enable = yes",
			"smtpd_sasl_path = private/auth",
			"smtpd_sasl_security_options = noanonymous, noplaintext",
			"smtpd_sasl_tls_security_options = noanonymous",
			"smtpd_sasl_type = dovecot",
		},
	},
	{
		number: "2.10.3-sasl-tcp",
		steps:  []step{{"2c", []edit{add(mainCF, "smtpd_sasl_path = inet:192.0.2.3:12345")}}},
		want:   []string{"smtpd_sasl_path = inet:192.0.2.3:12345"},
	},
}

func TestPostfixProcedures(t *testing.T) {
	for _, p := range postfixProcedures {
		t.Run(p.number, func(t *testing.T) {
			t.Parallel() // the original waits for name servers
			etc := install(t)
			follow(t, postfixProcedures, p, etc)
			compare(t, "postconf", []string{"-n", "-c", etc + "/postfix"}, p)
		})
	}
}

// 2.2: the document writes interfaces with masks, which Postfix refuses. Our
// daemons take them for what they can only mean, and say how to write them.
func TestInterfacesWithMasks(t *testing.T) {
	etc := install(t)
	// Without the addresses that this host does not have.
	if err := change(mainCF, "inet_interfaces", "127.0.0.1/32, [::1]/128").apply(etc); err != nil {
		t.Fatal(err)
	}
	m, err := postfix.Load(etc + "/postfix")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
	if all := strings.Join(m.Warnings(), "\n"); !strings.Contains(all, "write: inet_interfaces = 127.0.0.1, [::1]") {
		t.Errorf("no warning about 127.0.0.1/32 among\n%s", all)
	}
}

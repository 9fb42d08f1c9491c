package conf

import (
	"fmt"
	"testing"
)

// found are configurations in which the programs once differed, cut down to the
// lines that matter, and forms that published configurations of mail toolkits use.
var found = []string{
	// Checks after parsing: their order, and what they take for the value.
	"event_exporter e1 {\n}", "metric x {\n metric_name = other\n}", "passdb {\n driver = pam\n pass = yes\n result_success = continue\n}", "director_user_expire = 5s", "pop3c_features = a=b",
	"auth_verbose_passwords = :", "protocols = imap\nservice imap {\n unix_listener anvil {\n }\n}", "service x {\n type = <nothing\n}", "namespace inbox {\n alias_for = <nothing\n}",
	"managesieve_client_workarounds = bogus", "protocols = imap pop3\nuserdb {\n}\ndefault_client_limit = 7\ndsync_features = bogus", "userdb {\n driver = x\n result_success = return\n}",
	"protocols = imap pop3\nservice auth {\n protocol = other\n}", "namespace {\n mailbox x {\n  name = other\n  special_use = \\Bogus\n }\n}",
	// Filters.
	"local_name *.example.com {\n auth_debug = yes\n}", "local_name x {\n passdb {\n }\n}", "local 10.0.0.0/8 {\n listen = 10.0.0.1 [::1]\n}", "remote 10.0.0.2 {\n mail_executable = /x\n}",
	"local 10.0.0.1 {\n plugin {\n  sieve = 1\n }\n}\nplugin/sieve = 2", "protocol imap {\n plugin/quota = 1\n}\nplugin/quota = 2", "local_name \"a.example.com b.example.com\" {\n ssl_cert = </etc/a.pem\n}",
	// Obsolete settings, as panels still write them.
	"login_chroot = yes", "ssl_protocols = !SSLv2 !SSLv3", "ssl_protocols = !SSLv3\nprotocols = imaps pop3s", "ssl_cert_file = /etc/cert.pem\nssl_key_file = /etc/key.pem", "disable_plaintext_auth = no\nauth default {\n mechanisms = plain login\n}",
	// Lists that grow, quotes around everything, names with blanks.
	"mail_plugins = $mail_plugins quota\nprotocol imap {\n mail_plugins = $mail_plugins imap_quota\n}\nprotocol lda {\n mail_plugins = $mail_plugins sieve\n}", "namespace inbox {\n mailbox \"Sent Messages\" {\n  special_use = \\Sent\n }\n mailbox Sent {\n  special_use = \\Sent\n }\n}",
	"plugin {\n quota_warning = storage=95%% quota-warning 95 %u\n sieve_pipe_bin_dir = /usr/lib/dovecot/sieve\n quota_grace = 10%%\n}", "service stats {\n unix_listener stats-reader {\n  user = vmail\n  mode = 0660\n }\n}", "event_exporter e1 {\n name = x\n}\nevent_exporter e1 {\n transport = drop\n}",
	"dict {\n quota = mysql:/etc/dovecot/dovecot-dict-sql.conf.ext\n}\nservice dict {\n unix_listener dict {\n  mode = 0600\n  user = vmail\n }\n}", "auth_master_user_separator = *\nssl_cipher_list = ALL:!LOW # strong\nlog_timestamp = \"%Y-%m-%d %H:%M:%S \"",
}

func TestDovecotFound(t *testing.T) {
	for i, text := range found {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			checkDovecot(t, []*node{leaf(text)}, []string{"-n"}, []string{"-a"}, []string{"-S"})
		})
	}
}

func TestPostfixFound(t *testing.T) {
	for i, c := range []struct{ main, services string }{
		// Entries of one name share their -o, but not with one that comes before the first of them.
		{"own_first = x", "a unix - - n - - b\na unix - - n - - c -o own_third=\na unix - - n - - d -o own_second=$own_none"},
		{"own_first = x", "a unix - - n - - b -o { own_first = two words } -o own_none=$own_other\nb inet n - n - - smtpd\n  -o smtpd_client_restrictions=permit_mynetworks,reject\n# comment\n  -o smtpd_tls_security_level=encrypt"},
		{"config_directory = /etc/postfix\nown_first =\nown_first = a", "a unix - - n - - b"},
		{"virtual_alias_maps = proxy:mysql:/nonexistent/a.cf, proxy:ldap:own\nown_server_host = x\nown_bogus = y\nproxy_read_maps = $virtual_alias_maps $own_maps", "a unix - n n - - pipe flags=DRhu user=vmail argv=/bin/x -f ${sender} {two words}"},
		{"smtpd_restriction_classes = own_class\nown_class = check_sender_access hash:/x\nsmtpd_recipient_restrictions = permit_mynetworks,\n  # comment\n  own_class,\n  reject", "svc unix - - - 0 - pipe flags=DRhu -o own_level=x -o { own_third = a, b, c d e f g h i j k l m n o p q r s t u v }"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			checkPostfix(t, []*node{leaf(c.main)}, []*node{leaf(c.services)}, []string{"-n"}, []string{"-nx"}, []string{"-nf"}, []string{"-M"}, []string{"-Mf"}, []string{"-P"}, []string{"-F"}, []string{"-P", "*/*/own_new=1"})
		})
	}
}

package procedures

import "testing"

const (
	auth       = "dovecot/conf.d/10-auth.conf"
	mail       = "dovecot/conf.d/10-mail.conf"
	master     = "dovecot/conf.d/10-master.conf"
	tls        = "dovecot/conf.d/10-ssl.conf"
	mailboxes  = "dovecot/conf.d/15-mailboxes.conf"
	sieve      = "dovecot/conf.d/20-managesieve.conf"
	dovecotCF  = "dovecot/dovecot.conf"
	replicated = "dovecot/conf.d/10-replication.conf"
)

// dovecotProcedures are those of chapter 1.
var dovecotProcedures = []procedure{
	{
		number: "1.1.2-tls",
		steps: []step{
			{"3a", []edit{
				change(tls, "ssl_cert", "</etc/pki/dovecot/certs/server.example.com.crt"),
				change(tls, "ssl_key", "</etc/pki/dovecot/private/server.example.com.key"),
			}},
			{"3b", []edit{change(tls, "ssl_ca", "</etc/pki/dovecot/certs/ca.crt")}},
			{"3c", []edit{uncomment(tls, "ssl_dh = </etc/dovecot/dh.pem")}},
		},
		want: []string{
			"ssl = required",
			"ssl_ca = </etc/pki/dovecot/certs/ca.crt",
			"ssl_cert = </etc/pki/dovecot/certs/server.example.com.crt",
			"ssl_dh = # hidden, use -P to show it",
		},
	},
	{
		number: "1.1.3-virtual-users",
		after:  []string{"1.1.2-tls"},
		steps:  []step{{"4", []edit{change(mail, "mail_location", "sdbox:/var/mail/%n/")}}},
		want:   []string{"mail_location = sdbox:/var/mail/%n/"},
	},
	{
		number: "1.1.4-pam",
		after:  []string{"1.1.3-virtual-users"},
		steps: []step{
			{"1", []edit{change(mail, "first_valid_uid", "1000"), change(mail, "last_valid_uid", "60000")}},
			{"2", []edit{inSection("dovecot/conf.d/auth-system.conf.ext", "userdb {", "  override_fields = uid=vmail gid=vmail home=/var/mail/%n/")}},
		},
		want: []string{
			"first_valid_uid = 1000",
			"last_valid_uid = 60000",
			"  driver = pam",
			"  driver = passwd",
			"  override_fields = uid=vmail gid=vmail home=/var/mail/%n/",
		},
	},
	{
		number: "1.1.5-protocols",
		after:  []string{"1.1.4-pam"},
		steps:  []step{{"1", []edit{change(dovecotCF, "protocols", "imap lmtp")}}},
		want:   []string{"protocols = imap lmtp"},
	},
	{
		number: "1.2-ldap-search",
		after:  []string{"1.1.3-virtual-users"},
		steps: append(ldapSteps, step{"3", []edit{create("dovecot/dovecot-ldap.conf.ext", `dn = cn=dovecot_LDAP,dc=example,dc=com
dnpass = password
pass_filter = (&(objectClass=posixAccount)(uid=%n))
auth_bind = yes
uris = ldaps://LDAP-srv.example.com
tls_require_cert = hard
base = ou=People,dc=example,dc=com
scope = onelevel`)}}),
		want: []string{"  driver = ldap", "  args = /etc/dovecot/dovecot-ldap.conf.ext", "  override_fields = uid=vmail gid=vmail home=/var/mail/%n/"},
	},
	{
		number: "1.2-ldap-template",
		after:  []string{"1.1.3-virtual-users"},
		steps: append(ldapSteps, step{"3", []edit{create("dovecot/dovecot-ldap.conf.ext", `auth_bind_userdn = cn=%n,ou=People,dc=example,dc=com
auth_bind = yes
uris = ldap://LDAP-srv.example.com
tls = yes
tls_require_cert = hard
base = ou=People,dc=example,dc=com
scope = subtree`)}}),
		want: []string{"  driver = ldap"},
	},
	{
		number: "1.3-mariadb",
		after:  []string{"1.1.3-virtual-users"},
		steps: []step{
			{"2a", []edit{comment(auth, "!include auth-system.conf.ext")}},
			{"2b", []edit{uncomment(auth, "!include auth-sql.conf.ext")}},
			{"3", []edit{inSection("dovecot/conf.d/auth-sql.conf.ext", "userdb {", "  override_fields = uid=vmail gid=vmail home=/var/mail/%n/")}},
			{"4", []edit{create("dovecot/dovecot-sql.conf.ext", `driver = mysql
connect = host=mariadb_srv.example.com dbname=dovecotDB user=dovecot password=dovecotPW ssl_ca=/etc/pki/tls/certs/ca.crt
default_pass_scheme = SHA512-CRYPT
user_query = SELECT username FROM users WHERE username='%u';
password_query = SELECT username AS user, password FROM users WHERE username='%u';
iterate_query = SELECT username FROM users;`)}},
		},
		want: []string{"  driver = sql", "  args = /etc/dovecot/dovecot-sql.conf.ext", "  override_fields = uid=vmail gid=vmail home=/var/mail/%n/"},
	},
	{
		number: "1.4-replication",
		after:  []string{"1.1.4-pam"},
		steps: []step{
			{"1a", []edit{add(replicated, "mail_plugins = $mail_plugins notify replication")}},
			{"1b", []edit{add(replicated, `service replicator {
  process_min_avail = 1

  unix_listener replicator-doveadm {
    mode = 0600
    user = vmail
  }
}`)}},
			{"1c", []edit{add(replicated, `service aggregator {
  fifo_listener replication-notify-fifo {
    user = vmail
  }
  unix_listener replication-notify {
    user = vmail
  }
}`)}},
			{"1d", []edit{add(replicated, "service doveadm {\n  inet_listener {\n    port = 12345\n  }\n}")}},
			{"1e", []edit{add(replicated, "doveadm_password = replication_password")}},
			{"1f", []edit{add(replicated, "plugin {\n  mail_replica = tcp:server2.example.com:12345\n}")}},
			{"1g", []edit{add(replicated, "replication_max_conns = 20")}},
		},
		want: []string{
			"mail_plugins = \" notify replication\"",
			"  process_min_avail = 1",
			"  unix_listener replicator-doveadm {",
			"  fifo_listener replication-notify-fifo {",
			"  unix_listener replication-notify {",
			"    user = vmail",
			"    port = 12345",
			"doveadm_password = # hidden, use -P to show it",
			"  mail_replica = tcp:server2.example.com:12345",
			"replication_max_conns = 20",
		},
	},
	{
		number: "1.5-mailboxes",
		steps: []step{
			{"1a", []edit{
				inSection(mailboxes, "mailbox Drafts {", "    auto = subscribe"),
				inSection(mailboxes, "mailbox Junk {", "    auto = subscribe"),
				inSection(mailboxes, "mailbox Trash {", "    auto = subscribe"),
				inSection(mailboxes, "mailbox Sent {", "    auto = subscribe"),
			}},
			{"1b", []edit{inSection(mailboxes, "namespace inbox {", "  mailbox \"Important Emails\" {\n    auto = create\n  }")}},
		},
		want: []string{"    auto = subscribe", "  mailbox \"Important Emails\" {", "    auto = create"},
	},
	{
		number: "1.6-lmtp-socket",
		steps: []step{
			{"2", []edit{change(dovecotCF, "protocols", "imap pop3 lmtp")}},
			{"3", []edit{inSection(master, "unix_listener lmtp {", "    mode = 0600\n    user = postfix\n    group = postfix")}},
		},
		want: []string{"service lmtp {", "  unix_listener lmtp {", "    group = postfix", "    mode = 0600", "    user = postfix"},
	},
	{
		number: "1.6-lmtp-service",
		steps:  []step{{"3", []edit{inSection(master, "service lmtp {", "  inet_listener lmtp {\n    port = 24\n  }")}}},
		want:   []string{"service lmtp {", "  inet_listener lmtp {", "    port = 24"},
	},
	{
		number: "1.7-no-pop3",
		steps:  []step{{"1", []edit{change(dovecotCF, "protocols", "imap lmtp")}}},
		want:   []string{"protocols = imap lmtp"},
	},
	{
		number: "1.8-sieve",
		steps: []step{
			{"2", []edit{uncomment(sieve, "protocols = $protocols sieve")}},
		},
	},
	{
		number: "2.10.3-sasl-socket",
		steps: []step{
			{"1a", []edit{add(master, `service auth {
  unix_listener /var/spool/postfix/private/auth {
    mode = 0660
    user = postfix
    group = postfix
  }
}`)}},
			{"1c", []edit{change(auth, "auth_mechanisms", "plain login")}},
		},
		want: []string{"auth_mechanisms = plain login", "  unix_listener /var/spool/postfix/private/auth {", "    mode = 0660", "    user = postfix", "    group = postfix"},
	},
	{
		number: "2.10.3-sasl-tcp",
		after:  []string{"2.10.3-sasl-socket"},
		steps:  []step{{"1b", []edit{add(master, "service auth {\n  inet_listener {\n    port = 12345\n  }\n}")}}},
		want:   []string{"  inet_listener {", "    port = 12345"},
	},
}

// ldapSteps are those that both ways to find a user's entry have in common.
var ldapSteps = []step{
	{"1a", []edit{comment(auth, "!include auth-system.conf.ext")}},
	{"1b", []edit{uncomment(auth, "!include auth-ldap.conf.ext")}},
	{"2", []edit{inSection("dovecot/conf.d/auth-ldap.conf.ext", "userdb {", "  override_fields = uid=vmail gid=vmail home=/var/mail/%n/")}},
}

func TestDovecotProcedures(t *testing.T) {
	for _, p := range dovecotProcedures {
		t.Run(p.number, func(t *testing.T) {
			etc := install(t)
			follow(t, dovecotProcedures, p, etc)
			compare(t, "doveconf", []string{"-n", "-c", etc + "/dovecot/dovecot.conf"}, p)
		})
	}
}

package conf

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// A dovecotMaker makes random configurations of Dovecot.
type dovecotMaker struct {
	*rand.Rand
	sections  map[string][]*dovecot.Setting // settings by the path of their section
	files     int
	addresses bool // inside a filter by address or server name, where the settings of auth must not be
	wrong     bool // one thing may be wrong, which ends the configuration for both programs
}

func newDovecotMaker(seed uint64) *dovecotMaker {
	m := &dovecotMaker{Rand: rand.New(rand.NewPCG(seed, 2)), sections: map[string][]*dovecot.Setting{}}
	for _, s := range dovecot.Settings() {
		if s.Kind == dovecot.KindList || s.Kind == dovecot.KindStrMap {
			continue
		}
		section := ""
		if i := strings.LastIndexByte(s.Path, '/'); i >= 0 {
			section = s.Path[:i]
		}
		// Another name for a service or listener breaks up what the original prints.
		if !newer[s.Path] && s.Path != "service/name" && s.Path != "service/inet_listener/name" {
			m.sections[section] = append(m.sections[section], s)
		}
	}
	return m
}

// config is a whole configuration.
func (m *dovecotMaker) config() []*node {
	nodes := []*node{leaf("protocols = imap pop3")}
	for range 3 + m.IntN(25) {
		nodes = append(nodes, m.top(0))
	}
	return nodes
}

// top is something that may stand outside of sections, or in a filter.
func (m *dovecotMaker) top(depth int) *node {
	switch n := m.IntN(40); {
	case n < 14:
		return m.setting("")
	case n < 18:
		return m.section("service", m.serviceName(), m.service)
	case n < 21:
		return m.section("namespace", pick(m.Rand, []string{"", "inbox", "inbox", "a", "with space", "x/y"}), m.namespace)
	case n < 24 && !m.addresses:
		return m.section(pick(m.Rand, []string{"passdb", "userdb"}), pick(m.Rand, []string{"", "", "", fmt.Sprintf("db%d", m.IntN(1000))}), m.database)
	case n < 27:
		return m.section("plugin", "", m.plugin)
	case n < 28:
		return m.section("dict", "", m.plugin)
	case n < 29:
		return m.section("metric", fmt.Sprintf("m%d", m.IntN(3)), m.metric)
	case n < 30:
		return m.section("event_exporter", pick(m.Rand, []string{"e1", "e2"}), m.exporter)
	case n < 35 && depth < 3:
		return m.filter(depth)
	case n < 37 && depth < 3:
		return m.include(depth)
	case n < 38:
		return m.slashPath()
	case n < 39:
		return m.obsolete()
	}
	return leaf(pick(m.Rand, oddLines))
}

// oddLines do nothing, or what one would not expect of them.
var oddLines = []string{
	"", "   ", "# comment", "\t# comment = x", "mail_debug = \\\n# a comment ends a continued line\nmail_debug = yes", "mail_max_userip_connections = \\\n\\\n5",
	"auth_realms = a \\\n  b \\\n  c", "auth_realms = one\\\\\n two", "\tauth_default_realm\t=\tx", "log_path=</etc/hostname", "auth_realms = $ENV:CONF_TEST",
	"auth_realms = x $auth_realms y", "auth_realms = $ENV:NOT_SET_ANYWHERE", "login_greeting = Bob's mail # not a comment", `login_greeting = "x # y" # z`,
	"ssl_cert = </etc/ssl/certs/none.pem", "ssl_key = <key.pem", "ssl_key=< key.pem", "ssl_key = text", "mail_plugins = $mail_plugins a", "mail_plugins = $mail_plugins",
	"auth_realms = a$b $ENV:CONF_TEST  c", "!include_try nonexistent.conf", "!include_try none/*.conf", "auth_realms = \"$ENV:HOME\"",
	"mail_attribute_dict = file:%h/x $mail_plugins", "doveadm_password = x", "doveadm_api_key = y", "ssl_dh = </etc/dh.pem", "login_greeting = \"a\\\"b\"",
}

// failures end the configuration with an error.
var failures = []string{
	"= x", "nokey", "mail_debug", "mail_debug yes", "mail_plugins += quota", "no_such_setting = 1", "passdb {", "}", "foo {", "foo bar {\n}", "plugin x {\n a = b\n}",
	"service imap { client_limit = 1 }", "service imap {\n bogus = 1\n}", "service {\n inet_listener x {\n  foo = 1\n }\n}", "passdb a {\n driver=pam\n}\npassdb a {\n driver=pam\n}",
	"!include nonexistent.conf", "!include", "!include none/*.conf", "auth_realms = $no_such_setting", "auth_realms = $passdb", "auth_realms = $plugin",
	"protocol imap {\n protocol pop3 {\n }\n}", "local 300.1.1.1 {\n}", "local 10.0.0.0/33 {\n}", "remote 10.0.0.0/8 {\n remote 11.0.0.0/8 {\n }\n}", "remote 10.0.0.1 {\n auth_verbose = yes\n}",
	"remote 10.0.0.1 {\n local 10.0.0.1 {\n }\n}", "protocol imap {\n local 10.0.0.1 {\n }\n}", "protocol imap {\n remote 10.0.0.1 {\n }\n}", "protocol imap {\n local_name x {\n }\n}",
	"local_name x {\n local 10.0.0.1 {\n }\n}", "remote 10.0.0.1 {\n local_name x {\n }\n}", "plugin {\n a/b = c\n}", "plugin {\n x {\n }\n}", "service/nope/client_limit = 1", "plugin/a/b = 1",
	"SSL = no", "namespace a {\n mailbox {\n auto=maybe\n }\n}", "mailbox x {\n}", "namespace \"a {\n}", "namespace a b {\n}", "namespace a { # x", "namespace a {x", "passdb", "local {\n}",
	"service imap {\n unix_listener x {\n  mode = 0999\n }\n}", "protocol imap {\n passdb {\n  bogus = 1\n }\n}", "passdb {\n args = x\n}", "userdb {\n args = x\n}", "key with = equals",
	"service imap {\n type = bogus\n}", "service auth {\n process_limit = 5\n}", "service imap {\n vsz_limit = 1k\n}", "service imap {\n process_min_avail = 5000\n}",
	"service imap {\n chroot = /x\n drop_priv_before_exec = yes\n}", "service imap {\n unix_listener anvil {\n }\n}", "namespace {\n separator = ab\n}", "namespace {\n alias_for = x\n prefix = y\n}",
	"namespace {\n mailbox a {\n  special_use = \\Bogus\n }\n}", "auth {\n}", "auth default {\n mechanisms = plain\n passdb pam {\n }\n}", "service {\n}", "mail_debug = <file", "service imap {\n executable = \n}",
}

// section opens one with what body makes inside.
func (m *dovecotMaker) section(kind, name string, body func() *node) *node {
	head := kind
	if strings.ContainsAny(name, " ") || name != "" && m.IntN(12) == 0 {
		head += ` "` + name + `"`
	} else if name != "" {
		head += " " + name
	}
	n := &node{text: pick(m.Rand, []string{"", "", " ", "\t"}) + head + pick(m.Rand, []string{" {", " {", " {", "  {  ", " { # x", "\t{"}), end: pick(m.Rand, []string{"}", "}", "  }", "} # end"})}
	for i := range m.IntN(5) + 1 {
		if i > 0 || kind == "plugin" { // what "doveconf plugin" says of an empty one is odd
			n.kids = append(n.kids, body())
		}
	}
	return n
}

// setting assigns some setting of a section of that path.
func (m *dovecotMaker) setting(section string) *node {
	s := pick(m.Rand, m.sections[section])
	for m.addresses && slices.Contains(s.Modules, "auth") && m.IntN(200) > 0 {
		s = pick(m.Rand, m.sections[section])
	}
	name := s.Path[strings.LastIndexByte(s.Path, '/')+1:]
	if m.wrong && m.IntN(10) == 0 {
		m.wrong = false
		if list := mistakes[s.Path]; list != nil {
			return leaf(assignment(m.Rand, name, pick(m.Rand, list)))
		}
		if list := invalid[s.Kind]; list != nil {
			return leaf(assignment(m.Rand, name, pick(m.Rand, list)))
		}
	}
	return leaf(assignment(m.Rand, name, validText(m.Rand, s)))
}

func (m *dovecotMaker) serviceName() string {
	return pick(m.Rand, []string{"imap", "imap-login", "pop3-login", "auth", "lmtp", "stats", "dict", "managesieve-login", "quota-warning", "my service", "config", "doveadm",
		"auth-worker", "replicator", "indexer-worker"})
}

func (m *dovecotMaker) service() *node {
	switch m.IntN(6) {
	case 0:
		return m.section("unix_listener", m.listener(), func() *node { return m.setting("service/unix_listener") })
	case 1:
		return m.section("inet_listener", pick(m.Rand, []string{"", "imap", "imaps", "x", "sieve"}), func() *node { return m.setting("service/inet_listener") })
	case 2:
		return m.section("fifo_listener", m.listener(), func() *node { return m.setting("service/fifo_listener") })
	}
	return m.setting("service")
}

func (m *dovecotMaker) listener() string {
	name := pick(m.Rand, []string{"/var/spool/postfix/private/auth", "login/imap", "lmtp", "with space", "/run/dovecot/x", "auth-client", "auth-userdb"})
	return name + pick(m.Rand, []string{"", fmt.Sprint(m.IntN(100))})
}

func (m *dovecotMaker) namespace() *node {
	if m.IntN(3) > 0 {
		return m.setting("namespace")
	}
	name := pick(m.Rand, []string{"Drafts", "Sent", "Sent Messages", "*", "a/b", "Trash", "ä", "#x"})
	return m.section("mailbox", name, func() *node { return m.setting("namespace/mailbox") })
}

func (m *dovecotMaker) database() *node {
	if m.IntN(3) == 0 {
		return leaf("driver = " + pick(m.Rand, []string{"pam", "passwd", "static", "passwd-file", "ldap", "sql"}))
	}
	return m.setting(pick(m.Rand, []string{"passdb", "userdb"}))
}

func (m *dovecotMaker) plugin() *node {
	names := []string{"quota", "quota_rule", "quota_rule2", "sieve", "acl", "a-b", "fts_index_timeout", "x", "X", "sieve_dir", "some_password", "my_key", "1", "quota_rule10", "imapsieve_mailbox1_name"}
	return leaf(assignment(m.Rand, pick(m.Rand, names), pick(m.Rand, texting)))
}

func (m *dovecotMaker) metric() *node {
	if m.IntN(2) == 0 {
		return leaf("filter = event=imap_command_finished")
	}
	return m.setting("metric")
}

func (m *dovecotMaker) exporter() *node {
	if m.IntN(2) == 0 {
		return leaf("transport = " + pick(m.Rand, []string{"log", "drop", "http-post"}))
	}
	return m.setting("event_exporter")
}

var filterNames = map[string][]string{
	"protocol":   {"imap", "pop3", "lda", "lmtp", "!imap", "sieve", "doveadm", "nosuch"},
	"local":      {"10.0.0.1", "10.0.0.0/8", "192.0.2.0/24", "fd00::1", "fd00::/8", "127.0.0.1", "10.1.2.3/16"},
	"remote":     {"10.0.0.2", "10.2.0.0/16", "fd00::2", "192.0.2.0/28", "127.0.0.1"},
	"local_name": {"mail.example.com", "*.example.com", "a.example.com b.example.com", "MAIL.example.com"},
}

func (m *dovecotMaker) filter(depth int) *node {
	kind := pick(m.Rand, []string{"protocol", "protocol", "local", "remote", "local_name"})
	outer := m.addresses
	m.addresses = outer || kind != "protocol"
	defer func() { m.addresses = outer }()
	return m.section(kind, pick(m.Rand, filterNames[kind]), func() *node {
		if m.IntN(2) == 0 {
			return m.setting("")
		}
		return m.top(depth + 1)
	})
}

// include puts some lines into files of their own.
func (m *dovecotMaker) include(depth int) *node {
	m.files++
	dir := fmt.Sprintf("inc%d", m.files)
	pattern := pick(m.Rand, []string{"*.conf", "?.conf", "[ab].conf", "{b,a}.conf", "*"})
	n := &node{text: pick(m.Rand, []string{"!include ", "!include_try ", "  !include\t"}) + dir + "/" + pattern}
	for _, name := range []string{"b", "a"} {
		file := &node{file: "sub/../" + dir + "/" + name + ".conf"}
		file.file = dir + "/" + name + ".conf"
		for range m.IntN(4) {
			file.kids = append(file.kids, m.top(depth+2))
		}
		n.kids = append(n.kids, file)
	}
	return n
}

// slashPath sets something in a section from outside of it.
func (m *dovecotMaker) slashPath() *node {
	if m.IntN(3) == 0 {
		return leaf("plugin/" + assignment(m.Rand, pick(m.Rand, []string{"quota", "sieve"}), pick(m.Rand, texting)))
	}
	s := pick(m.Rand, m.sections["service"])
	name := strings.TrimPrefix(s.Path, "service/")
	if slices.Contains([]string{"name", "type", "protocol"}, name) {
		return leaf("service/lmtp/client_limit = 3")
	}
	return leaf(assignment(m.Rand, "service/"+pick(m.Rand, []string{"imap", "dict", "stats"})+"/"+name, validText(m.Rand, s)))
}

// obsolete is a line of an older Dovecot.
func (m *dovecotMaker) obsolete() *node {
	return leaf(pick(m.Rand, []string{
		"protocols = imap imaps", "protocols = imaps", "protocols = imap pop3 pop3s managesieve", "ssl_cert_file = /etc/cert.pem", "ssl_key_file = key.pem", "ssl_ca_file = ", "ssl_disable = yes",
		"ssl_disable = no", "ssl_protocols = !SSLv3 !TLSv1", "ssl_protocols = TLSv1.2", "ssl_protocols = !SSLv2", "ssl_parameters_regenerate = 1", "ssl_dh_parameters_length = 2048",
		"sieve = ~/.sieve", "sieve_storage = ~/s", "fsync_disable = yes", "fsync_disable = no", "dbox_rotate_size = 10M", "mail_cache_compress_min_size = 32k", "login_dir = x",
		"dbox_rotate_min_size = 1", "dbox_rotate_days = 1", "director_consistent_hashing = yes", "mail_log_max_lines_per_sec = 5", "maildir_copy_preserve_filename = yes", "auth_cache_size = 5",
		"auth_executable = /x/auth", "auth_process_size = 256", "auth_user = root", "auth_chroot = /x", "auth_count = 1", "auth_count = 2", "login_executable = /x", "login_user = nobody",
		"login_chroot = yes", "login_process_size = 64", "login_process_per_connection = no", "login_processes_count = 3", "login_max_processes_count = 128", "login_max_connections = 256",
		"mail_executable = /x", "mail_process_size = 256", "mail_drop_priv_before_exec = yes", "max_mail_processes = 512", "listen = *:1143", "ssl_listen = *:1993",
		"protocol imap {\n  listen = *:144\n  ssl_listen = *:943\n}", "protocol pop3 {\n  login_executable = /x\n}", "service dns_client {\n  client_limit = 3\n}", "login_process_per_connection = yes",
		"auth default {\n  mechanisms = plain login\n  passdb pam {\n  }\n  userdb passwd {\n  }\n}", "ssl_protocols = SSLv9", "ssl_protocols = !SSLv3 !TLSv1 !TLSv1.1 !TLSv1.2", "mail_cache_compress_x = 1",
		"imap_client_workarounds = outlook-idle netscape-eoh tb-extra-mailbox-sep", "login_chroot = no",
	}))
}

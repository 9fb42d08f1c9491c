package conf

import (
	"math/rand/v2"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// valid and invalid are texts as they may be written, by the type of the setting.
var valid = map[dovecot.Kind][]string{
	dovecot.KindBool:  {"yes", "no", "YES", "No", "y", "Y", "1", "yEs"},
	dovecot.KindUint:  {"0", "1", "7", "007", "4294967295", "65536", "10"},
	dovecot.KindOctal: {"0600", "0", "00", "0666", "0777", "0007", "01777", "600", "384", "0644"},
	dovecot.KindTime: {"0", "1s", "1 secs", "30sec", "60 s", "1 min", "90 mins", "2m", "5 minutes", "1 hour", "24h", "1 day", "7d", "1w",
		"2 weeks", "1000 msecs", "3000 milliseconds", "10 SECS", "3 Hours", "0 secs", "61 secs", "36 hours", "0005s", "1\tday", "0d"},
	dovecot.KindMsecs: {"0", "1s", "100 msecs", "1500 ms", "250 mseconds", "60000 milliseconds", "2 mins", "1 h", "999 millisecs", "0 ms"},
	dovecot.KindSize: {"0", "1", "500", "1k", "1 K", "1024", "1536k", "10M", "10 MB", "10MiB", "10 Mi", "1G", "3 gib", "1T", "512 B", "512 b",
		"0k", "007M", "1048576", "1025", "4095 M", "1024 G"},
	dovecot.KindPort:   {"0", "1", "25", "65535", "143", "0143"},
	dovecot.KindString: texting,
	dovecot.KindVars:   append([]string{"%u", "%{if;%u;eq;a;b;c}", "~/mail", "maildir:~/Maildir", "%1Lu/%Ln", "mdbox:/srv/%d/%n:INDEX=MEMORY", "%%u"}, texting...),
	dovecot.KindPath:   append([]string{"/var/run/x", "relative/path", "/a b/c", "~/x"}, texting...),
}

// texting are values of settings that may be any text. Those that begin with = are
// written as they are, without further quoting.
var texting = []string{
	"plain", "two words", "", "x  y", "%u@%d", "a=b", "=", "<nothing", "100%", "a/b", "1", "yes", "ä ö ü", "x,y;z", "'single'", "it's", `a\b`, `a "b" c`,
	`\"quoted\"`, `back\\slash`, "# not a comment", "tail #x", " lead", "trail ", " ", "\ttab\t", "password=secret", "driver=x password=y;z", "cache_key=%u",
	"https://user:pass@host/path", "http://host/", "ftp://u:p@h", "mysql:host=1 pass=2", "secret", "$HOME", "a$b", "$$", "{", "}", "{ x }", "!include x", "keyword", "xkey=1", "x_key=1",
	"passwd-file /etc/x", "my-secret-=5:6", "%{env:HOME}", "http://a@b", "https://a:b@c:1/d@e", "key=", "https://u:p@h password=1",
}

var invalid = map[dovecot.Kind][]string{
	dovecot.KindBool:  {"maybe", "", "true", "on", "0", "2", "off", "f", "nope", "yes no", "n", "yess", "\"yes \""},
	dovecot.KindUint:  {"", "-1", "4294967296", "99999999999999999999", "x", "1x", "1 2", "0x10", "1.5", "+1"},
	dovecot.KindOctal: {"", "08", "0x1", "-1", "rw", "4294967296", "088", "09", "0 600"},
	dovecot.KindTime: {"", "5", "x", "5x", "-1s", "1.5h", "1h30m", "10 bananas", "1500 msecs", "99999999999 weeks", "s", "1 ms", "5 secsx", "mins 5",
		"00", "18446744073709551616s", "100000000 weeks", "5 mi", "5 mo", "1 mon", "5 msec", "1 mil"},
	dovecot.KindMsecs: {"", "5", "x", "5x", "-1s", "1.5 ms", "99999999999 weeks", "1 m s"},
	dovecot.KindSize:  {"", "x", "-1", "1X", "1 KBB", "1 M M", "1.5M", "99999999999999999999", "M", "10 Mb x", "18446744073709551615T", "5 KiBi", "1Bi"},
	dovecot.KindPort:  {"", "-1", "65536", "x", "0x19", "25 ", "99999999999", "smtp"},
	dovecot.KindEnum:  {"", "no-such-word", "YES ", "Yes No"},
}

// plausible are values for settings that the checks after parsing look at;
// with others nearly every configuration would end at the same check.
var plausible = map[string][]string{
	"listen":                            {"*", "*, ::", "127.0.0.1", "10.0.0.1 [::1]"},
	"syslog_facility":                   {"mail", "local3", "daemon"},
	"protocols":                         {"imap", "imap pop3", "none", "", "imap pop3 lmtp sieve", "$protocols imap"},
	"default_internal_user":             {"dovecot", "nobody"},
	"default_login_user":                {"dovenull", "nobody"},
	"first_valid_uid":                   {"500", "1000", "0"},
	"first_valid_gid":                   {"1", "1000"},
	"last_valid_uid":                    {"0", "60000"},
	"last_valid_gid":                    {"0", "60000"},
	"auth_worker_max_count":             {"1", "30"},
	"auth_cache_size":                   {"0", "10M", "4k", "5", "1023", "1024"},
	"auth_verbose_passwords":            {"no", "plain", "sha1", "sha1:6", "plain:1"},
	"auth_policy_hash_mech":             {"sha256", "md5", "sha1"},
	"auth_policy_server_url":            {""},
	"mail_plugin_dir":                   {"/usr", "/usr/lib", "/tmp"},
	"mail_plugins":                      {"quota", "$mail_plugins acl", "quota  acl", ""},
	"mail_nfs_index":                    {"no"},
	"mail_cache_max_size":               {"1G", "64M", "1048576k"},
	"mailbox_idle_check_interval":       {"30 secs", "1 min"},
	"imapc_max_idle_time":               {"29 mins", "5 mins"},
	"dsync_hashed_headers":              {"Date Message-ID", "Subject"},
	"dsync_alt_char":                    {"_", "-"},
	"mail_attachment_hash":              {"%{sha1}", "%{sha256:80}", "%{md5}%{size}"},
	"pop3_uidl_format":                  {"%08Xu%08Xv", "%g", "%f", "%v.%u", "%m"},
	"imap_client_workarounds":           {"", "delay-newmail", "tb-extra-mailbox-sep  tb-lsub-flags", "outlook-idle delay-newmail", "netscape-eoh"},
	"pop3_client_workarounds":           {"", "outlook-no-nuls oe-ns-eoh"},
	"lmtp_client_workarounds":           {"", "whitespace-before-path", "mailbox-for-path"},
	"submission_client_workarounds":     {"", "whitespace-before-path"},
	"dsync_features":                    {"", "empty-header-workaround"},
	"imapc_features":                    {"", "rfc822.size guid-forced", "search", "throttle:50:500:10"},
	"mail_attachment_detection_options": {"", "add-flags", "add-flags content-type=!text/*", "exclude-inlined"},
	"ssl_options":                       {"", "no_compression", "no_ticket compression"},
	"ssl_verify_client_cert":            {"no"},
	"log_debug":                         {"", "event=x", "category=auth"},
	"log_core_filter":                   {"", "category=error"},
	"process_shutdown_filter":           {"", "event=mail_user_session_finished"},
	"imapc_password":                    {"", "geheim", "a # b"},
	"service/process_limit":             {"1", "100", "7", "0"},
	"default_process_limit":             {"100", "7", "1000"}, // the original adds them up in 32 bits
	"instance_name":                     {"dovecot", "other"},
	"base_dir":                          {"/run/dovecot", "/var/run/x"},
	"state_dir":                         {"/var/lib/dovecot", "/srv/state"},
	"mail_location":                     {"maildir:~/Maildir", "mbox:~/mail:INBOX=/var/mail/%u", "mdbox:~/mdbox", "sdbox:/srv/%d/%n", ""},
}

// mistakes are values of the same settings that the checks refuse.
var mistakes = map[string][]string{
	"listen":                            {""},
	"syslog_facility":                   {"bogus", ""},
	"protocols":                         {"imap bogus", "imaps", "imap imaps", "managesieve", "pop3s imap", "none imap"},
	"default_internal_user":             {"no-such-user"},
	"default_login_user":                {"no-such-user"},
	"last_valid_uid":                    {"5"},
	"last_valid_gid":                    {"1"},
	"auth_worker_max_count":             {"0"},
	"auth_cache_size":                   {"500 B"},
	"auth_verbose_passwords":            {"maybe", "plain:x", ":", ""},
	"auth_policy_server_url":            {"http://localhost/"},
	"mail_plugin_dir":                   {"/nonexistent"},
	"mail_nfs_index":                    {"yes"},
	"mail_cache_max_size":               {"1025M"},
	"mailbox_idle_check_interval":       {"0"},
	"imapc_max_idle_time":               {"0"},
	"dsync_hashed_headers":              {""},
	"dsync_alt_char":                    {""},
	"mail_attachment_hash":              {"%{sha1", "%sha1", "%{bogus}", "%{sha1:x}", "a-b"},
	"pop3_uidl_format":                  {"", "abc", "%z", "%%"},
	"imap_client_workarounds":           {"bogus"},
	"pop3_client_workarounds":           {"bogus", "outlook-no-nuls bogus"},
	"lmtp_client_workarounds":           {"bogus"},
	"submission_client_workarounds":     {"bogus"},
	"dsync_features":                    {"bogus"},
	"imapc_features":                    {"bogus"},
	"mail_attachment_detection_options": {"bogus"},
	"ssl_options":                       {"bogus"},
	"ssl_verify_client_cert":            {"yes"},
	"log_debug":                         {"(", "event=(", "a"},
	"log_core_filter":                   {"("},
	"process_shutdown_filter":           {"("},
}

// pick chooses one of list.
func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// validText is some value of the setting.
func validText(r *rand.Rand, s *dovecot.Setting) string {
	name := s.Path[strings.LastIndexByte(s.Path, '/')+1:]
	if list := plausible[s.Path]; list != nil && r.IntN(20) > 0 {
		return pick(r, list)
	}
	switch {
	case s.Kind == dovecot.KindEnum:
		return pick(r, s.Enum)
	case name == "mode":
		return pick(r, []string{"0600", "0", "0666", "600", "00660", "0660"})
	case r.IntN(8) == 0 && s.Kind != dovecot.KindOctal && !s.Unset:
		return s.Default
	}
	return pick(r, valid[s.Kind])
}

// quoted reports whether a text keeps its meaning only in quotes.
func quoted(v string) bool {
	return strings.TrimSpace(v) != v || strings.ContainsAny(v, "#'\"\\") || v == ""
}

// assignment writes key = v in one of the ways there are.
func assignment(r *rand.Rand, key, v string) string {
	equals := pick(r, []string{" = ", " = ", " = ", "=", "  =  ", "\t=\t", "= ", " ="})
	end := pick(r, []string{"", "", "", "", "", "", " ", "\t", " # note", " #", "  # it's \"x\"", "\r"})
	if quoted(v) && r.IntN(4) > 0 {
		return key + equals + `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(v) + `"` + end
	}
	switch r.IntN(25) {
	case 0:
		return key + equals + `"` + v + `"` + end
	case 1:
		return key + equals + `'` + v + `'` + end
	case 2:
		return key + equals + "\\\n   " + v + end
	case 3:
		if i := strings.IndexByte(v, ' '); i > 0 {
			return key + equals + v[:i] + " \\\n\t" + v[i+1:] + end
		}
	case 4:
		return key + " \\ # comment\n" + equals + v + end
	case 5:
		return key + equals + v + "#"
	}
	return key + equals + v + end
}

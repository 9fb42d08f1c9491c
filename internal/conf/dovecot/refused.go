package dovecot

import (
	"slices"
	"strings"
)

// A refusal is a setting that restricts access or protects data. While nothing
// registered implements it a configuration that has it must not be served, because it
// would give more, or keep less, than was asked for.
type refusal struct {
	path string
	asks func(configured) bool // which values ask for it
	why  string
}

var refused = []refusal{
	{"auth_policy_server_url", anyChange, "logins it would refuse could succeed"},
	{"auth_username_chars", anyChange, "user names it would refuse would reach the databases"},
	{"disable_plaintext_auth", yes, "passwords could be sent in the clear"},
	{"doveadm_allowed_commands", anyChange, "doveadm clients could run any command"},
	{"imap_urlauth_submit_user", anyChange, "access URLs would not be limited to this user"},
	{"lmtp_proxy", yes, "mail of users on other servers would be delivered here"},
	{"login_access_sockets", anyChange, "clients it would refuse could log in"},
	{"login_plugins", anyChange, "logins they would refuse could succeed"},
	{"mail_attachment_dir", anyChange, "messages would lack the attachments stored there"},
	{"mail_chroot", anyChange, "mail processes would see all files"},
	{"mail_max_userip_connections", anyChange, "one user could open any number of sessions"},
	{"mail_nfs_storage", yes, "changes by other machines would be overlooked"},
	{"namespace/alias_for", isSet, "each mailbox would look like two, and deleting one of them would lose both"},
	{"service/executable", hasPostLogin, "users could log in past the script"},
	{"valid_chroot_dirs", anyChange, "mail processes would see all files"},
	{"plugin/mail_crypt_save_version", anyChange, "mail would be stored in the clear"},
	{"plugin/mail_crypt_require_encrypted_user_key", anyChange, "keys would be stored in the clear"},
	{"plugin/sieve_max_redirects", anyChange, "scripts could redirect more often"},
	{"plugin/quota_max_mail_size", anyChange, "larger mail would be accepted"},
}

// refusedPlugins are the same for words of mail_plugins.
var refusedPlugins = map[string]string{
	"acl":           "users could read mailboxes that access lists deny them",
	"apparmor":      "mail processes would not be confined",
	"imap_sieve":    "scripts would not act on mail that users store and flag",
	"mail_compress": "compressed mail could not be read",
	"mail_crypt":    "mail would be stored in the clear",
	"mail_filter":   "mail would not pass through the filter",
	"quota":         "users could store any amount of mail",
	"replication":   "mail would not be copied to the other server",
	"sieve":         "mail would be delivered past the users' scripts, which reject, file and redirect it",
	"zlib":          "compressed mail could not be read",
}

func yes(v configured) bool { return v.text == "yes" }

func anyChange(v configured) bool { return v.changed() }

func isSet(configured) bool { return true }

// hasPostLogin reports whether the executable of a service is followed by the socket of
// a script that each login passes through, as in "imap postlogin".
func hasPostLogin(v configured) bool {
	words := strings.Fields(v.text)
	return slices.Contains([]string{"imap", "pop3", "managesieve"}, v.section) && len(words) > 1 &&
		slices.ContainsFunc(words[1:], func(w string) bool { return w[0] != '-' })
}

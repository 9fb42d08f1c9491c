package dovecot

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// RegisterPlugin declares that the word name in mail_plugins is understood, and
// which keys of plugin { } it makes meaningful, as patterns of package path
// ("quota*_rule*"). Like Register it is called from package variables.
func RegisterPlugin(name string, keys ...string) struct{} {
	plugins[name] = true
	pluginKeys = append(pluginKeys, keys...)
	return struct{}{}
}

var (
	plugins    = map[string]bool{}
	pluginKeys []string
)

// noEffect says why a setting that nothing registered does nothing, by its
// name or else by its module.
var noEffect = map[string]string{
	"libexec_dir":                         "all daemons are one program",
	"mail_plugin_dir":                     "plugins are built in",
	"login_plugin_dir":                    "plugins are built in",
	"login_plugins":                       "login plugins cannot be loaded",
	"version_ignore":                      "all daemons are one program",
	"config_cache_size":                   "there is no config process",
	"verbose_proctitle":                   "a process serves many sessions",
	"mail_max_lock_timeout":               "locks are waited for as long as their kind allows",
	"dotlock_use_excl":                    "dotlocks are always created exclusively",
	"mmap_disable":                        "index files are never mapped into memory",
	"mail_nfs_index":                      "index files are never mapped into memory",
	"stats_writer_socket_path":            "there is no stats process",
	"auth_use_winbind":                    "winbind is not supported",
	"auth_winbind_helper_path":            "winbind is not supported",
	"auth_worker_max_count":               "lookups run in one process",
	"maildir_stat_dirs":                   "directories are always recognized by their type",
	"ssl_crypto_device":                   "there are no OpenSSL engines",
	"imap_hibernate_timeout":              "an idle session needs no process of its own",
	"master_user_separator":               "Dovecot does not use it either",
	"mail_prefetch_count":                 "the system reads ahead",
	"mailbox_list_index_very_dirty_syncs": "the list index is always checked",

	"module:director":     "there is no director",
	"module:imapc":        "the imapc storage is not supported",
	"module:pop3c":        "the pop3c storage is not supported",
	"module:fts":          "full text search is not supported",
	"module:old-stats":    "there is no old-stats process",
	"module:imap-urlauth": "URLAUTH is not supported",
	"module:submission":   "the submission service is not supported",
	"module:managesieve":  "ManageSieve is not supported",
}

// refused are the settings that restrict access or protect data. While
// nothing registered implements them a configuration that has them must not
// be served, because it would give more than was asked for. The value "*" means any
// value but the default.
var refused = []struct{ path, value, why string }{
	{"login_access_sockets", "*", "clients it would refuse could log in"},
	{"auth_policy_server_url", "*", "logins it would refuse could succeed"},
	{"auth_ssl_require_client_cert", "yes", "clients without certificate could log in"},
	{"auth_username_chars", "*", "user names it would refuse would reach the databases"},
	{"disable_plaintext_auth", "yes", "passwords could be sent in the clear"},
	{"mail_chroot", "*", "mail processes would see all files"},
	{"valid_chroot_dirs", "*", "mail processes would see all files"},
	{"mail_max_userip_connections", "*", "one user could open any number of sessions"},
	{"doveadm_allowed_commands", "*", "doveadm clients could run any command"},
	{"imap_urlauth_submit_user", "*", "access URLs would not be limited to this user"},
	{"plugin/mail_crypt_save_version", "*", "mail would be stored in the clear"},
	{"plugin/mail_crypt_require_encrypted_user_key", "*", "keys would be stored in the clear"},
	{"plugin/sieve_max_redirects", "*", "scripts could redirect more often"},
	{"plugin/quota_max_mail_size", "*", "larger mail would be accepted"},
}

// refusedPlugins are the same for words of mail_plugins.
var refusedPlugins = map[string]string{
	"acl":        "users could read mailboxes that access lists deny them",
	"mail_crypt": "mail would be stored in the clear",
	"quota":      "users could store any amount of mail",
}

// A configured value, for the reports below.
type configured struct {
	set  *Setting // nil for a key of plugin { } that no one knows
	path string
	value
}

// eachValue calls fn for every value that the files set.
func (c *Config) eachValue(fn func(configured)) {
	var walk func(s *section)
	walk = func(s *section) {
		keys := make([]string, 0, len(s.keys))
		for k := range s.keys {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			set := s.set.known(k)
			if set == nil && s.set.Path == "plugin" {
				set = pluginFamily(k)
			}
			fn(configured{set: set, path: joinPath(s.set.Path, k), value: s.keys[k]})
		}
		for _, sub := range s.subs {
			walk(sub)
		}
	}
	for _, l := range c.layers {
		walk(l.root)
	}
}

// pluginFamily finds the catalog's row for a numbered plugin setting, such as
// quota[N]_rule[M] for quota2_rule.
func pluginFamily(key string) *Setting { return pluginFamilies()[withoutDigits(key)] }

func withoutDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// supported reports whether something uses the value.
func (v configured) supported() bool {
	if v.set != nil && v.set.Supported {
		return true
	}
	key, ok := strings.CutPrefix(v.path, "plugin/")
	return ok && slices.ContainsFunc(pluginKeys, func(p string) bool {
		match, _ := path.Match(p, key)
		return match
	})
}

// changed reports whether the value is not the default.
func (v configured) changed() bool {
	return v.file != "" || v.set == nil || v.text != v.set.Default
}

// warnNoEffect collects a warning for each setting that is set to
// something else than its default and used by nothing.
func (c *Config) warnNoEffect() {
	seen := map[string]bool{}
	report := func(name, why string) {
		text := fmt.Sprintf("setting %s has no effect: %s", name, why)
		if !seen[text] && len(c.noEffect) < maxWarnings {
			seen[text] = true
			c.noEffect = append(c.noEffect, text)
		}
	}
	c.eachValue(func(v configured) {
		if v.path == "mail_plugins" {
			for name := range strings.FieldsSeq(v.text) {
				if !plugins[name] && !strings.HasPrefix(name, "$") {
					report("mail_plugins", "there is no plugin "+name)
				}
			}
		}
		if v.set != nil && v.changed() && !v.supported() {
			report(v.path, reason(v.set))
		}
	})
	for _, l := range c.layers[1:] {
		for _, key := range slices.Sorted(maps.Keys(l.root.keys)) {
			if set := l.root.set.known(key); l.cond.scope()&^set.Scope != 0 {
				report(key+" in a filter", fmt.Sprintf("it cannot vary by what the filter at %s matches", c.where(l.pos)))
			}
		}
	}
}

func reason(set *Setting) string {
	if why := noEffect[set.Path]; why != "" {
		return why
	}
	for _, m := range set.Modules {
		if why := noEffect["module:"+m]; why != "" {
			return why
		}
	}
	return "it is not supported"
}

// Refused returns an error for the first setting that must not be ignored but
// is not supported. The master calls it, with all daemons linked in.
func (c *Config) Refused() error {
	var err error
	fail := func(v configured, name, why string) {
		if err == nil {
			err = &Error{File: c.files[v.pos.file], Line: v.pos.line,
				Text: fmt.Sprintf("%s is not supported, and without it %s: remove it to start all the same", name, why)}
		}
	}
	c.eachValue(func(v configured) {
		if v.path == "mail_plugins" {
			for name := range strings.FieldsSeq(v.text) {
				if why := refusedPlugins[name]; why != "" && !plugins[name] {
					fail(v, "mail_plugins: "+name, why)
				}
			}
		}
		for _, r := range refused {
			if r.path == v.path && (r.value == v.text || r.value == "*" && v.changed()) && !v.supported() {
				fail(v, v.path, r.why)
			}
		}
	})
	return err
}

// Status says what becomes of a setting, for the table of what is covered.
type Status string

// What becomes of a setting that is set.
const (
	Supported Status = "supported"
	NoEffect  Status = "no effect"
	Refused   Status = "refused"
)

// Coverage returns the status of a setting and, unless it is supported, why.
func (s *Setting) Coverage() (Status, string) {
	if (configured{set: s, path: s.Path}).supported() {
		return Supported, ""
	}
	for _, r := range refused {
		if r.path == s.Path {
			return Refused, "without it " + r.why
		}
	}
	return NoEffect, reason(s)
}

package dovecot

import (
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"
)

// A checker looks at the settings that one filter gives, with those around it.
// Values have been checked one by one already, so parse errors are ignored.
type checker struct {
	c *Config
	v view
}

func (k *checker) str(key string) string {
	v, ok := k.v.value(key)
	switch {
	case !ok:
		return schema().root.keys[key].Default
	case v.file != "":
		return "<" + v.text
	}
	return v.text
}

func (k *checker) yes(key string) bool { return k.str(key) == "yes" }

func (k *checker) size(key string) Size {
	n, _ := parseSize(k.str(key))
	return n
}

func (k *checker) uint(key string) uint32 {
	n, _ := parseUint(k.str(key))
	return n
}

// check makes the checks that Dovecot makes after parsing: for the global
// settings and for every filter.
func (c *Config) check() error {
	if err := c.checkServices(); err != nil {
		return c.wrong(err)
	}
	for _, l := range c.layers {
		k := &checker{c: c, v: c.stackView(c.around(l))}
		c.warnSSL(l)
		for _, check := range checks {
			if err := check(k); err != nil {
				return c.wrong(err)
			}
		}
	}
	return nil
}

// warnSSL warns about a filter that turns on what is off as a whole.
func (c *Config) warnSSL(l *layer) {
	global := c.layers[0].root.keys["ssl"].text
	if v, ok := l.root.keys["ssl"]; ok && global == "no" && v.text != "no" {
		c.warnings = append(c.warnings, fmt.Sprintf("SSL is disabled because global ssl=no, ignoring ssl=%s for subsection", v.text))
	}
}

// around returns a layer and those whose conditions include its own, the most
// specific first.
func (c *Config) around(l *layer) []*layer {
	out := []*layer{l}
	for _, o := range c.layers[1:] {
		if o != l && l.cond.within(o.cond) {
			out = append(out, o)
		}
	}
	slices.SortStableFunc(out, func(a, b *layer) int { return compareCond(a.cond, b.cond) })
	if l != c.layers[0] {
		out = append(out, c.layers[0])
	}
	return out
}

func (c *Config) wrong(err error) error { return &Error{File: c.path, Text: err.Error()} }

var checks = []func(*checker) error{
	checkMaster, checkRanges, checkDatabases, checkAuth, checkSSL, checkMail, checkUIDLFormat,
	checkNamespaces, checkWords, checkMetrics,
}

func checkMaster(k *checker) error {
	if k.str("listen") == "" {
		return fmt.Errorf("listen can't be set empty")
	}
	if f := k.str("syslog_facility"); !slices.Contains(syslogFacilities, f) {
		return fmt.Errorf("Unknown syslog_facility: %s", f)
	}
	protocols := k.str("protocols")
	if protocols == "none" {
		return nil
	}
	known := map[string]bool{}
	for _, s := range k.v.subs(schema().root.keys["service"]) {
		v, _ := s.value("protocol")
		known[v.text] = true
	}
	for p := range strings.FieldsSeq(protocols) {
		if !known[p] {
			return fmt.Errorf("protocols: Unknown protocol: %s", p)
		}
	}
	for _, key := range []string{"default_internal_user", "default_login_user"} {
		// The defaults are the master's business: a tool on a machine
		// without Dovecot's users can do without them.
		if v, ok := k.v.value(key); ok && !userExists(v.text) {
			return fmt.Errorf("%s doesn't exist: %s", key, v.text)
		}
	}
	return nil
}

func userExists(name string) bool {
	_, err := user.Lookup(name)
	return err == nil
}

// CheckUsers checks that the users of internal and login processes exist, for
// the master, which cannot go on without them.
func (c *Config) CheckUsers() error {
	k := &checker{c: c, v: c.view(Filter{})}
	for _, key := range []string{"default_internal_user", "default_login_user"} {
		if name := k.str(key); !userExists(name) {
			return c.wrong(fmt.Errorf("%s doesn't exist: %s", key, name))
		}
	}
	return nil
}

var syslogFacilities = []string{
	"auth", "authpriv", "cron", "daemon", "ftp", "kern", "lpr", "mail", "news", "syslog", "user", "uucp",
	"local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

func checkRanges(k *checker) error {
	for _, id := range []string{"uid", "gid"} {
		first, last := k.uint("first_valid_"+id), k.uint("last_valid_"+id)
		if last != 0 && first > last {
			return fmt.Errorf("first_valid_%s can't be larger than last_valid_%s", id, id)
		}
	}
	return nil
}

func checkDatabases(k *checker) error {
	for _, kind := range []string{"passdb", "userdb"} {
		for _, s := range k.v.subs(schema().root.keys[kind]) {
			if v, _ := s.value("driver"); v.text == "" {
				return fmt.Errorf("%s is missing driver", kind)
			}
		}
	}
	return nil
}

func checkAuth(k *checker) error {
	if k.uint("auth_worker_max_count") == 0 {
		return fmt.Errorf("auth_worker_max_count must be above zero")
	}
	if n := k.size("auth_cache_size"); n > 0 && n < 1024 {
		return fmt.Errorf("auth_cache_size value is too small (%d bytes)", n)
	}
	if k.str("auth_policy_server_url") != "" {
		if k.str("auth_policy_hash_nonce") == "" {
			return fmt.Errorf("auth_policy_hash_nonce must be set when policy server is used")
		}
		if _, ok := hashes[k.str("auth_policy_hash_mech")]; !ok {
			return fmt.Errorf("invalid auth_policy_hash_mech given")
		}
	}
	return checkVerbosePasswords(k.str("auth_verbose_passwords"))
}

func checkVerbosePasswords(v string) error {
	kind, length, cut := strings.Cut(v, ":")
	if !slices.Contains([]string{"no", "plain", "sha1"}, kind) {
		return fmt.Errorf("auth_verbose_passwords: Invalid value")
	}
	if _, err := parseUint(length); cut && err != nil {
		return fmt.Errorf("auth_verbose_passwords: Invalid truncation number: '%s'", length)
	}
	return nil
}

func checkSSL(k *checker) error {
	if k.yes("ssl_verify_client_cert") && k.str("ssl_ca") == "" {
		return fmt.Errorf("ssl_verify_client_cert set, but ssl_ca not")
	}
	return nil
}

func checkMail(k *checker) error {
	if plugins, dir := k.str("mail_plugins"), k.str("mail_plugin_dir"); strings.TrimSpace(plugins) != "" && k.isSet("mail_plugin_dir") {
		// The directory is of no use here, but a wrong one is a mistake all the same.
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("mail_plugin_dir: access(%s) failed: %s", dir, errnoText(err))
		}
	}
	if k.yes("mail_nfs_index") {
		if !k.yes("mmap_disable") {
			return fmt.Errorf("mail_nfs_index=yes requires mmap_disable=yes")
		}
		if k.str("mail_fsync") != "always" {
			return fmt.Errorf("mail_nfs_index=yes requires mail_fsync=always")
		}
	}
	if k.size("mail_cache_max_size") > 1<<30 {
		return fmt.Errorf("mail_cache_max_size can't be over 1 GB")
	}
	for _, key := range []string{"mailbox_idle_check_interval", "imapc_max_idle_time"} {
		if k.str(key) == "0" {
			return fmt.Errorf("%s must not be 0", key)
		}
	}
	for _, key := range []string{"dsync_hashed_headers", "dsync_alt_char"} {
		if k.str(key) == "" {
			return fmt.Errorf("%s must not be empty", key)
		}
	}
	return checkHashFormat(k.str("mail_attachment_hash"))
}

func (k *checker) isSet(key string) bool {
	_, ok := k.v.value(key)
	return ok
}

// checkHashFormat checks a template of %{method} and %{method:bits}. A dash
// separates the hash from the rest of an attachment's name.
func checkHashFormat(s string) error {
	if strings.Contains(s, "-") {
		return fmt.Errorf("mail_attachment_hash setting must not contain '-' characters")
	}
	for {
		_, rest, found := strings.Cut(s, "%")
		if !found {
			return nil
		}
		body, ok := strings.CutPrefix(rest, "{")
		if !ok {
			return fmt.Errorf("Invalid mail_attachment_hash setting: No '{' after '%%'")
		}
		name, after, ok := strings.Cut(body, "}")
		if !ok {
			return fmt.Errorf("Invalid mail_attachment_hash setting: Missing '}'")
		}
		name, bits, cut := strings.Cut(name, ":")
		if _, err := parseUint(bits); cut && err != nil {
			return fmt.Errorf("Invalid mail_attachment_hash setting: Invalid :bits number: %s", bits)
		}
		if h, ok := hashes[name]; name != "size" && (!ok || h.pkcs5) {
			return fmt.Errorf("Invalid mail_attachment_hash setting: Unknown hash method: %s", name)
		}
		s = after
	}
}

func checkUIDLFormat(k *checker) error {
	format := k.str("pop3_uidl_format")
	found := false
	for rest := format; ; {
		_, after, ok := strings.Cut(rest, "%")
		if !ok || after == "" {
			break
		}
		var f varFormat
		after = f.parse(after)
		if after == "" {
			break
		}
		if !strings.Contains("vufmg%", after[:1]) {
			return fmt.Errorf("Unknown pop3_uidl_format variable: %%%s", after[:1])
		}
		found = found || after[0] != '%'
		rest = after[1:]
	}
	if !found {
		// Two percent signs, as Dovecot prints it.
		return fmt.Errorf("pop3_uidl_format setting doesn't contain any %%%% variables.")
	}
	return nil
}

var specialUses = []string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

func checkNamespaces(k *checker) error {
	list := schema().root.keys["namespace"]
	all := k.v.subs(list)
	prefixes := map[string]bool{}
	for _, ns := range all {
		p, _ := ns.value("prefix")
		prefixes[p.text] = true
	}
	for _, ns := range all {
		prefix, _ := ns.value("prefix")
		if sep, _ := ns.value("separator"); len(sep.text) > 1 {
			return fmt.Errorf("Namespace '%s': Hierarchy separator must be only one character long", prefix.text)
		}
		if alias, ok := ns.value("alias_for"); ok && !prefixes[alias.text] {
			return fmt.Errorf("Namespace '%s': alias_for points to unknown namespace: %s", prefix.text, alias.text)
		}
		for _, box := range ns.subs(list.keys["mailbox"]) {
			uses, _ := box.value("special_use")
			for use := range strings.FieldsSeq(uses.text) {
				if !slices.Contains(specialUses, use) {
					return fmt.Errorf("mailbox %s: unknown special_use: %s", box[0].name, use)
				}
			}
		}
	}
	return nil
}

// wordLists are settings that hold a list of words.
var wordLists = []struct {
	key, what string
	words     []string
	prefixes  []string
}{
	{key: "imap_client_workarounds", what: "workaround", words: []string{"delay-newmail", "tb-extra-mailbox-sep", "tb-lsub-flags"}},
	{key: "pop3_client_workarounds", what: "workaround", words: []string{"outlook-no-nuls", "oe-ns-eoh"}},
	{key: "lmtp_client_workarounds", what: "workaround", words: []string{"whitespace-before-path", "mailbox-for-path"}},
	{key: "submission_client_workarounds", what: "workaround", words: []string{"whitespace-before-path", "mailbox-for-path", "implicit-auth-external", "exotic-backend"}},
	{key: "dsync_features", what: "feature", words: []string{"empty-header-workaround", "no-header-hashes"}},
	{key: "imapc_features", what: "feature", prefixes: []string{"throttle:"}, words: []string{
		"rfc822.size", "guid-forced", "fetch-headers", "gmail-migration", "search", "zimbra-workarounds", "no-examine",
		"proxyauth", "fetch-msn-workarounds", "fetch-fix-broken-mails", "modseq", "delay-login", "fetch-bodystructure",
		"send-id", "fetch-empty-is-expunged", "no-msn-updates", "acl"}},
	{key: "mail_attachment_detection_options", what: "option", prefixes: []string{"content-type="},
		words: []string{"add-flags", "add-flags-on-save", "exclude-inlined"}},
}

func checkWords(k *checker) error {
	for _, l := range wordLists {
		for _, w := range strings.FieldsFunc(k.str(l.key), func(r rune) bool { return r == ' ' || r == ',' }) {
			hasPrefix := func(p string) bool { return strings.HasPrefix(w, p) }
			if !slices.Contains(l.words, w) && !slices.ContainsFunc(l.prefixes, hasPrefix) {
				return fmt.Errorf("%s: Unknown %s: %s", l.key, l.what, w)
			}
		}
	}
	for w := range strings.FieldsSeq(k.str("ssl_options")) {
		if !slices.Contains([]string{"compression", "no_compression", "no_ticket"}, w) {
			return fmt.Errorf("ssl_options: unknown flag: '%s'", w)
		}
	}
	return nil
}

func checkMetrics(k *checker) error {
	exporters := map[string]bool{}
	for _, e := range k.v.subs(schema().root.keys["event_exporter"]) {
		exporters[e[0].name] = true
		if t, _ := e.value("transport"); !slices.Contains([]string{"drop", "log", "http-post"}, t.text) {
			return fmt.Errorf("Unknown transport type '%s'", t.text)
		}
		format, _ := e.value("format")
		args, _ := e.value("format_args")
		if format.text == "json" && !strings.Contains(args.text, "time-") {
			return fmt.Errorf("json exporter format requires a time-* argument")
		}
	}
	for _, m := range k.v.subs(schema().root.keys["metric"]) {
		if f, _ := m.value("filter"); f.text == "" {
			return fmt.Errorf("metric %s { filter } is empty - will not match anything", m[0].name)
		}
		if e, _ := m.value("exporter"); e.text != "" && len(exporters) > 0 && !exporters[e.text] {
			return fmt.Errorf("metric %s refers to non-existent exporter '%s'", m[0].name, e.text)
		}
	}
	return nil
}

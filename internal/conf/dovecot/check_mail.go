package dovecot

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

func checkMail(k *checker) error {
	if k.str("mailbox_idle_check_interval") == "0" {
		return fmt.Errorf("mailbox_idle_check_interval must not be 0")
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
	if k.uint("mail_cache_purge_delete_percentage") > 100 {
		return fmt.Errorf("mail_cache_purge_delete_percentage can't be over 100")
	}
	if err := checkUIDLFormat(k); err != nil {
		return err
	}
	if err := checkHashFormat(k.str("mail_attachment_hash")); err != nil {
		return err
	}
	for option := range strings.FieldsFuncSeq(k.str("mail_attachment_detection_options"), isSpaceRune) {
		if !slices.Contains(attachmentOptions, option) && !strings.HasPrefix(option, "content-type=") {
			return fmt.Errorf("mail_attachment_detection_options: Unknown option: %s", option)
		}
	}
	return checkCacheFields(k)
}

var attachmentOptions = []string{"add-flags", "add-flags-on-save", "no-flags-on-fetch", "exclude-inlined"}

func isSpaceRune(r rune) bool { return r == ' ' }

// checkCacheFields checks the names of header fields in the lists of what to cache.
func checkCacheFields(k *checker) error {
	for _, key := range []string{"mail_cache_fields", "mail_always_cache_fields", "mail_never_cache_fields"} {
		for _, name := range listWords(k.str(key)) {
			if len(name) < 4 || !strings.EqualFold(name[:4], "hdr.") {
				continue
			}
			if field := name[4:]; strings.ContainsFunc(field, func(r rune) bool { return r <= ' ' || r == ':' || r >= 0x7f }) {
				return fmt.Errorf("Invalid %s: %s is not a valid header name", key, name)
			}
		}
	}
	return nil
}

// checkHashFormat checks a template of %{method} and %{method:bits}. A dash
// separates the hash from the rest of an attachment's name.
func checkHashFormat(s string) error {
	if strings.Contains(s, "/") {
		return fmt.Errorf("mail_attachment_hash setting must not contain '/' characters")
	}
	for rest := s; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			break
		}
		if after != "" && (after[0] == 'B' || after[0] == 'X') {
			after = after[1:]
		}
		body, ok := strings.CutPrefix(after, "{")
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
		rest = after
	}
	if strings.Contains(s, "-") {
		return fmt.Errorf("mail_attachment_hash setting must not contain '-' characters")
	}
	return nil
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

func checkMailUser(k *checker) error {
	if plugins, dir := k.str("mail_plugins"), k.str("mail_plugin_dir"); plugins != "" && k.isSet("mail_plugin_dir") {
		// The directory is of no use here, but a wrong one is a mistake all the same.
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("mail_plugin_dir: access(%s) failed: %s", dir, errnoText(err))
		}
	}
	all := k.list("namespace")
	for _, ns := range all {
		if err := checkNamespace(ns, all); err != nil {
			return err
		}
		for _, box := range ns.subs(ns[0].set.keys["mailbox"]) {
			if err := checkMailbox(box); err != nil {
				return err
			}
		}
	}
	return nil
}

func (k *checker) isSet(key string) bool {
	_, ok := k.v.value(key)
	return ok
}

func checkNamespace(ns view, all []view) error {
	prefix := ns.str("prefix")
	if len(ns.str("separator")) > 1 {
		return fmt.Errorf("Namespace '%s': Hierarchy separator must be only one character long", prefix)
	}
	if !utf8.ValidString(prefix) {
		return fmt.Errorf("Namespace prefix not valid UTF8: %s", prefix)
	}
	alias, ok := ns.value("alias_for")
	if !ok || ns.str("disabled") == "yes" {
		return nil
	}
	i := slices.IndexFunc(all, func(o view) bool { return o.str("prefix") == alias.text })
	if i < 0 {
		return fmt.Errorf("Namespace '%s': alias_for points to unknown namespace: %s", prefix, alias.shown())
	}
	if next, ok := all[i].value("alias_for"); ok {
		return fmt.Errorf("Namespace '%s': alias_for chaining isn't allowed: %s -> %s", prefix, alias.shown(), next.shown())
	}
	return nil
}

var specialUses = []string{`\All`, `\Archive`, `\Drafts`, `\Flagged`, `\Important`, `\Junk`, `\Sent`, `\Trash`}

func checkMailbox(box view) error {
	name := box.str("name")
	if !utf8.ValidString(name) {
		return fmt.Errorf("mailbox %s: name isn't valid UTF-8", name)
	}
	for use := range strings.FieldsFuncSeq(box.str("special_use"), isSpaceRune) {
		if !slices.Contains(specialUses, use) {
			return fmt.Errorf("mailbox %s: unknown special_use: %s", name, use)
		}
	}
	return nil
}

func checkPOP3(k *checker) error {
	if err := checkWords(k, "pop3_client_workarounds"); err != nil {
		return err
	}
	if k.str("pop3_delete_type") == "flag" && k.str("pop3_deleted_flag") == "" {
		return fmt.Errorf("pop3_delete_type=flag, but pop3_deleted_flag not set")
	}
	return nil
}

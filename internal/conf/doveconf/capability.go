package doveconf

import (
	"slices"
	"strings"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// standardExtensions are the Sieve extensions that are enabled unless
// sieve_extensions says otherwise, in the order in which they are announced.
var standardExtensions = strings.Fields("fileinto reject envelope encoded-character vacation subaddress comparator-i;ascii-numeric " +
	"relational regex imap4flags copy include variables body enotify environment mailbox date index ihave duplicate mime " +
	"foreverypart extracttext")

// otherExtensions are those that must be asked for.
var otherExtensions = strings.Fields("vacation-seconds spamtest spamtestplus virustest editheader mboxmetadata servermetadata " +
	"special-use vnd.dovecot.debug vnd.dovecot.environment vnd.dovecot.report imapflags notify vnd.dovecot.duplicate")

// pluginExtensions are those of a word in sieve_plugins; the first ones are enabled
// with it, the others must be asked for.
var pluginExtensions = map[string][2][]string{
	"sieve_imapsieve":   {{"imapsieve", "vnd.dovecot.imapsieve"}, nil},
	"sieve_extprograms": {nil, {"vnd.dovecot.pipe", "vnd.dovecot.filter", "vnd.dovecot.execute"}},
}

// capabilities are the settings that Dovecot has managesieve fill in before it reads the
// configuration: they count as set.
func capabilities(c *dovecot.Config) map[string]string {
	plugin := c.Plugin()
	known := slices.Concat(standardExtensions, otherExtensions)
	enabled := slices.Clone(standardExtensions)
	for name := range strings.FieldsSeq(plugin["sieve_plugins"]) {
		p := pluginExtensions[name]
		known = slices.Concat(known, p[0], p[1])
		enabled = slices.Concat(enabled, p[0])
	}
	for _, key := range []string{"sieve_extensions", "sieve_implicit_extensions"} {
		if words, ok := plugin[key]; ok {
			enabled = enableExtensions(enabled, words)
		}
	}
	known = slices.DeleteFunc(known, func(name string) bool { return !slices.Contains(enabled, name) })
	notify := ""
	if slices.Contains(known, "enotify") {
		notify = "mailto"
	}
	return map[string]string{
		"managesieve_sieve_capability":  strings.Join(known, " "),
		"managesieve_notify_capability": notify,
	}
}

// enableExtensions applies a list that names all extensions, or with + and - changes them.
func enableExtensions(enabled []string, words string) []string {
	fields := strings.Fields(words)
	if !slices.ContainsFunc(fields, func(w string) bool { return w[0] == '+' || w[0] == '-' }) {
		enabled = nil
	}
	for _, w := range fields {
		name := strings.TrimLeft(w, "+-")
		if w[0] == '-' {
			enabled = slices.DeleteFunc(enabled, func(e string) bool { return e == name })
		} else {
			enabled = append(enabled, name)
		}
	}
	return enabled
}

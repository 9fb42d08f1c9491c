package dovecot

import (
	"fmt"
	"math"
	"os/user"
	"slices"
	"time"
)

// A checker looks at the settings that one filter gives, with those around it.
// Values have been checked one by one already, so parse errors are ignored.
type checker struct {
	c        *Config
	v        view
	warnings []string // that c does not have yet
}

func (k *checker) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(k.c.warnings, text) && !slices.Contains(k.warnings, text) {
		k.warnings = append(k.warnings, text)
	}
}

// list returns the sections of a list at the top level.
func (k *checker) list(name string) []view { return k.v.subs(schema().root.keys[name]) }

// str is the value of a key of the section.
func (v view) str(key string) string {
	if val, ok := v.value(key); ok {
		return val.shown()
	}
	set := v[0].set
	if key == set.nameKey() {
		return v.name()
	}
	return set.keys[key].Default
}

func (k *checker) str(key string) string {
	if v, ok := k.v.value(key); ok {
		return v.shown()
	}
	return schema().root.keys[key].Default
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
// settings and for every filter. No modules are all.
func (c *Config) check(modules []string) error {
	warned := false
	for _, l := range c.layers {
		layers := c.matching(l.cond.filter())
		if err := c.conflict(layers); err != nil {
			return c.wrong(err)
		}
		if !warned {
			warned = c.warnSSL(l)
		}
		k := &checker{c: c, v: c.stackView(layers)}
		changed := changedModules(layers)
		for _, check := range checks {
			if !wanted(check.module, modules) || !changed(check.module) {
				continue
			}
			err := check.fn(k)
			c.warnings, k.warnings = append(c.warnings, k.warnings...), nil
			if err != nil {
				return c.wrong(err)
			}
		}
	}
	return nil
}

// changedModules tells of which modules any setting differs from the global ones, which
// have been checked before. There may be thousands of filters.
func changedModules(layers []*layer) func(module string) bool {
	if len(layers) == 1 {
		return func(string) bool { return true }
	}
	var settings []*Setting
	for _, l := range layers[:len(layers)-1] {
		for key := range l.root.keys {
			settings = append(settings, l.root.set.known(key))
		}
		for _, sub := range l.root.subs {
			settings = append(settings, sub.set)
		}
	}
	return func(module string) bool {
		return slices.ContainsFunc(settings, func(s *Setting) bool {
			return s.common || slices.Contains(s.roots, module)
		})
	}
}

// Check returns what is wrong with the selected settings, the first error of each module. Load has
// checked them all, but returns only the first, and has not come to the warnings of the
// modules after that.
func (c *Config) Check(sel Selection) (warnings []string, errs []error) {
	k, errs, _ := c.checkSelection(sel)
	return k.warnings, errs
}

// checkSelection is Check; it also returns the place in the catalog where the module of the
// first error ends.
func (c *Config) checkSelection(sel Selection) (k *checker, errs []error, end int) {
	end = math.MaxInt
	modules := withParts(sel.Modules)
	k = &checker{c: c, v: c.view(sel.Filter)}
	for _, check := range checks {
		if !wanted(check.module, modules) {
			continue
		}
		if err := check.fn(k); err != nil {
			if len(errs) == 0 {
				end = schema().root.keys[check.last].order
			}
			errs = append(errs, err)
		}
	}
	return k, errs, end
}

// warnSSL warns about a filter that turns on what is off as a whole. Dovecot does so once.
func (c *Config) warnSSL(l *layer) bool {
	global := c.layers[0].root.keys["ssl"].text
	v, ok := l.root.keys["ssl"]
	if !ok || global != "no" || v.text == "no" {
		return false
	}
	c.warnings = append(c.warnings, fmt.Sprintf("SSL is disabled because global ssl=no, ignoring ssl=%s for subsection", v.text))
	return true
}

func (c *Config) wrong(err error) error { return &Error{File: c.path, Text: err.Error()} }

// wanted reports whether a module is one of modules; no modules are all.
func wanted(module string, modules []string) bool {
	return modules == nil || module == commonModule || slices.Contains(modules, module)
}

// commonModule is that of the settings that every program of Dovecot reads.
const commonModule = ""

// checks are in the order in which Dovecot makes them, by module. Where it prints and
// checks in one go, -S, an error is the end after the last setting of the module.
var checks = []struct {
	module string
	last   string
	fn     func(*checker) error
}{
	{"managesieve", "managesieve_max_compile_errors", words("managesieve_client_workarounds")},
	{commonModule, "haproxy_timeout", checkLog},
	{"ssl", "ssl_options", checkSSL},
	{"auth", "last_valid_gid", checkAuth},
	{"director", "director_output_buffer_size", checkDirector},
	{"doveadm", "dsync_hashed_headers", checkDsync},
	{"imap", "imap_urlauth_port", words("imap_client_workarounds")},
	{"imapc", "pop3_deleted_flag", checkIMAPC},
	{"lmtp", "lmtp_client_workarounds", words("lmtp_client_workarounds")},
	{"mail", "pop3_uidl_format", checkMail},
	{"mail", "namespace", checkMailUser},
	{"master", "service", checkMaster},
	{"pop3", "pop3_delete_type", checkPOP3},
	{"pop3c", "pop3c_features", words("pop3c_features")},
	{"stats", "event_exporter", checkStats},
	{"submission-login", "submission_backend_capabilities", words("submission_client_workarounds")},
	{"submission", "submission_relay_command_timeout", words("submission_client_workarounds")},
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

func checkLog(k *checker) error {
	if f := k.str("syslog_facility"); !slices.Contains(syslogFacilities, f) {
		return fmt.Errorf("Unknown syslog_facility: %s", f)
	}
	for _, key := range []string{"log_debug", "log_core_filter", "process_shutdown_filter"} {
		if err := checkEventFilter(k.str(key)); err != nil {
			return fmt.Errorf("Invalid %s: %w", key, err)
		}
	}
	return nil
}

func checkDirector(k *checker) error {
	if d, _ := parseTime(k.str("director_user_expire")); d < 10*time.Second {
		return fmt.Errorf("director_user_expire is too low")
	}
	return nil
}

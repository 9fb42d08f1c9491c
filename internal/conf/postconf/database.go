package postconf

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// databaseKeys are the settings of the table types that have client configurations
// (ldap_table(5) and so on).
var databaseKeys = map[string][]string{
	"ldap": {
		"bind", "bind_dn", "bind_pw", "cache", "cache_expiry", "cache_size", "chase_referrals", "debuglevel", "dereference", "domain",
		"expansion_limit", "leaf_result_attribute", "query_filter", "recursion_limit", "result_attribute", "result_filter",
		"result_format", "sasl_authz_id", "sasl_mechs", "sasl_minssf", "sasl_realm", "scope", "search_base", "server_host",
		"server_port", "size_limit", "special_result_attribute", "start_tls", "terminal_result_attribute", "timeout",
		"tls_ca_cert_dir", "tls_ca_cert_file", "tls_cert", "tls_cipher_suite", "tls_key", "tls_random_file", "tls_require_cert",
		"version",
	},
	"mysql": {
		"additional_conditions", "dbname", "domain", "expansion_limit", "hosts", "option_file", "option_group", "password", "query",
		"require_result_set", "result_format", "select_field", "table", "tls_CAfile", "tls_CApath", "tls_cert_file", "tls_ciphers",
		"tls_key_file", "tls_verify_cert", "user", "where_field",
	},
	"pgsql": {
		"additional_conditions", "dbname", "domain", "expansion_limit", "hosts", "password", "query", "result_format",
		"select_field", "select_function", "table", "user", "where_field",
	},
	"sqlite": {
		"additional_conditions", "dbpath", "domain", "expansion_limit", "query", "result_format", "select_field", "table",
		"where_field",
	},
	"memcache": {
		"backup", "data_size_limit", "domain", "flags", "key_format", "line_size_limit", "max_try", "memcache", "retry_pause",
		"timeout", "ttl",
	},
}

// maxBraces bounds lists in lists.
const maxBraces = 100

// findDatabases looks for type:name in a value. A name that is a path is that of a file
// to be checked; another is what the names of main.cf parameters begin with.
func (c *command) findDatabases(value string, s *service) error { return c.findNested(value, s, 0) }

func (c *command) findNested(value string, s *service, depth int) error {
	if !strings.ContainsAny(value, ":{") || depth > maxBraces {
		return nil
	}
	for _, item := range postfix.SplitList(value) {
		if err := c.findItem(item, s, depth); err != nil {
			return err
		}
	}
	return nil
}

func (c *command) findItem(item string, s *service, depth int) error {
	if item[0] == '{' {
		return c.findNested(c.unbrace(item, s), s, depth+1)
	}
	typ, name, ok := strings.Cut(item, ":")
	for ok && typ == "proxy" {
		typ, name, ok = strings.Cut(name, ":")
	}
	switch {
	case !ok || strings.HasPrefix(name, "."):
		return nil
	case strings.HasPrefix(name, "{"):
		return c.findNested(c.unbrace(name, s), s, depth+1)
	case strings.HasPrefix(name, "/"):
		return c.checkDatabase(typ, name)
	}
	for _, key := range databaseKeys[typ] {
		c.use(name+"_"+key, s, true)
	}
	return nil
}

// unbrace takes the braces off an item.
func (c *command) unbrace(item string, s *service) string {
	text, err := unbrace(item)
	if err != nil {
		file := "main.cf"
		if s != nil {
			file = "master.cf:" + s.id()
		}
		c.warn("%s: %v", file, err)
	}
	return text
}

// checkDatabase tells of what is unknown in a client configuration, once. That one
// cannot be read is no failure: it may hold a password.
func (c *command) checkDatabase(typ, path string) error {
	keys, ok := databaseKeys[typ]
	if !ok || c.warned[typ+":"+path] {
		return nil
	}
	c.warned[typ+":"+path] = true
	f, err := openRegular(path)
	if err != nil {
		if !errors.Is(err, fs.ErrPermission) {
			c.warn("open \"%s\" configuration \"%s\": %s", typ, path, reason(err))
		}
		return nil
	}
	defer f.Close()
	settings, err := postfix.ReadSettings(f, path, func(text string) { c.warn("%s", text) })
	if err != nil {
		return err
	}
	for _, setting := range settings {
		if !slices.Contains(keys, setting.Name) {
			c.warn("%s:%s: unused parameter: %s=%s", typ, path, setting.Name, setting.Value)
		}
	}
	return nil
}

func openRegular(path string) (*os.File, error) {
	// A fifo must not make us wait.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// reason is the system's text of an error as C programs print it.
func reason(err error) string {
	var no syscall.Errno
	if !errors.As(err, &no) {
		return err.Error()
	}
	s := no.Error()
	return strings.ToUpper(s[:1]) + s[1:]
}

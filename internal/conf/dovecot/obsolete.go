package dovecot

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A rewrite turns an obsolete line into what replaces it. It returns true if it
// has dealt with the line, false to have the (perhaps changed) line assigned.
type rewrite func(p *parser, ln *line) (done bool, err error)

// obsolete are the settings of older versions that are still accepted, by path.
// They are known at the top level and in filters only.
var obsolete = map[string]rewrite{
	"protocols":                      oldProtocols,
	"ssl_cert_file":                  oldFile,
	"ssl_key_file":                   oldFile,
	"ssl_ca_file":                    oldFile,
	"ssl_disable":                    oldSSLDisable,
	"ssl_protocols":                  oldSSLProtocols,
	"ssl_parameters_regenerate":      dropped("is no longer needed"),
	"ssl_dh_parameters_length":       dropped("is no longer needed"),
	"sieve":                          moved("plugin/sieve", "has been moved into plugin {} section"),
	"sieve_storage":                  moved("plugin/sieve_storage", "has been moved into plugin { sieve_dir }"),
	"fsync_disable":                  oldFsyncDisable,
	"imap_client_workarounds":        oldWorkarounds,
	"login_dir":                      dropped("has been removed"),
	"dbox_rotate_min_size":           dropped("has been removed"),
	"dbox_rotate_days":               dropped("has been removed"),
	"director_consistent_hashing":    dropped("has been removed"),
	"mail_log_max_lines_per_sec":     dropped("has been removed"),
	"maildir_copy_preserve_filename": dropped("has been removed"),
	"auth_count":                     dropped("has been removed, and its value must be 1"),
	"auth_cache_size":                oldCacheSize,
	"listen":                         oldListen,
	"ssl_listen":                     oldListen,

	"dbox_rotate_size":                          renamed("mdbox_rotate_size"),
	"mail_cache_compress_min_size":              renamed("mail_cache_purge_min_size"),
	"mail_cache_compress_delete_percentage":     renamed("mail_cache_purge_delete_percentage"),
	"mail_cache_compress_continued_percentage":  renamed("mail_cache_purge_continued_percentage"),
	"mail_cache_compress_header_continue_count": renamed("mail_cache_purge_header_continue_count"),

	"auth_executable":   toService("auth", "executable", "service auth { executable }"),
	"auth_process_size": toService("auth", "vsz_limit", "service auth { vsz_limit }"),
	"auth_user":         toService("auth", "user", "service auth { user }"),
	"auth_chroot":       toService("auth", "chroot", "service auth { chroot }"),

	"login_executable":             toService("-login", "executable", "service { executable }"),
	"login_user":                   toService("-login", "user", "service { user }"),
	"login_chroot":                 toService("-login", "chroot", "service { chroot }"),
	"login_process_size":           toService("-login", "vsz_limit", "service { vsz_limit }"),
	"login_process_per_connection": toService("-login", "service_count", "service { service_count }"),
	"login_processes_count":        toService("-login", "process_min_avail", "service { process_min_avail }"),
	"login_max_processes_count":    toService("-login", "process_limit", "service { process_limit }"),
	"login_max_connections":        toService("-login", "client_limit", "service { client_limit }"),
	"mail_executable":              toService("", "executable", "service { executable }"),
	"mail_process_size":            toService("", "vsz_limit", "service { vsz_limit }"),
	"mail_drop_priv_before_exec":   toService("", "drop_priv_before_exec", "service { drop_priv_before_exec }"),
	"max_mail_processes":           toService("", "process_limit", "service { process_limit }"),

	"plugin/imap_zlib_compress_level": func(p *parser, ln *line) (bool, error) {
		p.old("imap_zlib_compress_level has been replaced by imap_compress_deflate_level")
		ln.key = "imap_compress_deflate_level"
		return false, nil
	},
}

// old warns about an obsolete setting; the first time with a note on what to do.
func (p *parser) old(format string, args ...any) {
	if !p.obsolete {
		p.warn("NOTE: You can get a new clean config file with: doveconf -Pn > dovecot-new.conf")
		p.obsolete = true
	}
	p.warn(fmt.Sprintf("Obsolete setting in %s: %s", p.cfg.where(p.pos), fmt.Sprintf(format, args...)))
}

func dropped(why string) rewrite {
	return func(p *parser, ln *line) (bool, error) {
		p.old("%s %s", ln.key, why)
		return true, nil
	}
}

func renamed(name string) rewrite {
	return func(p *parser, ln *line) (bool, error) {
		p.old("%s has been renamed to %s", ln.key, name)
		ln.key = name
		return false, nil
	}
}

func moved(path, text string) rewrite {
	return func(p *parser, ln *line) (bool, error) {
		p.old("%s %s", ln.key, text)
		ln.key = path
		return false, nil
	}
}

// oldFile turns ssl_cert_file = path into ssl_cert = <path.
func oldFile(p *parser, ln *line) (bool, error) {
	if ln.value == "" {
		return true, nil
	}
	name := strings.TrimSuffix(ln.key, "_file")
	p.old("%s has been replaced by %s = <file", ln.key, name)
	ln.key, ln.kind = name, lineFile
	return false, nil
}

func oldSSLDisable(p *parser, ln *line) (bool, error) {
	p.old("ssl_disable has been renamed to ssl")
	ln.key = "ssl"
	if strings.EqualFold(ln.value, "yes") {
		ln.value = "no"
	} else {
		ln.value = "yes"
	}
	return false, nil
}

// oldSSLProtocols finds the lowest version that a list of names and !names allows.
func oldSSLProtocols(p *parser, ln *line) (bool, error) {
	p.old("ssl_protocols has been replaced by ssl_min_protocol")
	versions := []string{"SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"}
	named, refused := map[string]bool{}, map[string]bool{}
	for word := range strings.FieldsSeq(ln.value) {
		name, not := strings.CutPrefix(word, "!")
		if !slices.Contains(versions, name) {
			p.warn(fmt.Sprintf("Could not find a minimum ssl_min_protocol setting from ssl_protocols = %s: Unrecognized protocol '%s'", ln.value, name))
			return true, nil
		}
		if not {
			refused[name] = true
		} else {
			named[name] = true
		}
	}
	for _, v := range versions {
		if !refused[v] && (len(named) == 0 || named[v]) {
			ln.key, ln.value, ln.kind = "ssl_min_protocol", v, lineKey
			return false, nil
		}
	}
	p.warn(fmt.Sprintf("Could not find a minimum ssl_min_protocol setting from ssl_protocols = %s: All protocols disabled", ln.value))
	return true, nil
}

func oldFsyncDisable(p *parser, ln *line) (bool, error) {
	p.old("fsync_disable has been renamed to mail_fsync")
	ln.key = "mail_fsync"
	if strings.EqualFold(ln.value, "yes") {
		ln.value = "never"
	} else {
		ln.value = "optimized"
	}
	return false, nil
}

// oldWorkarounds blanks words that no longer exist; the blanks between them stay.
func oldWorkarounds(p *parser, ln *line) (bool, error) {
	for _, w := range []struct{ word, why string }{
		{"outlook-idle", "is no longer necessary"},
		{"netscape-eoh", "is no longer supported"},
	} {
		if i := strings.Index(ln.value, w.word); i >= 0 {
			p.old("imap_client_workarounds=%s %s", w.word, w.why)
			ln.value = ln.value[:i] + ln.value[i+len(w.word):]
		}
	}
	return false, nil
}

// oldCacheSize reads a small number as megabytes.
func oldCacheSize(p *parser, ln *line) (bool, error) {
	if n, err := strconv.ParseUint(ln.value, 10, 32); err == nil && 0 < n && n < 1024 {
		p.old("auth_cache_size value no longer defaults to megabytes. Use %dM", n)
		ln.value += "M"
	}
	return false, nil
}

// oldProtocols removes imaps and pop3s, which are listeners now, and renames managesieve.
func oldProtocols(p *parser, ln *line) (bool, error) {
	words := strings.Fields(ln.value)
	if i := slices.Index(words, "managesieve"); i >= 0 {
		p.old("protocols=managesieve has been renamed to protocols=sieve")
		words[i] = "sieve"
		ln.value = strings.Join(words, " ")
	}
	for _, name := range []string{"imap", "pop3"} {
		i := slices.Index(words, name+"s")
		if i < 0 {
			continue
		}
		if slices.Contains(words, name) {
			p.old("'%ss' protocol is no longer necessary, remove it", name)
			words = slices.Delete(words, i, i+1)
		} else {
			p.old("'%ss' protocol can no longer be specified (use protocols=%s). to disable non-ssl %s, use service %s-login { inet_listener %s { port=0 } }",
				name, name, name, name, name)
			words = append(slices.Delete(words, i, i+1), name)
			if err := p.put("service/"+name+"-login/inet_listener/"+name+"/port", "0"); err != nil {
				return true, err
			}
		}
		ln.value = strings.Join(words, " ")
	}
	return false, nil
}

// put assigns a setting that replaces an obsolete one.
func (p *parser) put(path, text string) error {
	return p.assign(line{kind: lineKey, key: path, value: text})
}

// toService moves a setting into services: of that name, or, for a name that is only
// the end of one, of the imap and pop3 services, or the one whose protocol block
// the line is in.
func toService(name, key, replacement string) rewrite {
	return func(p *parser, ln *line) (bool, error) {
		p.old("%s has been replaced by %s", ln.key, replacement)
		value := ln.value
		switch {
		case key == "vsz_limit" && strings.Trim(value, "0123456789") == "":
			value += "M"
		case key == "chroot" && value == "no":
			value = ""
		case key == "service_count" && value == "no":
			value = "0"
		case key == "service_count" && value == "yes":
			value = "1"
		}
		if name == "auth" {
			return true, p.put("service/auth/"+key, value)
		}
		return true, p.forProtocols(func(proto string) error {
			return p.put("service/"+proto+name+"/"+key, value)
		})
	}
}

// forProtocols calls put for the protocols Dovecot 1 had, or for the one whose protocol block is
// open, with the settings going outside of that block.
func (p *parser) forProtocols(put func(proto string) error) error {
	protos := []string{"imap", "pop3", "managesieve"}
	cur := *p.cur()
	if c := cur.layer.cond; c.hasService {
		protos = nil
		switch c.service {
		case "imap", "pop3":
			protos = []string{c.service}
		case "managesieve", "sieve":
			protos = []string{"managesieve"}
		}
		p.stack = append(p.stack, p.stack[0])
		defer func() { p.stack = p.stack[:len(p.stack)-1] }()
	}
	for _, proto := range protos {
		if err := put(proto); err != nil {
			return err
		}
	}
	return nil
}

// oldListen moves the port of "address:port", and an address inside a protocol
// block, to the listeners of the login services.
func oldListen(p *parser, ln *line) (bool, error) {
	suffix := ""
	if ln.key == "ssl_listen" {
		suffix = "s"
	}
	set := func(key, value string) error {
		return p.forProtocols(func(proto string) error {
			if proto == "managesieve" {
				return nil // its listener never had a name of its own
			}
			return p.put("service/"+proto+"-login/inet_listener/"+proto+suffix+"/"+key, value)
		})
	}
	if addr, port, ok := cutPort(ln.value); ok {
		p.old("%s=..:port has been replaced by service { inet_listener { port } }", ln.key)
		ln.value = addr
		if err := set("port", port); err != nil {
			return true, err
		}
	}
	if suffix == "" && !p.cur().layer.cond.hasService {
		return false, nil
	}
	p.old("protocol { %s } has been replaced by service { inet_listener { address } }", ln.key)
	return true, set("address", ln.value)
}

// cutPort splits "address:port"; an IPv6 address must be in brackets to have
// a port.
func cutPort(s string) (addr, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || i == len(s)-1 || strings.Trim(s[i+1:], "0123456789") != "" {
		return "", "", false
	}
	if strings.IndexByte(s, ':') != i && s[i-1] != ']' {
		return "", "", false
	}
	return s[:i], s[i+1:], true
}

// oldAuthSection opens the auth { } of Dovecot 1: its settings have the prefix
// auth_ now.
func (p *parser) oldAuthSection() error {
	p.old("add auth_ prefix to all settings inside auth {} and remove the auth {} section completely")
	b := *p.cur()
	b.start, b.oldAuth = p.pos, true
	p.stack = append(p.stack, b)
	return nil
}

// oldAuthDatabase turns the name of a passdb or userdb inside auth { } into its driver.
func (p *parser) oldAuthDatabase(ln line) error {
	p.old("%s %s {} has been replaced by %s { driver=%s }", ln.key, ln.value, ln.key, ln.value)
	driver := ln.value
	ln.value = ""
	if err := p.openList(ln); err != nil {
		return err
	}
	return p.put("driver", driver)
}

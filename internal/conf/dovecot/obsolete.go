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

// convert applies what is known of obsolete settings to a line of the section with
// that path.
func (p *parser) convert(path string, ln *line) (done bool, err error) {
	if path == "" {
		if p.auth.depth == 1 && !strings.HasPrefix(ln.key, "auth_") {
			ln.key = "auth_" + ln.key
		}
		if p.auth.socketKey(ln) {
			return true, nil
		}
	}
	rewrite := obsolete[joinPath(path, ln.key)]
	if rewrite == nil && path == "" && strings.HasPrefix(ln.key, oldCachePrefix) {
		rewrite = renamed("mail_cache_purge_" + strings.TrimPrefix(ln.key, oldCachePrefix))
	}
	if rewrite == nil {
		return false, nil
	}
	return rewrite(p, ln)
}

const oldCachePrefix = "mail_cache_compress_"

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
	"auth_count":                     oldAuthCount,
	"auth_cache_size":                oldCacheSize,
	"listen":                         oldListen,
	"ssl_listen":                     oldListen,

	"dbox_rotate_size": renamed("mdbox_rotate_size"),

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
	ln.value = oldSwitch(ln.value, "no", "yes")
	return false, nil
}

// oldSSLProtocols finds the lowest version that a list of names and !names allows.
func oldSSLProtocols(p *parser, ln *line) (bool, error) {
	p.old("ssl_protocols has been replaced by ssl_min_protocol")
	versions := []string{"SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2"}
	named, refused := map[string]bool{}, map[string]bool{}
	for _, word := range listWords(ln.value) {
		name, not := strings.CutPrefix(word, "!")
		if !slices.Contains(versions, name) {
			p.ignore("Could not find a minimum ssl_min_protocol setting from ssl_protocols = %s: Unrecognized protocol '%s'", ln.value, name)
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
	p.ignore("Could not find a minimum ssl_min_protocol setting from ssl_protocols = %s: All protocols disabled", ln.value)
	return true, nil
}

// ignore reports an error for which a line is ignored.
func (p *parser) ignore(format string, args ...any) {
	if len(p.cfg.errors) < maxWarnings {
		p.cfg.errors = append(p.cfg.errors, fmt.Sprintf(format, args...))
	}
}

func oldFsyncDisable(p *parser, ln *line) (bool, error) {
	p.old("fsync_disable has been renamed to mail_fsync")
	ln.key = "mail_fsync"
	ln.value = oldSwitch(ln.value, "never", "optimized")
	return false, nil
}

// oldSwitch translates yes and no; other values stay, to be refused.
func oldSwitch(value, yes, no string) string {
	switch strings.ToLower(value) {
	case "yes":
		return yes
	case "no":
		return no
	}
	return value
}

func oldAuthCount(p *parser, ln *line) (bool, error) {
	if ln.value == "count" {
		p.old("auth_count has been removed")
	} else {
		p.old("auth_count has been removed, and its value must be 1")
	}
	return true, nil
}

// oldWorkarounds blanks words that no longer exist; a blank stays between the others.
func oldWorkarounds(p *parser, ln *line) (bool, error) {
	words := listWords(ln.value)
	for i, w := range words {
		switch w {
		case "outlook-idle":
			p.old("imap_client_workarounds=%s is no longer necessary", w)
			words[i] = ""
		case "netscape-eoh":
			p.old("imap_client_workarounds=%s is no longer supported", w)
			words[i] = ""
		}
	}
	ln.value = strings.Join(words, " ")
	return false, nil
}

// oldCacheSize reads a small number as megabytes.
func oldCacheSize(p *parser, ln *line) (bool, error) {
	if n, err := strconv.ParseUint(ln.value, 10, 32); err == nil && 0 < n && n < 1024 {
		p.old("auth_cache_size value no longer defaults to megabytes. Use %sM", ln.value)
		return true, p.outside(func() error { return p.put(ln.key, ln.value+"M") })
	}
	return false, nil
}

// oldProtocols removes imaps and pop3s, which are listeners now, and renames managesieve.
func oldProtocols(p *parser, ln *line) (bool, error) {
	words := strings.FieldsFunc(ln.value, isSpaceRune)
	for i, w := range words {
		if w == "managesieve" {
			p.old("protocols=managesieve has been renamed to protocols=sieve")
			words[i] = "sieve"
		}
	}
	for _, name := range []string{"imap", "pop3"} {
		secure := func(w string) bool { return w == name+"s" }
		if !slices.ContainsFunc(words, secure) {
			continue
		}
		words = slices.DeleteFunc(words, secure)
		if slices.Contains(words, name) {
			p.old("'%ss' protocol is no longer necessary, remove it", name)
			continue
		}
		p.old("'%ss' protocol can no longer be specified (use protocols=%s). to disable non-ssl %s, use service %s-login { inet_listener %s { port=0 } }",
			name, name, name, name, name)
		words = append(words, name)
		if err := p.put("service/"+name+"-login/inet_listener/"+name+"/port", "0"); err != nil {
			return true, err
		}
	}
	ln.value = strings.Join(words, " ")
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
		case key == "vsz_limit":
			value += " M"
		case key == "chroot" && name != "auth":
			value = "login"
			if ln.value == "no" {
				value = ""
			}
		case key == "service_count":
			value = "1"
			if ln.value == "no" {
				value = "0"
			}
		}
		if name == "auth" {
			return true, p.outside(func() error { return p.put("service/auth/"+key, value) })
		}
		return true, p.forProtocols(func(proto string) error {
			return p.put("service/"+proto+name+"/"+key, value)
		})
	}
}

// outside calls put with the settings going outside of all blocks.
func (p *parser) outside(put func() error) error {
	p.stack = append(p.stack, p.stack[0])
	defer func() { p.stack = p.stack[:len(p.stack)-1] }()
	return put()
}

// forProtocols calls put for the protocols Dovecot 1 had, or for the one whose protocol block is
// open, with the settings going outside of that block. Managesieve is the last one; because its service
// may be missing Dovecot forgives all errors when it comes to it.
func (p *parser) forProtocols(put func(proto string) error) error {
	var failed error
	c := p.cur().layer.cond
	for _, proto := range []string{"imap", "pop3", "managesieve"} {
		service := proto
		if proto == "managesieve" {
			service = "sieve"
		}
		if !c.match(Filter{Service: service}) {
			continue
		}
		if err := p.outside(func() error { return put(proto) }); err != nil && failed == nil {
			failed = err
		}
		if proto == "managesieve" {
			failed = nil
		}
	}
	return failed
}

// oldListen moves the port of "address:port", and an address inside a protocol
// block, to the listeners of the login services.
func oldListen(p *parser, ln *line) (bool, error) {
	suffix := ""
	if ln.key == "ssl_listen" {
		suffix = "s"
	}
	global := p.cur().layer == p.cfg.layers[0]
	port := hasPort(ln.value)
	if suffix == "" && global && !port {
		return false, nil
	}
	if ln.value == "" {
		return true, nil
	}
	set := func(key, value string) error {
		return p.forProtocols(func(proto string) error {
			if proto == "managesieve" {
				return nil // its listener never had a name of its own
			}
			return p.put("service/"+proto+"-login/inet_listener/"+proto+suffix+"/"+key, value)
		})
	}
	if port {
		p.old("%s=..:port has been replaced by service { inet_listener { port } }", ln.key)
		i := strings.LastIndexByte(ln.value, ':')
		number := ln.value[i+1:]
		ln.value = ln.value[:i]
		if err := set("port", number); err != nil {
			return true, err
		}
	}
	if suffix == "" && global {
		return false, nil
	}
	p.old("protocol { %s } has been replaced by service { inet_listener { address } }", ln.key)
	return true, set("address", ln.value)
}

// hasPort reports whether a list of addresses has anything that is no plain address.
func hasPort(s string) bool {
	return strings.Contains(s, ":") && slices.ContainsFunc(listWords(s), func(addr string) bool {
		if addr == "*" || strings.Trim(addr, "0123456789.") == "" {
			return false
		}
		if strings.HasPrefix(addr, "[") && strings.HasSuffix(addr, "]") {
			addr = addr[1 : len(addr)-1]
		}
		return strings.Trim(addr, "0123456789abcdefABCDEF:") != ""
	})
}

package ldapdb

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot/ext"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// A server is one of uris or hosts.
type server struct {
	network, address string // for net.Dial
	host             string // whose certificate is expected
	tls              bool   // from the first byte on
}

// libraryFiles are the settings of libldap for all programs.
var libraryFiles = []string{"/etc/openldap/ldap.conf", "/etc/ldap/ldap.conf"}

// servers reads uris, or hosts.
func servers(set *ext.LDAP) ([]server, error) {
	var list []server
	if set.URIs != nil {
		for uri := range strings.FieldsFuncSeq(*set.URIs, func(c rune) bool { return c == ' ' || c == ',' }) {
			s, err := parseURI(uri)
			if err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	} else {
		for host := range strings.FieldsSeq(*set.Hosts) {
			list = append(list, tcpServer(host, "389", false))
		}
	}
	if len(list) == 0 {
		return nil, errors.New("No uris or hosts set")
	}
	return list, nil
}

func parseURI(uri string) (server, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	rest, _, _ = strings.Cut(rest, "/")
	switch {
	case !ok:
	case strings.EqualFold(scheme, "ldap"):
		return tcpServer(orLocal(rest), "389", false), nil
	case strings.EqualFold(scheme, "ldaps"):
		return tcpServer(orLocal(rest), "636", true), nil
	case strings.EqualFold(scheme, "ldapi"):
		path, err := url.PathUnescape(rest)
		if err != nil || path == "" {
			path = "/run/slapd/ldapi"
		}
		return server{network: "unix", address: path, host: "localhost"}, nil
	}
	return server{}, fmt.Errorf("Can't parse LDAP URI %s", uri)
}

func orLocal(host string) string {
	if host == "" {
		return "localhost"
	}
	return host
}

// tcpServer takes "host", "host:port", "[ipv6]" and "[ipv6]:port".
func tcpServer(text, port string, isTLS bool) server {
	host := text
	if h, p, err := net.SplitHostPort(text); err == nil {
		host, port = h, p
	}
	host = strings.Trim(host, "[]")
	return server{network: "tcp", address: net.JoinHostPort(host, port), host: host, tls: isTLS}
}

// newTLS makes the TLS configuration, without a server's name. Certificates that
// the files here do not name come from libldap's own settings, else from the system.
func newTLS(set *ext.LDAP, library map[string]string) (*tls.Config, error) {
	require := library["tls_reqcert"]
	if set.TLSRequireCert != nil {
		require = *set.TLSRequireCert
	}
	p := tlsconf.Params{CipherList: set.TLSCipherSuite}
	var err error
	for _, f := range [...]struct {
		to   *[]byte
		name string
	}{{&p.CertPEM, set.TLSCertFile}, {&p.KeyPEM, set.TLSKeyFile}} {
		if f.name == "" {
			continue
		}
		if *f.to, err = os.ReadFile(f.name); err != nil {
			return nil, err
		}
	}
	switch strings.ToLower(require) {
	case "never", "allow":
		// With allow a certificate may be missing or wrong; there is nothing left to check.
		p.NoVerify = true
	}
	c, err := tlsconf.Client(p)
	if err != nil {
		return nil, fmt.Errorf("tls_cert_file, tls_key_file: %w", err)
	}
	file, dir := set.TLSCACertFile, set.TLSCACertDir
	if file == "" && dir == "" {
		file, dir = library["tls_cacert"], library["tls_cacertdir"]
	}
	c.RootCAs, err = authorities(file, dir)
	return c, err
}

// authorities reads CA certificates; nil, for those of the system, if none are named.
func authorities(file, dir string) (*x509.CertPool, error) {
	var paths []string
	if file != "" {
		paths = append(paths, file)
	}
	if dir != "" {
		more, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			return nil, fmt.Errorf("tls_ca_cert_dir: %w", err)
		}
		paths = append(paths, more...)
	}
	if file == "" && dir == "" {
		return nil, nil
	}
	pool, found := x509.NewCertPool(), false
	for _, path := range paths {
		pem, err := os.ReadFile(path)
		if err != nil {
			if path == file {
				return nil, fmt.Errorf("tls_ca_cert_file: %w", err)
			}
			continue // directories, links to nowhere
		}
		found = pool.AppendCertsFromPEM(pem) || found
	}
	if !found {
		return nil, fmt.Errorf("tls_ca_cert_file, tls_ca_cert_dir: no certificates in %s", strings.Join(paths, ", "))
	}
	return pool, nil
}

// readLibrary reads ldap.conf(5); names of settings become lower case. A path that
// is set has to be there.
func readLibrary(path string) (map[string]string, error) {
	paths := libraryFiles
	if path != "" {
		paths = []string{path}
	}
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			if path != "" {
				return nil, fmt.Errorf("ldaprc_path: %w", err)
			}
			continue
		}
		values := make(map[string]string)
		lines := bufio.NewScanner(bytes.NewReader(text))
		for lines.Scan() {
			key, value, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(lines.Text(), "\t", " ")), " ")
			if !strings.HasPrefix(key, "#") {
				values[strings.ToLower(key)] = strings.TrimSpace(value)
			}
		}
		return values, lines.Err()
	}
	return nil, nil
}

// requestLimit reads TIMEOUT of ldap.conf, in seconds. It can only shorten the time.
func requestLimit(text string) (time.Duration, error) {
	secs, err := strconv.Atoi(text)
	switch {
	case text == "" || err == nil && secs <= 0: // as in libldap: no limit of its own
		return requestTimeout, nil
	case err != nil:
		return 0, fmt.Errorf("ldap.conf: TIMEOUT %s is not a number of seconds", text)
	}
	return min(time.Duration(secs)*time.Second, requestTimeout), nil
}

// A Scope is how far below its base a search goes.
type Scope int

// ParseScope reads the setting scope.
func ParseScope(text string) Scope {
	switch strings.ToLower(text) {
	case "base":
		return ldap.ScopeBaseObject
	case "onelevel":
		return ldap.ScopeSingleLevel
	}
	return ldap.ScopeWholeSubtree
}

func parseDeref(text string) int {
	switch strings.ToLower(text) {
	case "searching":
		return ldap.DerefInSearching
	case "finding":
		return ldap.DerefFindingBaseObj
	case "always":
		return ldap.DerefAlways
	}
	return ldap.NeverDerefAliases
}

package ext

import (
	"fmt"
	"strings"
)

// LDAP is a dovecot-ldap.conf.ext.
type LDAP struct {
	Hosts                *string `set:"hosts" doc:"servers, host[:port], separated by blanks"`
	URIs                 *string `set:"uris" doc:"servers as LDAP URIs, separated by blanks"`
	DN                   string  `set:"dn" doc:"who searches; empty for anonymous"`
	DNPass               string  `set:"dnpass" doc:"password of dn"`
	AuthBind             bool    `set:"auth_bind" doc:"check passwords by binding as the user"`
	AuthBindUserDN       string  `set:"auth_bind_userdn" doc:"template of the user's DN, which spares the search"`
	TLS                  bool    `set:"tls" doc:"use STARTTLS"`
	SASLBind             bool    `set:"sasl_bind" doc:"bind with SASL"`
	SASLMech             string  `set:"sasl_mech" doc:"SASL mechanism"`
	SASLRealm            string  `set:"sasl_realm" doc:"SASL realm"`
	SASLAuthzID          string  `set:"sasl_authz_id" doc:"SASL authorization id"`
	TLSCACertFile        string  `set:"tls_ca_cert_file" doc:"CA certificates that are trusted"`
	TLSCACertDir         string  `set:"tls_ca_cert_dir" doc:"directory of CA certificates that are trusted"`
	TLSCertFile          string  `set:"tls_cert_file" doc:"own certificate"`
	TLSKeyFile           string  `set:"tls_key_file" doc:"key of the own certificate"`
	TLSCipherSuite       string  `set:"tls_cipher_suite" doc:"ciphers in the TLS library's notation"`
	TLSRequireCert       *string `set:"tls_require_cert" doc:"never, hard, demand, allow or try"`
	Deref                string  `set:"deref" default:"never" doc:"never, searching, finding or always"`
	Scope                string  `set:"scope" default:"subtree" doc:"base, onelevel or subtree"`
	Base                 *string `set:"base" doc:"template of the DN to search below"`
	Version              int     `set:"ldap_version" default:"3" doc:"protocol version"`
	DebugLevel           string  `set:"debug_level" default:"0" doc:"libldap's debug level"`
	LDAPRCPath           string  `set:"ldaprc_path" doc:"file with settings of libldap"`
	UserAttrs            string  `set:"user_attrs" default:"homeDirectory=home,uidNumber=uid,gidNumber=gid" doc:"attributes of a userdb lookup and what fields they become"`
	UserFilter           string  `set:"user_filter" default:"(&(objectClass=posixAccount)(uid=%u))" doc:"filter of a userdb lookup"`
	PassAttrs            string  `set:"pass_attrs" default:"uid=user,userPassword=password" doc:"attributes of a passdb lookup and what fields they become"`
	PassFilter           string  `set:"pass_filter" default:"(&(objectClass=posixAccount)(uid=%u))" doc:"filter of a passdb lookup"`
	IterateAttrs         string  `set:"iterate_attrs" default:"uid=user" doc:"attributes when all users are listed"`
	IterateFilter        string  `set:"iterate_filter" default:"(objectClass=posixAccount)" doc:"filter when all users are listed"`
	DefaultPassScheme    string  `set:"default_pass_scheme" default:"crypt" doc:"scheme of passwords without a {SCHEME} prefix"`
	UserdbWarningDisable bool    `set:"userdb_warning_disable" doc:"accepted, without effect"`
	Blocking             bool    `set:"blocking" doc:"look up in worker processes"`
}

// LoadLDAP reads and checks the file of a passdb or userdb with driver ldap.
func LoadLDAP(files Files, path string, warn func(text string)) (*LDAP, error) {
	l := &LDAP{}
	if err := Load(files, path, l, warn); err != nil {
		return nil, fmt.Errorf("ldap %s: %w", path, err)
	}
	if err := l.check(); err != nil {
		return nil, fmt.Errorf("LDAP %s: %w", path, err)
	}
	return l, nil
}

func (l *LDAP) check() error {
	switch {
	case l.Base == nil:
		return fmt.Errorf("No base given")
	case l.URIs == nil && l.Hosts == nil:
		return fmt.Errorf("No uris or hosts set")
	case l.Version < 3 && l.SASLBind:
		return fmt.Errorf("sasl_bind=yes requires ldap_version=3")
	case l.Version < 3 && l.TLS:
		return fmt.Errorf("tls=yes requires ldap_version=3")
	case l.TLSRequireCert != nil && !oneOf(*l.TLSRequireCert, "never", "hard", "demand", "allow", "try"):
		return fmt.Errorf("Unknown tls_require_cert value '%s'", *l.TLSRequireCert)
	case !oneOf(l.Deref, "never", "searching", "finding", "always"):
		return fmt.Errorf("Unknown deref option '%s'", l.Deref)
	case !oneOf(l.Scope, "base", "onelevel", "subtree"):
		return fmt.Errorf("Unknown scope option '%s'", l.Scope)
	}
	return nil
}

// oneOf reports whether v is one of words, in any case.
func oneOf(v string, words ...string) bool {
	for _, w := range words {
		if strings.EqualFold(v, w) {
			return true
		}
	}
	return false
}

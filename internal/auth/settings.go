package auth

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Settings are those of the auth server, beside passdb and userdb sections.
type Settings struct {
	Mechanisms            string        `set:"auth_mechanisms" default:"plain" doc:"SASL mechanisms offered, in any letter case"`
	CacheSize             dovecot.Size  `set:"auth_cache_size" default:"0" doc:"memory for answers of databases; 0 keeps none"`
	CacheTTL              time.Duration `set:"auth_cache_ttl" default:"1 hours" doc:"how long an answer is kept"`
	CacheNegativeTTL      time.Duration `set:"auth_cache_negative_ttl" default:"1 hours" doc:"how long unknown users and wrong passwords are; 0 keeps no unknown users"`
	CacheVerifyWithWorker bool          `set:"auth_cache_verify_password_with_worker" default:"no" doc:"check kept passwords, also quick ones, where expensive ones are"`
	Realms                string        `set:"auth_realms" doc:"realms offered by DIGEST-MD5"`
	DefaultRealm          string        `set:"auth_default_realm" doc:"appended as @realm to user names that have no @"`
	UsernameChars         string        `set:"auth_username_chars" default:"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@" doc:"characters allowed in user names; empty allows all"`
	UsernameTranslation   string        `set:"auth_username_translation" doc:"pairs of characters, the first of each replaced by the second"`
	UsernameFormat        string        `set:"auth_username_format" default:"%Lu" doc:"template that normalizes user names before lookups"`
	MasterUserSeparator   string        `set:"auth_master_user_separator" doc:"character between login user and master user"`
	AnonymousUsername     string        `set:"auth_anonymous_username" default:"anonymous" doc:"user name of ANONYMOUS sessions"`
	ProxySelf             string        `set:"auth_proxy_self" doc:"addresses that count as this host for proxy_maybe, besides the local IP"`
	FailureDelay          time.Duration `set:"auth_failure_delay" default:"2 secs" doc:"delay before a failure is told"`
	Verbose               bool          `set:"auth_verbose" default:"no" doc:"log failed logins and their reason"`
	Debug                 bool          `set:"auth_debug" default:"no" doc:"log what is said on the sockets of auth, and each step of requests"`
	DebugPasswords        bool          `set:"auth_debug_passwords" default:"no" doc:"as auth_debug, with passwords"`
	VerbosePasswords      string        `set:"auth_verbose_passwords" default:"no" doc:"log tried passwords: no, plain or sha1, optionally cut by :N"`
	SSLRequireCert        bool          `set:"auth_ssl_require_client_cert" default:"no" doc:"fail logins without verified client certificate"`
	SSLUsernameFromCert   bool          `set:"auth_ssl_username_from_cert" default:"no" doc:"take the user name from the client certificate"`
	WorkerMaxCount        uint32        `set:"auth_worker_max_count" default:"30" doc:"lookups in blocking databases at the same time"`
	FirstValidUID         uint32        `set:"first_valid_uid" default:"500" doc:"lowest UID of a mail user"`
	LastValidUID          uint32        `set:"last_valid_uid" default:"0" doc:"highest UID of a mail user; 0 for no limit"`
}

var _ = dovecot.Register("auth", Settings{})

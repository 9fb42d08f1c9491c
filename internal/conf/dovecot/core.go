package dovecot

import "time"

// Master holds the settings of the master process and those that every part
// of the mail server needs.
type Master struct {
	BaseDir      string `set:"base_dir" default:"/var/run/dovecot" path:"yes" doc:"run time directory of sockets and the PID file"`
	InstanceName string `set:"instance_name" default:"dovecot" doc:"name shown in process titles and syslog identifiers"`
	Protocols    string `set:"protocols" default:"imap pop3 lmtp" doc:"enabled protocols; none for no protocol"`
	Listen       string `set:"listen" default:"*, ::" doc:"addresses of inet_listeners without address"`

	LogPath        string `set:"log_path" default:"syslog" path:"yes" doc:"syslog, /dev/stderr or a file"`
	InfoLogPath    string `set:"info_log_path" path:"yes" doc:"file of info messages, empty for log_path"`
	DebugLogPath   string `set:"debug_log_path" path:"yes" doc:"file of debug messages, empty for info_log_path"`
	LogTimestamp   string `set:"log_timestamp" default:"%b %d %H:%M:%S " doc:"strftime prefix of lines in log files"`
	SyslogFacility string `set:"syslog_facility" default:"mail" doc:"syslog facility name"`

	ImportEnvironment string `set:"import_environment" check:"only" default:"TZ CORE_OUTOFMEM CORE_ERROR" doc:"environment variables kept, NAME or NAME=value"`

	DefaultInternalUser  string `set:"default_internal_user" default:"dovecot" doc:"unprivileged internal user ($default_internal_user)"`
	DefaultInternalGroup string `set:"default_internal_group" default:"dovecot" doc:"group of internal processes ($default_internal_group)"`
	DefaultLoginUser     string `set:"default_login_user" default:"dovenull" doc:"user of login processes ($default_login_user)"`
	DefaultProcessLimit  uint32 `set:"default_process_limit" default:"100" doc:"process_limit of services with 0"`
	DefaultClientLimit   uint32 `set:"default_client_limit" default:"1000" doc:"client_limit of services with 0"`

	DefaultIdleKill time.Duration `set:"default_idle_kill" default:"1 mins" doc:"idle_kill of services with 0"`

	FirstValidUID uint32 `set:"first_valid_uid" default:"500" doc:"lowest UID a mail process may run with"`
	LastValidUID  uint32 `set:"last_valid_uid" default:"0" doc:"highest allowed UID, 0 for no limit"`
	FirstValidGID uint32 `set:"first_valid_gid" default:"1" doc:"lowest GID a mail process may run with"`
	LastValidGID  uint32 `set:"last_valid_gid" default:"0" doc:"highest allowed GID, 0 for no limit"`
}

// SSL holds the TLS settings of servers. Every one of them may
// vary by protocol, address and the name the client asked for.
type SSL struct {
	SSL         string `set:"ssl" default:"yes" enum:"yes|no|required" doc:"TLS: off, available, or required for authentication"`
	CipherList  string `set:"ssl_cipher_list" default:"ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH" doc:"TLS 1.2 and older ciphers, OpenSSL syntax"`
	CurveList   string `set:"ssl_curve_list" doc:"elliptic curves, empty for auto"`
	MinProtocol string `set:"ssl_min_protocol" default:"TLSv1.2" doc:"lowest TLS version: SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, LATEST, ANY"`
	Options     string `set:"ssl_options" doc:"flags compression, no_ticket"`
	Cert        string `set:"ssl_cert" file:"yes" doc:"PEM certificate chain"`
	Key         string `set:"ssl_key" file:"yes" doc:"PEM private key"`
	AltCert     string `set:"ssl_alt_cert" file:"yes" doc:"second certificate of another key type"`
	AltKey      string `set:"ssl_alt_key" file:"yes" doc:"key of ssl_alt_cert"`
	KeyPassword string `set:"ssl_key_password" file:"yes" doc:"password of ssl_key"`

	CA                string `set:"ssl_ca" file:"yes" doc:"PEM authorities of client certificates, and of servers that logins are proxied to"`
	VerifyClientCert  bool   `set:"ssl_verify_client_cert" default:"no" doc:"ask for and verify client certificates"`
	RequireCRL        bool   `set:"ssl_require_crl" default:"yes" doc:"fail certificates of which ssl_ca has no revocation list"`
	CertUsernameField string `set:"ssl_cert_username_field" default:"commonName" doc:"certificate field with the user name"`
}

// Passdb is one passdb section. Their order is the order of the search.
type Passdb struct {
	Name               string `set:"name" doc:"name of the section, used in log messages and %variables"`
	Driver             string `set:"driver" doc:"driver name, mandatory"`
	Args               string `set:"args" doc:"driver specific arguments or path of the driver's configuration file"`
	DefaultFields      string `set:"default_fields" doc:"key=template fields added before the lookup, overwritten by its result"`
	OverrideFields     string `set:"override_fields" doc:"fields set after the lookup, overwriting its result"`
	Mechanisms         string `set:"mechanisms" doc:"mechanisms this database is used for; empty for all, none for lookups without authentication"`
	UsernameFilter     string `set:"username_filter" doc:"wildcard masks of user names (!mask excludes) this database is used for"`
	Skip               string `set:"skip" default:"never" enum:"never|authenticated|unauthenticated" doc:"skip this database depending on whether the user is authenticated already"`
	ResultSuccess      string `set:"result_success" default:"return-ok" enum:"return-ok|return|return-fail|continue|continue-ok|continue-fail" doc:"what to do when authentication succeeded"`
	ResultFailure      string `set:"result_failure" default:"continue" enum:"continue|return|return-ok|return-fail|continue-ok|continue-fail" doc:"what to do when the password does not match or the user is unknown"`
	ResultInternalfail string `set:"result_internalfail" default:"continue" enum:"continue|return|return-ok|return-fail|continue-ok|continue-fail" doc:"what to do when the lookup failed temporarily"`
	Deny               bool   `set:"deny" default:"no" doc:"matching users are refused"`
	Pass               bool   `set:"pass" default:"no" doc:"obsolete way to say result_success=continue for a master passdb"`
	Master             bool   `set:"master" default:"no" doc:"entries are master users"`
	AuthVerbose        string `set:"auth_verbose" default:"default" enum:"default|yes|no" doc:"override auth_verbose for this database"`
}

// Userdb is one userdb section.
type Userdb struct {
	Name               string `set:"name" doc:"name used in log messages"`
	Driver             string `set:"driver" doc:"driver name, mandatory"`
	Args               string `set:"args" doc:"driver specific arguments or configuration file"`
	DefaultFields      string `set:"default_fields" doc:"fields added before the lookup"`
	OverrideFields     string `set:"override_fields" doc:"fields set after the lookup"`
	Skip               string `set:"skip" default:"never" enum:"never|found|notfound" doc:"skip depending on whether an earlier userdb found the user"`
	ResultSuccess      string `set:"result_success" default:"return-ok" enum:"return-ok|return|return-fail|continue|continue-ok|continue-fail" doc:"action when the user is found"`
	ResultFailure      string `set:"result_failure" default:"continue" enum:"continue|return|return-ok|return-fail|continue-ok|continue-fail" doc:"action when the user is not found"`
	ResultInternalfail string `set:"result_internalfail" default:"continue" enum:"continue|return|return-ok|return-fail|continue-ok|continue-fail" doc:"action on temporary failure"`
	AuthVerbose        string `set:"auth_verbose" default:"default" enum:"default|yes|no" doc:"override auth_verbose for this database"`
}

// Auth is the ordered list of databases, for those who ask for them alone.
type Auth struct {
	Passdbs []Passdb `set:"passdb" doc:"ordered list of password databases"`
	Userdbs []Userdb `set:"userdb" doc:"ordered list of user databases"`
}

// Service is one service section: a kind of process and where it listens.
type Service struct {
	Name            string         `set:"name" doc:"name (taken from the section name)"`
	Protocol        string         `set:"protocol" doc:"protocol that must be enabled for the service to run"`
	User            string         `set:"user" doc:"user the process runs as; empty for root"`
	Group           string         `set:"group" doc:"primary group"`
	ExtraGroups     string         `set:"extra_groups" doc:"supplementary groups"`
	Chroot          string         `set:"chroot" doc:"chroot directory, relative to base_dir"`
	ProcessMinAvail uint32         `set:"process_min_avail" default:"0" doc:"processes kept ready"`
	ProcessLimit    uint32         `set:"process_limit" default:"0" doc:"maximum processes; 0 uses default_process_limit"`
	ClientLimit     uint32         `set:"client_limit" default:"0" doc:"clients per process; 0 uses default_client_limit"`
	ServiceCount    uint32         `set:"service_count" default:"0" doc:"clients served before the process ends; 0 for no limit"`
	IdleKill        time.Duration  `set:"idle_kill" default:"0" doc:"end the mail process of a user after so long without sessions; 0 uses default_idle_kill"`
	UnixListeners   []UnixListener `set:"unix_listener" doc:"UNIX socket listeners"`
	InetListeners   []InetListener `set:"inet_listener" doc:"TCP listeners"`
}

// UnixListener is a UNIX stream socket of a service; mode 0 disables it.
type UnixListener struct {
	Path  string `set:"path" doc:"path relative to base_dir (taken from the section name)"`
	Mode  Mode   `set:"mode" default:"0600" doc:"permissions; 0 disables the listener"`
	User  string `set:"user" doc:"owner of the socket"`
	Group string `set:"group" doc:"group of the socket"`
}

// InetListener is a TCP socket of a service; port 0 disables it.
type InetListener struct {
	Name    string `set:"name" doc:"name (taken from the section name)"`
	Address string `set:"address" doc:"addresses, empty for listen"`
	Port    Port   `set:"port" default:"0" doc:"port; 0 disables the listener"`
	SSL     bool   `set:"ssl" default:"no" doc:"TLS from the first byte"`
	HAProxy bool   `set:"haproxy" default:"no" doc:"expect a PROXY protocol header"`
}

// ServiceList decodes all services, the built-in ones included.
type ServiceList struct {
	Services []Service `set:"service" doc:"named services"`
}

var (
	_ = Register("master", Master{})
	_ = Register("ssl", SSL{})
	_ = Register("auth", Auth{})
	_ = Register("master", ServiceList{})
)

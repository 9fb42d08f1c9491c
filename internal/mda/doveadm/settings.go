package doveadm

import "github.com/dovetail-mail/dovetail/internal/conf/dovecot"

// Settings are those that only doveadm reads.
type Settings struct {
	AuthSocketPath  string       `set:"auth_socket_path" default:"auth-userdb" path:"yes" doc:"userdb socket used for looking up users"`
	AllowedCommands string       `set:"doveadm_allowed_commands" doc:"commands that clients of service doveadm may use; empty for all"`
	Username        string       `set:"doveadm_username" default:"doveadm" doc:"user name to authenticate with to another doveadm server"`
	Password        string       `set:"doveadm_password" doc:"password that clients of service doveadm must have, and that doveadm has as a client"`
	Port            dovecot.Port `set:"doveadm_port" default:"0" doc:"port of other doveadm servers; if set, passdbs tell on which host a user is"`
	SSL             string       `set:"doveadm_ssl" default:"no" enum:"no|ssl|starttls" doc:"TLS to the host that a passdb tells: no, ssl, starttls"`
}

// TLS are the settings of TLS to other doveadm servers.
type TLS struct {
	CAFile           string `set:"ssl_client_ca_file" path:"yes" doc:"CA file for outgoing TLS"`
	CADir            string `set:"ssl_client_ca_dir" path:"yes" doc:"CA directory for outgoing TLS"`
	Cert             string `set:"ssl_client_cert" file:"yes" doc:"certificate for outgoing TLS"`
	Key              string `set:"ssl_client_key" file:"yes" doc:"key for outgoing TLS"`
	RequireValidCert bool   `set:"ssl_client_require_valid_cert" default:"yes" doc:"refuse invalid certificates of servers"`
	MinProtocol      string `set:"ssl_min_protocol" default:"TLSv1.2" doc:"lowest TLS version: SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, LATEST, ANY"`
	CipherList       string `set:"ssl_cipher_list" default:"ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH" doc:"TLS 1.2 and older ciphers, OpenSSL syntax"`
	CurveList        string `set:"ssl_curve_list" doc:"elliptic curves, empty for auto"`
}

var (
	_ = dovecot.Register("doveadm", Settings{})
	_ = dovecot.Register("doveadm", TLS{})
)

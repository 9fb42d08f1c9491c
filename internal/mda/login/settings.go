package login

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Settings are Dovecot's settings of the login services.
type Settings struct {
	Greeting             string `set:"login_greeting" default:"Dovecot ready." vars:"yes" doc:"greeting of the login services and LMTP"`
	TrustedNetworks      string `set:"login_trusted_networks" doc:"clients from here count as secured and may send forwarded address information"`
	LogFormatElements    string `set:"login_log_format_elements" default:"user=<%u> method=%m rip=%r lip=%l mpid=%e %c session=<%{session}>" doc:"space separated elements joined with commas; elements that expand to nothing are left out"`
	LogFormat            string `set:"login_log_format" default:"%$: %s" doc:"layout of login log lines: %s elements, %$ message"`
	DisablePlaintextAuth bool   `set:"disable_plaintext_auth" default:"yes" doc:"refuse plaintext mechanisms on unsecured connections"`
	AuthVerbose          bool   `set:"auth_verbose" default:"no" doc:"log failed authentications and their reason at info level"`

	ProxyTimeout            time.Duration `set:"login_proxy_timeout" default:"30 secs" unit:"ms" doc:"timeout of connecting and logging in to the proxy destination"`
	ProxyMaxReconnects      uint32        `set:"login_proxy_max_reconnects" default:"3" doc:"reconnects of a proxy connection before giving up"`
	ProxyMaxDisconnectDelay time.Duration `set:"login_proxy_max_disconnect_delay" default:"0" doc:"spread client disconnects over this time when a proxied server goes away"`
	ProxyNotifyPath         string        `set:"login_proxy_notify_path" default:"proxy-notify" vars:"yes" doc:"socket informed of proxied sessions"`
	ProxyRawlogDir          string        `set:"login_proxy_rawlog_dir" path:"yes" doc:"where login processes write down what goes over proxy connections"`
	SourceIPs               string        `set:"login_source_ips" doc:"source addresses for outgoing proxy connections; leading ? skips unusable ones"`

	SSLRequireClientCert bool `set:"auth_ssl_require_client_cert" default:"no" doc:"fail logins without verified client certificate"`
	SSLUsernameFromCert  bool `set:"auth_ssl_username_from_cert" default:"no" doc:"take the user name from the client certificate"`

	SSL string `set:"ssl" default:"yes" enum:"yes|no|required" doc:"TLS: off, available, or required for authentication"`
}

// IMAPSettings are those of imap-login alone.
type IMAPSettings struct {
	Capability   string `set:"imap_capability" doc:"replaces the CAPABILITY list, or with +NAME and -NAME changes it"`
	IDSend       string `set:"imap_id_send" default:"name *" doc:"ID fields sent to the client; NAME * uses the built-in value"`
	IDLog        string `set:"imap_id_log" doc:"ID fields the client sent that are logged; * for all"`
	IDRetain     bool   `set:"imap_id_retain" default:"no" doc:"keep the client's ID fields available as %{client_id} and forward them when proxying"`
	LiteralMinus bool   `set:"imap_literal_minus" default:"no" doc:"announce LITERAL- instead of LITERAL+"`
}

var (
	_ = dovecot.Register("login", Settings{})
	_ = dovecot.Register("imap-login", IMAPSettings{})
)

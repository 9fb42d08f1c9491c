package smtp

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of the SMTP client.
type Settings struct {
	TCPPort           string        `set:"smtp_tcp_port" default:"smtp" doc:"default port of SMTP servers"`
	HeloName          string        `set:"smtp_helo_name" default:"$myhostname" nonempty:"yes" doc:"name sent with EHLO"`
	ConnectTimeout    time.Duration `set:"smtp_connect_timeout" default:"30s" unit:"s" doc:"limit for completing a TCP connection; 0 for the system's"`
	HeloTimeout       time.Duration `set:"smtp_helo_timeout" default:"300s" unit:"s" min:"1" doc:"limit for the greeting and EHLO"`
	StartTLSTimeout   time.Duration `set:"smtp_starttls_timeout" default:"300s" unit:"s" min:"1" doc:"limit for STARTTLS and the handshake"`
	MailTimeout       time.Duration `set:"smtp_mail_timeout" default:"300s" unit:"s" min:"1" doc:"limit for MAIL FROM"`
	RcptTimeout       time.Duration `set:"smtp_rcpt_timeout" default:"300s" unit:"s" min:"1" doc:"limit for RCPT TO"`
	DataInitTimeout   time.Duration `set:"smtp_data_init_timeout" default:"120s" unit:"s" min:"1" doc:"limit for DATA"`
	DataXferTimeout   time.Duration `set:"smtp_data_xfer_timeout" default:"180s" unit:"s" min:"1" doc:"limit for each piece of content"`
	DataDoneTimeout   time.Duration `set:"smtp_data_done_timeout" default:"600s" unit:"s" min:"1" doc:"limit for the answer to the final dot"`
	QuitTimeout       time.Duration `set:"smtp_quit_timeout" default:"300s" unit:"s" min:"1" doc:"limit for QUIT"`
	CacheTimeLimit    time.Duration `set:"smtp_connection_cache_time_limit" default:"2s" unit:"s" min:"1" doc:"how long an idle connection is kept"`
	CacheOnDemand     bool          `set:"smtp_connection_cache_on_demand" default:"yes" doc:"keep connections for further mail"`
	ReuseTimeLimit    time.Duration `set:"smtp_connection_reuse_time_limit" default:"300s" unit:"s" min:"1" doc:"how long a connection is used altogether"`
	ReuseCountLimit   int           `set:"smtp_connection_reuse_count_limit" default:"0" min:"0" doc:"how often a connection is used; 0 for no limit"`
	MXAddressLimit    int           `set:"smtp_mx_address_limit" default:"5" min:"0" doc:"how many addresses are tried; 0 for no limit"`
	MXSessionLimit    int           `set:"smtp_mx_session_limit" default:"2" min:"0" doc:"how many sessions are tried; 0 for no limit"`
	RandomizeAddrs    bool          `set:"smtp_randomize_addresses" default:"yes" doc:"shuffle servers of equal preference"`
	AddressPreference string        `set:"smtp_address_preference" default:"any" doc:"address family tried first: any, ipv4 or ipv6"`
	HostLookup        string        `set:"smtp_host_lookup" default:"dns" doc:"how hosts are looked up: dns, native"`
	Skip5xxGreeting   bool          `set:"smtp_skip_5xx_greeting" default:"yes" doc:"try the next server after a greeting of 5xx"`
	AlwaysSendEHLO    bool          `set:"smtp_always_send_ehlo" default:"yes" doc:"send EHLO whatever the greeting says"`
	NeverSendEHLO     bool          `set:"smtp_never_send_ehlo" default:"no" doc:"send HELO"`
	FallbackRelay     string        `set:"smtp_fallback_relay" default:"$fallback_relay" doc:"servers tried when no other can be reached"`
	BindAddress       string        `set:"smtp_bind_address" doc:"local IPv4 address of connections"`
	BindAddress6      string        `set:"smtp_bind_address6" doc:"local IPv6 address of connections"`

	TLSLevel    string `set:"smtp_tls_security_level" doc:"none, may, encrypt, verify or secure"`
	UseTLS      bool   `set:"smtp_use_tls" default:"no" doc:"older name of smtp_tls_security_level=may"`
	EnforceTLS  bool   `set:"smtp_enforce_tls" default:"no" doc:"older name of smtp_tls_security_level=encrypt"`
	TLSLogLevel int    `set:"smtp_tls_loglevel" default:"0" min:"0" doc:"0 silent, 1 a line per session"`
	TLSCAFile   string `set:"smtp_tls_CAfile" doc:"authorities of servers' certificates"`
	TLSCertFile string `set:"smtp_tls_cert_file" doc:"client certificate"`
	TLSKeyFile  string `set:"smtp_tls_key_file" default:"$smtp_tls_cert_file" doc:"its key"`
	TLSWrapper  bool   `set:"smtp_tls_wrappermode" default:"no" doc:"TLS from the first byte"`
	TLSPolicy   string `set:"smtp_tls_policy_maps" doc:"TLS policy by next hop"`
	SASLEnable  bool   `set:"smtp_sasl_auth_enable" default:"no" doc:"log in to servers"`
}

// lmtpSettings are the same parameters of the LMTP client.
type lmtpSettings struct {
	TCPPort           string        `set:"lmtp_tcp_port" default:"24" doc:"default port of LMTP servers"`
	HeloName          string        `set:"lmtp_lhlo_name" default:"$myhostname" nonempty:"yes" doc:"name sent with LHLO"`
	ConnectTimeout    time.Duration `set:"lmtp_connect_timeout" default:"0s" unit:"s" doc:"limit for completing a TCP connection; 0 for the system's"`
	HeloTimeout       time.Duration `set:"lmtp_lhlo_timeout" default:"300s" unit:"s" min:"1" doc:"limit for the greeting and LHLO"`
	StartTLSTimeout   time.Duration `set:"lmtp_starttls_timeout" default:"300s" unit:"s" min:"1" doc:"limit for STARTTLS and the handshake"`
	MailTimeout       time.Duration `set:"lmtp_mail_timeout" default:"300s" unit:"s" min:"1" doc:"limit for MAIL FROM"`
	RcptTimeout       time.Duration `set:"lmtp_rcpt_timeout" default:"300s" unit:"s" min:"1" doc:"limit for RCPT TO"`
	DataInitTimeout   time.Duration `set:"lmtp_data_init_timeout" default:"120s" unit:"s" min:"1" doc:"limit for DATA"`
	DataXferTimeout   time.Duration `set:"lmtp_data_xfer_timeout" default:"180s" unit:"s" min:"1" doc:"limit for each piece of content"`
	DataDoneTimeout   time.Duration `set:"lmtp_data_done_timeout" default:"600s" unit:"s" min:"1" doc:"limit for the answers to the final dot"`
	QuitTimeout       time.Duration `set:"lmtp_quit_timeout" default:"300s" unit:"s" min:"1" doc:"limit for QUIT"`
	CacheTimeLimit    time.Duration `set:"lmtp_connection_cache_time_limit" default:"2s" unit:"s" min:"1" doc:"how long an idle connection is kept"`
	CacheOnDemand     bool          `set:"lmtp_connection_cache_on_demand" default:"yes" doc:"keep connections for further mail"`
	ReuseTimeLimit    time.Duration `set:"lmtp_connection_reuse_time_limit" default:"300s" unit:"s" min:"1" doc:"how long a connection is used altogether"`
	ReuseCountLimit   int           `set:"lmtp_connection_reuse_count_limit" default:"0" min:"0" doc:"how often a connection is used; 0 for no limit"`
	MXAddressLimit    int           `set:"lmtp_mx_address_limit" default:"5" min:"0" doc:"how many addresses are tried; 0 for no limit"`
	MXSessionLimit    int           `set:"lmtp_mx_session_limit" default:"2" min:"0" doc:"how many sessions are tried; 0 for no limit"`
	RandomizeAddrs    bool          `set:"lmtp_randomize_addresses" default:"yes" doc:"shuffle servers of equal preference"`
	AddressPreference string        `set:"lmtp_address_preference" default:"any" doc:"address family tried first: any, ipv4 or ipv6"`
	HostLookup        string        `set:"lmtp_host_lookup" default:"dns" doc:"how hosts are looked up: dns, native"`
	Skip5xxGreeting   bool          `set:"lmtp_skip_5xx_greeting" default:"yes" doc:"try the next server after a greeting of 5xx"`
	AlwaysSendEHLO    bool          `set:"lmtp_always_send_ehlo" default:"yes" doc:"has no meaning for LMTP"`
	NeverSendEHLO     bool          `set:"lmtp_never_send_ehlo" default:"no" doc:"has no meaning for LMTP"`
	FallbackRelay     string        `set:"lmtp_fallback_relay" doc:"servers tried when no other can be reached"`
	BindAddress       string        `set:"lmtp_bind_address" doc:"local IPv4 address of connections"`
	BindAddress6      string        `set:"lmtp_bind_address6" doc:"local IPv6 address of connections"`

	TLSLevel    string `set:"lmtp_tls_security_level" doc:"none, may, encrypt, verify or secure"`
	UseTLS      bool   `set:"lmtp_use_tls" default:"no" doc:"older name of lmtp_tls_security_level=may"`
	EnforceTLS  bool   `set:"lmtp_enforce_tls" default:"no" doc:"older name of lmtp_tls_security_level=encrypt"`
	TLSLogLevel int    `set:"lmtp_tls_loglevel" default:"0" min:"0" doc:"0 silent, 1 a line per session"`
	TLSCAFile   string `set:"lmtp_tls_CAfile" doc:"authorities of servers' certificates"`
	TLSCertFile string `set:"lmtp_tls_cert_file" doc:"client certificate"`
	TLSKeyFile  string `set:"lmtp_tls_key_file" default:"$lmtp_tls_cert_file" doc:"its key"`
	TLSWrapper  bool   `set:"lmtp_tls_wrappermode" default:"no" doc:"TLS from the first byte"`
	TLSPolicy   string `set:"lmtp_tls_policy_maps" doc:"TLS policy by next hop"`
	SASLEnable  bool   `set:"lmtp_sasl_auth_enable" default:"no" doc:"log in to servers"`
}

var (
	_ = postfix.Register("smtp", Settings{})
	_ = postfix.Register("lmtp", lmtpSettings{})
)

// A Protocol is what the agent speaks: the command of master.cf, smtp or lmtp.
type Protocol uint8

// The two protocols.
const (
	SMTP Protocol = iota
	LMTP
)

func settings(main *postfix.Main, p Protocol) (*Settings, error) {
	if p == SMTP {
		return postfix.Get[Settings](main)
	}
	s, err := postfix.Get[lmtpSettings](main)
	if err != nil {
		return nil, err
	}
	converted := Settings(*s) // the same fields under other names
	return &converted, nil
}

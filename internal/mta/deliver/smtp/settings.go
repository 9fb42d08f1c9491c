package smtp

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of the SMTP client. Defaults and limits are in
// the catalog of parameters.
type Settings struct {
	TCPPort          string        `set:"smtp_tcp_port" doc:"default port of servers"`
	HeloName         string        `set:"smtp_helo_name" doc:"name sent with EHLO or LHLO"`
	ConnectTimeout   time.Duration `set:"smtp_connect_timeout" unit:"s" doc:"limit for completing a TCP connection; 0 for the system's"`
	HeloTimeout      time.Duration `set:"smtp_helo_timeout" unit:"s" doc:"limit for the greeting and EHLO"`
	XforwardTimeout  time.Duration `set:"smtp_xforward_timeout" unit:"s" doc:"limit for XFORWARD"`
	MailTimeout      time.Duration `set:"smtp_mail_timeout" unit:"s" doc:"limit for MAIL FROM"`
	RcptTimeout      time.Duration `set:"smtp_rcpt_timeout" unit:"s" doc:"limit for RCPT TO"`
	DataInitTimeout  time.Duration `set:"smtp_data_init_timeout" unit:"s" doc:"limit for DATA"`
	DataXferTimeout  time.Duration `set:"smtp_data_xfer_timeout" unit:"s" doc:"limit for each piece of content"`
	DataDoneTimeout  time.Duration `set:"smtp_data_done_timeout" unit:"s" doc:"limit for the answer to the final dot"`
	RsetTimeout      time.Duration `set:"smtp_rset_timeout" unit:"s" doc:"limit for RSET"`
	QuitTimeout      time.Duration `set:"smtp_quit_timeout" unit:"s" doc:"limit for QUIT"`
	SkipQuitResponse bool          `set:"smtp_skip_quit_response" doc:"do not wait for the answer to QUIT"`
	RequestDeadline  bool          `set:"smtp_per_request_deadline" doc:"content has a time limit as a whole, that grows with what was sent"`
	MinDataRate      int           `set:"smtp_min_data_rate" doc:"bytes of content per second by which that limit grows"`

	CacheDestinations string        `set:"smtp_connection_cache_destinations" doc:"next hops whose connections are always kept"`
	CacheOnDemand     bool          `set:"smtp_connection_cache_on_demand" doc:"keep connections for further mail"`
	CacheTimeLimit    time.Duration `set:"smtp_connection_cache_time_limit" unit:"s" doc:"how long an idle connection is kept"`
	ReuseTimeLimit    time.Duration `set:"smtp_connection_reuse_time_limit" unit:"s" doc:"how long a connection is used altogether"`
	ReuseCountLimit   int           `set:"smtp_connection_reuse_count_limit" doc:"how often a connection is used; 0 for no limit"`

	MXAddressLimit    int    `set:"smtp_mx_address_limit" doc:"how many addresses are tried; 0 for no limit"`
	MXSessionLimit    int    `set:"smtp_mx_session_limit" doc:"how many sessions are tried; 0 for no limit"`
	DeferIfNoMX       bool   `set:"smtp_defer_if_no_mx_address_found" doc:"defer mail when no MX host has an address"`
	RandomizeAddrs    bool   `set:"smtp_randomize_addresses" doc:"shuffle servers of equal preference"`
	AddressPreference string `set:"smtp_address_preference" doc:"address family tried first: any, ipv4 or ipv6"`
	BalanceProtocols  bool   `set:"smtp_balance_inet_protocols" doc:"let no address family use up smtp_mx_address_limit"`
	HostLookup        string `set:"smtp_host_lookup" doc:"how hosts are looked up: dns, native"`
	CNAMEOverrides    bool   `set:"smtp_cname_overrides_servername" doc:"name servers by the end of their CNAMEs: for certificates, passwords and the log"`
	DNSReplyFilter    string `set:"smtp_dns_reply_filter" doc:"table of DNS records that are ignored"`
	FallbackRelay     string `set:"smtp_fallback_relay" doc:"servers tried when no other takes the mail"`
	BindAddress       string `set:"smtp_bind_address" doc:"local IPv4 address of connections"`
	BindAddress6      string `set:"smtp_bind_address6" doc:"local IPv6 address of connections"`
	BindEnforce       bool   `set:"smtp_bind_address_enforce" doc:"defer mail when the local address cannot be used"`

	Skip5xxGreeting bool   `set:"smtp_skip_5xx_greeting" doc:"treat a greeting of 5xx as temporary"`
	AlwaysSendEHLO  bool   `set:"smtp_always_send_ehlo" doc:"send EHLO whatever the greeting says"`
	NeverSendEHLO   bool   `set:"smtp_never_send_ehlo" doc:"send HELO"`
	DiscardEHLO     string `set:"smtp_discard_ehlo_keywords" doc:"extensions not to be used"`
	DiscardEHLOMaps string `set:"smtp_discard_ehlo_keyword_address_maps" doc:"extensions not to be used, by server address"`
	SendXforward    bool   `set:"smtp_send_xforward_command" doc:"tell servers that ask for it who the client was"`
	QuoteEnvelope   bool   `set:"smtp_quote_rfc821_envelope" doc:"quote local parts where RFC 5321 asks for it"`
	VerifyTarget    string `set:"smtp_address_verify_target" doc:"stage at which an address probe ends: rcpt or data"`
	LineLengthLimit int    `set:"smtp_line_length_limit" doc:"longest line sent; 0 for no limit"`
	AssumeFinal     bool   // LMTP only
	ReplyFilter     string `set:"smtp_reply_filter" doc:"table of lines of servers' replies, and what takes their place"`

	PIX          string        `set:"smtp_pix_workarounds" doc:"what to do about PIX firewalls: disable_esmtp, delay_dotcrlf"`
	PIXMaps      string        `set:"smtp_pix_workaround_maps" doc:"the same by server address"`
	PIXThreshold time.Duration `set:"smtp_pix_workaround_threshold_time" unit:"s" doc:"how long a message is queued before delay_dotcrlf is tried"`
	PIXDelay     time.Duration `set:"smtp_pix_workaround_delay_time" unit:"s" doc:"how long delay_dotcrlf waits before the final dot"`

	SASLEnable          bool          `set:"smtp_sasl_auth_enable" doc:"log in to servers"`
	SASLPasswords       string        `set:"smtp_sasl_password_maps" doc:"user:password by server, next hop or sender"`
	SASLMechFilter      string        `set:"smtp_sasl_mechanism_filter" doc:"mechanisms that may be used"`
	SASLDelimiter       string        `set:"smtp_sasl_password_result_delimiter" doc:"what separates user and password"`
	SASLCache           string        `set:"smtp_sasl_auth_cache_name" doc:"not empty: logins that were refused with code 535 are not tried again"`
	SASLCacheTime       time.Duration `set:"smtp_sasl_auth_cache_time" unit:"s" doc:"for how long"`
	SASLOptions         string        `set:"smtp_sasl_security_options" doc:"what mechanisms must not do"`
	SASLTLSOptions      string        `set:"smtp_sasl_tls_security_options" doc:"the same inside TLS"`
	SASLVerifiedOptions string        `set:"smtp_sasl_tls_verified_security_options" doc:"the same inside TLS with a server whose name was verified"`
	SASLSoftBounce      bool          `set:"smtp_sasl_auth_soft_bounce" doc:"defer mail when a server refuses the login"`
	SASLBySender        bool          `set:"smtp_sender_dependent_authentication" doc:"look passwords up by sender first"`
	DummyMailAuth       bool          `set:"smtp_send_dummy_mail_auth" doc:"send AUTH=<> after a login"`

	GenericMaps        string `set:"smtp_generic_maps" doc:"addresses that mail leaves with, in place of its own"`
	HeaderChecks       string `set:"smtp_header_checks" doc:"actions for headers when mail leaves"`
	MIMEHeaderChecks   string `set:"smtp_mime_header_checks" doc:"actions for MIME headers when mail leaves"`
	NestedHeaderChecks string `set:"smtp_nested_header_checks" doc:"actions for headers of attached messages when mail leaves"`
	BodyChecks         string `set:"smtp_body_checks" doc:"actions for body lines when mail leaves"`

	TLSLevel              string        `set:"smtp_tls_security_level" doc:"none, may, encrypt, dane, dane-only, fingerprint, verify or secure"`
	UseTLS                bool          `set:"smtp_use_tls" doc:"older name of security level may"`
	EnforceTLS            bool          `set:"smtp_enforce_tls" doc:"older name of security levels encrypt and verify"`
	EnforcePeername       bool          `set:"smtp_tls_enforce_peername" doc:"with the older name, verify"`
	TLSPolicy             string        `set:"smtp_tls_policy_maps" doc:"TLS policy by next hop"`
	TLSWrapper            bool          `set:"smtp_tls_wrappermode" doc:"TLS from the first byte"`
	TLSLogLevel           string        `set:"smtp_tls_loglevel" doc:"0 silent, 1 a line per session"`
	TLSNoteOffer          bool          `set:"smtp_tls_note_starttls_offer" doc:"log servers that offer TLS that is not used"`
	TLSTimeout            time.Duration `set:"smtp_starttls_timeout" unit:"s" doc:"limit for STARTTLS and the handshake"`
	TLSCAFile             string        `set:"smtp_tls_CAfile" doc:"authorities of servers' certificates"`
	TLSCAPath             string        `set:"smtp_tls_CApath" doc:"directory of such authorities"`
	TLSCertFile           string        `set:"smtp_tls_cert_file" doc:"client certificate"`
	TLSKeyFile            string        `set:"smtp_tls_key_file" doc:"its key"`
	TLSECCertFile         string        `set:"smtp_tls_eccert_file" doc:"client certificate with an ECDSA key"`
	TLSECKeyFile          string        `set:"smtp_tls_eckey_file" doc:"its key"`
	TLSProtocols          string        `set:"smtp_tls_protocols" doc:"TLS versions at level may"`
	TLSMandatoryProtocols string        `set:"smtp_tls_mandatory_protocols" doc:"TLS versions at level encrypt and above"`
	TLSExclude            string        `set:"smtp_tls_exclude_ciphers" doc:"ciphers of TLS before 1.3 that are not used"`
	TLSMandatoryExclude   string        `set:"smtp_tls_mandatory_exclude_ciphers" doc:"more of them at level encrypt and above"`
	TLSGrade              string        `set:"smtp_tls_ciphers" doc:"grade of ciphers at level may: high, medium, low, export or null"`
	TLSMandatoryGrade     string        `set:"smtp_tls_mandatory_ciphers" doc:"grade of ciphers at level encrypt and above"`
	TLSPerSite            string        `set:"smtp_tls_per_site" doc:"older table of TLS levels by next hop and host: NONE, MAY, MUST_NOPEERMATCH, MUST"`
	TLSVerifyMatch        string        `set:"smtp_tls_verify_cert_match" doc:"whose certificate level verify accepts"`
	TLSSecureMatch        string        `set:"smtp_tls_secure_cert_match" doc:"whose certificate level secure accepts"`
	TLSServerName         string        `set:"smtp_tls_servername" doc:"name asked for with SNI: empty, hostname, nexthop or a name"`
	TLSFingerprints       string        `set:"smtp_tls_fingerprint_cert_match" doc:"fingerprints that level fingerprint accepts, of certificates or public keys"`
	TLSFingerprintDigest  string        `set:"smtp_tls_fingerprint_digest" doc:"md5, sha1, sha224, sha256, sha384 or sha512"`
	TLSTrustAnchors       string        `set:"smtp_tls_trust_anchor_file" doc:"files with certificates and public keys trusted in place of all authorities"`
	TLSChainFiles         string        `set:"smtp_tls_chain_files" doc:"files with client keys and certificates, in place of the settings for each"`
	TLSForceTLSA          bool          `set:"smtp_tls_force_insecure_host_tlsa_lookup" doc:"look up TLSA records of hosts in zones without DNSSEC too"`
	TLSInsecureMX         string        `set:"smtp_tls_dane_insecure_mx_policy" doc:"with level dane, how to treat hosts from MX records without DNSSEC: may, encrypt or dane"`
	DNSSupport            string        `set:"smtp_dns_support_level" doc:"disabled, enabled or dnssec, which levels dane and dane-only need"`
}

// lmtpSettings are the same parameters of the LMTP client.
type lmtpSettings struct {
	TCPPort          string        `set:"lmtp_tcp_port"`
	HeloName         string        `set:"lmtp_lhlo_name"`
	ConnectTimeout   time.Duration `set:"lmtp_connect_timeout" unit:"s"`
	HeloTimeout      time.Duration `set:"lmtp_lhlo_timeout" unit:"s"`
	XforwardTimeout  time.Duration `set:"lmtp_xforward_timeout" unit:"s"`
	MailTimeout      time.Duration `set:"lmtp_mail_timeout" unit:"s"`
	RcptTimeout      time.Duration `set:"lmtp_rcpt_timeout" unit:"s"`
	DataInitTimeout  time.Duration `set:"lmtp_data_init_timeout" unit:"s"`
	DataXferTimeout  time.Duration `set:"lmtp_data_xfer_timeout" unit:"s"`
	DataDoneTimeout  time.Duration `set:"lmtp_data_done_timeout" unit:"s"`
	RsetTimeout      time.Duration `set:"lmtp_rset_timeout" unit:"s"`
	QuitTimeout      time.Duration `set:"lmtp_quit_timeout" unit:"s"`
	SkipQuitResponse bool          `set:"lmtp_skip_quit_response"`
	RequestDeadline  bool          `set:"lmtp_per_request_deadline"`
	MinDataRate      int           `set:"lmtp_min_data_rate"`

	CacheDestinations string        `set:"lmtp_connection_cache_destinations"`
	CacheOnDemand     bool          `set:"lmtp_connection_cache_on_demand"`
	CacheTimeLimit    time.Duration `set:"lmtp_connection_cache_time_limit" unit:"s"`
	ReuseTimeLimit    time.Duration `set:"lmtp_connection_reuse_time_limit" unit:"s"`
	ReuseCountLimit   int           `set:"lmtp_connection_reuse_count_limit"`

	MXAddressLimit    int    `set:"lmtp_mx_address_limit"`
	MXSessionLimit    int    `set:"lmtp_mx_session_limit"`
	DeferIfNoMX       bool   `set:"lmtp_defer_if_no_mx_address_found"`
	RandomizeAddrs    bool   `set:"lmtp_randomize_addresses"`
	AddressPreference string `set:"lmtp_address_preference"`
	BalanceProtocols  bool   `set:"lmtp_balance_inet_protocols"`
	HostLookup        string `set:"lmtp_host_lookup"`
	CNAMEOverrides    bool   `set:"lmtp_cname_overrides_servername"`
	DNSReplyFilter    string `set:"lmtp_dns_reply_filter"`
	FallbackRelay     string `set:"lmtp_fallback_relay"`
	BindAddress       string `set:"lmtp_bind_address"`
	BindAddress6      string `set:"lmtp_bind_address6"`
	BindEnforce       bool   `set:"lmtp_bind_address_enforce"`

	Skip5xxGreeting bool   `set:"lmtp_skip_5xx_greeting"`
	AlwaysSendEHLO  bool   // SMTP only
	NeverSendEHLO   bool   // SMTP only
	DiscardEHLO     string `set:"lmtp_discard_lhlo_keywords"`
	DiscardEHLOMaps string `set:"lmtp_discard_lhlo_keyword_address_maps"`
	SendXforward    bool   `set:"lmtp_send_xforward_command"`
	QuoteEnvelope   bool   `set:"lmtp_quote_rfc821_envelope"`
	VerifyTarget    string `set:"lmtp_address_verify_target"`
	LineLengthLimit int    `set:"lmtp_line_length_limit"`
	AssumeFinal     bool   `set:"lmtp_assume_final" doc:"what LMTP accepts without offering DSN is delivered, not relayed"`
	ReplyFilter     string `set:"lmtp_reply_filter"`

	PIX          string        `set:"lmtp_pix_workarounds"`
	PIXMaps      string        `set:"lmtp_pix_workaround_maps"`
	PIXThreshold time.Duration `set:"lmtp_pix_workaround_threshold_time" unit:"s"`
	PIXDelay     time.Duration `set:"lmtp_pix_workaround_delay_time" unit:"s"`

	SASLEnable          bool          `set:"lmtp_sasl_auth_enable"`
	SASLPasswords       string        `set:"lmtp_sasl_password_maps"`
	SASLMechFilter      string        `set:"lmtp_sasl_mechanism_filter"`
	SASLDelimiter       string        `set:"lmtp_sasl_password_result_delimiter"`
	SASLCache           string        `set:"lmtp_sasl_auth_cache_name"`
	SASLCacheTime       time.Duration `set:"lmtp_sasl_auth_cache_time" unit:"s"`
	SASLOptions         string        `set:"lmtp_sasl_security_options"`
	SASLTLSOptions      string        `set:"lmtp_sasl_tls_security_options"`
	SASLVerifiedOptions string        `set:"lmtp_sasl_tls_verified_security_options"`
	SASLSoftBounce      bool          `set:"lmtp_sasl_auth_soft_bounce"`
	SASLBySender        bool          `set:"lmtp_sender_dependent_authentication"`
	DummyMailAuth       bool          `set:"lmtp_send_dummy_mail_auth"`

	GenericMaps        string `set:"lmtp_generic_maps"`
	HeaderChecks       string `set:"lmtp_header_checks"`
	MIMEHeaderChecks   string `set:"lmtp_mime_header_checks"`
	NestedHeaderChecks string `set:"lmtp_nested_header_checks"`
	BodyChecks         string `set:"lmtp_body_checks"`

	TLSLevel              string        `set:"lmtp_tls_security_level"`
	UseTLS                bool          `set:"lmtp_use_tls"`
	EnforceTLS            bool          `set:"lmtp_enforce_tls"`
	EnforcePeername       bool          `set:"lmtp_tls_enforce_peername"`
	TLSPolicy             string        `set:"lmtp_tls_policy_maps"`
	TLSWrapper            bool          `set:"lmtp_tls_wrappermode"`
	TLSLogLevel           string        `set:"lmtp_tls_loglevel"`
	TLSNoteOffer          bool          `set:"lmtp_tls_note_starttls_offer"`
	TLSTimeout            time.Duration `set:"lmtp_starttls_timeout" unit:"s"`
	TLSCAFile             string        `set:"lmtp_tls_CAfile"`
	TLSCAPath             string        `set:"lmtp_tls_CApath"`
	TLSCertFile           string        `set:"lmtp_tls_cert_file"`
	TLSKeyFile            string        `set:"lmtp_tls_key_file"`
	TLSECCertFile         string        `set:"lmtp_tls_eccert_file"`
	TLSECKeyFile          string        `set:"lmtp_tls_eckey_file"`
	TLSProtocols          string        `set:"lmtp_tls_protocols"`
	TLSMandatoryProtocols string        `set:"lmtp_tls_mandatory_protocols"`
	TLSExclude            string        `set:"lmtp_tls_exclude_ciphers"`
	TLSMandatoryExclude   string        `set:"lmtp_tls_mandatory_exclude_ciphers"`
	TLSGrade              string        `set:"lmtp_tls_ciphers"`
	TLSMandatoryGrade     string        `set:"lmtp_tls_mandatory_ciphers"`
	TLSPerSite            string        `set:"lmtp_tls_per_site"`
	TLSVerifyMatch        string        `set:"lmtp_tls_verify_cert_match"`
	TLSSecureMatch        string        `set:"lmtp_tls_secure_cert_match"`
	TLSServerName         string        `set:"lmtp_tls_servername"`
	TLSFingerprints       string        `set:"lmtp_tls_fingerprint_cert_match"`
	TLSFingerprintDigest  string        `set:"lmtp_tls_fingerprint_digest"`
	TLSTrustAnchors       string        `set:"lmtp_tls_trust_anchor_file"`
	TLSChainFiles         string        `set:"lmtp_tls_chain_files"`
	TLSForceTLSA          bool          `set:"lmtp_tls_force_insecure_host_tlsa_lookup"`
	TLSInsecureMX         string        // SMTP only
	DNSSupport            string        `set:"lmtp_dns_support_level"`
}

// shared are parameters that both clients use.
type shared struct {
	MinBackoff     time.Duration `set:"minimal_backoff_time" unit:"s"`
	NoConversion   bool          `set:"disable_mime_output_conversion" doc:"send 8-bit content as it is to servers without 8BITMIME"`
	AppendDefault  bool          `set:"tls_append_default_CA" doc:"trust the system's authorities too"`
	ProxyAddresses string        `set:"proxy_interfaces"`
	IgnoreMXError  bool          `set:"ignore_mx_lookup_error" doc:"use a domain's own address when its MX records cannot be looked up"`
	DNSSECProbe    string        `set:"dnssec_probe" doc:"TYPE:NAME, asked for once to find out whether answers are validated with DNSSEC; empty for not"`
	UseSRV         string        `set:"use_srv_lookup" doc:"services whose servers are looked up with SRV records"`
	IgnoreSRVError bool          `set:"ignore_srv_lookup_error" doc:"go on without SRV records that cannot be looked up"`
	SRVFallback    bool          `set:"allow_srv_lookup_fallback" doc:"go on without SRV records where there is no host to be found by them"`

	HeaderSizeLimit   int `set:"header_size_limit"`
	AddressTokenLimit int `set:"header_address_token_limit"`
	LineLengthLimit   int `set:"line_length_limit"`
	MIMENestingLimit  int `set:"mime_nesting_limit"`
	MIMEBoundaryLimit int `set:"mime_boundary_length_limit"`
}

var (
	_ = postfix.Register("smtp", Settings{})
	_ = postfix.Register("lmtp", lmtpSettings{})
	_ = postfix.Register("smtp", shared{})
	_ = postfix.Register("smtp", postfix.CipherLists{})
)

// A Protocol is what the agent speaks: the command of master.cf, smtp or lmtp.
type Protocol uint8

// The two protocols.
const (
	SMTP Protocol = iota
	LMTP
)

// prefix begins the names of the protocol's parameters.
func (p Protocol) prefix() string {
	if p == LMTP {
		return "lmtp_"
	}
	return "smtp_"
}

// discardMaps is the parameter that names extensions not to be used.
func (p Protocol) discardMaps() string {
	if p == LMTP {
		return "lmtp_discard_lhlo_keyword_address_maps"
	}
	return "smtp_discard_ehlo_keyword_address_maps"
}

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

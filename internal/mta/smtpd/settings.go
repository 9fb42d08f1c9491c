package smtpd

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of smtpd(8), besides the core ones.
type Settings struct {
	// Dialogue
	Banner                        string        `set:"smtpd_banner" default:"$myhostname ESMTP $mail_name" nonempty:"yes" doc:"text after the 220 greeting"`
	Timeout                       time.Duration `set:"smtpd_timeout" default:"${stress?{10}:{300}}s" unit:"s" min:"1" doc:"limit for reading or writing (10s under stress)"`
	HELORequired                  bool          `set:"smtpd_helo_required" default:"no" doc:"require HELO/EHLO before MAIL and AUTH"`
	DelayReject                   bool          `set:"smtpd_delay_reject" default:"yes" doc:"evaluate client, HELO and sender restrictions at RCPT time"`
	NoopCommands                  string        `set:"smtpd_noop_commands" doc:"commands answered like NOOP"`
	ForbiddenCommands             string        `set:"smtpd_forbidden_commands" default:"CONNECT GET POST regexp:{{/^[^A-Z]/ Bogus}}" doc:"commands that end the session at once"`
	DiscardEHLOKeywords           string        `set:"smtpd_discard_ehlo_keywords" doc:"EHLO keywords not announced"`
	DiscardEHLOKeywordAddressMaps string        `set:"smtpd_discard_ehlo_keyword_address_maps" doc:"per-client EHLO keywords not announced"`
	DisableVRFYCommand            bool          `set:"disable_vrfy_command" default:"no" doc:"refuse VRFY"`
	ForbidUnauthPipelining        bool          `set:"smtpd_forbid_unauth_pipelining" default:"no" doc:"disconnect clients that pipeline where it is not allowed"`
	ForbidBareNewline             string        `set:"smtpd_forbid_bare_newline" default:"normalize" nonempty:"yes" doc:"handling of lines ending in bare LF: no, yes/normalize, note, reject"`
	ForbidBareNewlineExclusions   string        `set:"smtpd_forbid_bare_newline_exclusions" default:"$mynetworks" doc:"clients exempt from it"`
	ForbidBareNewlineRejectCode   int           `set:"smtpd_forbid_bare_newline_reject_code" default:"550" min:"500" max:"599" doc:"reply code for 'reject'"`
	StrictEnvelopes               bool          `set:"strict_rfc821_envelopes" default:"no" doc:"refuse addresses without <>, or with comments in them"`
	StrictSMTPUTF8                bool          `set:"strict_smtputf8" default:"no" doc:"enforce SMTPUTF8 rules strictly"`
	PeernameLookup                bool          `set:"smtpd_peername_lookup" default:"yes" doc:"look up client names"`
	ClientPortLogging             bool          `set:"smtpd_client_port_logging" default:"no" doc:"log the client port"`
	AuthorizedXCLIENTHosts        string        `set:"smtpd_authorized_xclient_hosts" doc:"clients that may use XCLIENT"`
	AuthorizedXFORWARDHosts       string        `set:"smtpd_authorized_xforward_hosts" doc:"clients that may use XFORWARD"`
	AuthorizedVERPClients         string        `set:"smtpd_authorized_verp_clients" default:"$authorized_verp_clients" doc:"clients that may use XVERP"`
	DefaultVERPDelimiters         string        `set:"default_verp_delimiters" default:"+=" doc:"the two characters used to build VERP senders"`
	LocalHeaderRewriteClients     string        `set:"local_header_rewrite_clients" default:"permit_inet_interfaces" doc:"clients whose headers are completed with local domain and missing headers"`
	ReceiveOverrideOptions        string        `set:"receive_override_options" doc:"input processing to skip: address mappings, header/body checks, milters, recipient checks, unknown recipient"`
	ContentFilter                 string        `set:"content_filter" doc:"transport:nexthop that every accepted message is sent through after queueing"`

	// Limits
	LineLengthLimit              int           `set:"line_length_limit" default:"2048" min:"512" doc:"content lines longer than this are split internally"`
	SoftErrorLimit               int           `set:"smtpd_soft_error_limit" default:"10" min:"1" doc:"errors after which replies are delayed"`
	HardErrorLimit               int           `set:"smtpd_hard_error_limit" default:"${stress?{1}:{20}}" min:"1" doc:"errors after which the client is disconnected (1 under stress)"`
	ErrorSleepTime               time.Duration `set:"smtpd_error_sleep_time" default:"1s" unit:"s" doc:"pause per reply after smtpd_soft_error_limit errors"`
	JunkCommandLimit             int           `set:"smtpd_junk_command_limit" default:"${stress?{1}:{100}}" min:"1" doc:"NOOP, VRFY, RSET, ETRN, HELO commands before they count as errors"`
	RecipientLimit               int           `set:"smtpd_recipient_limit" default:"1000" min:"1" doc:"recipients per message"`
	RecipientOvershootLimit      int           `set:"smtpd_recipient_overshoot_limit" default:"1000" min:"1" doc:"extra RCPT commands refused without counting as errors"`
	QueueMinfree                 int64         `set:"queue_minfree" default:"0" doc:"free queue space (bytes) required to accept mail"`
	ClientConnectionCountLimit   int           `set:"smtpd_client_connection_count_limit" default:"50" doc:"simultaneous connections per client"`
	ClientConnectionRateLimit    int           `set:"smtpd_client_connection_rate_limit" default:"0" doc:"connections per client and time unit"`
	ClientMessageRateLimit       int           `set:"smtpd_client_message_rate_limit" default:"0" doc:"MAIL commands per client and time unit"`
	ClientRecipientRateLimit     int           `set:"smtpd_client_recipient_rate_limit" default:"0" doc:"RCPT commands per client and time unit"`
	ClientAuthRateLimit          int           `set:"smtpd_client_auth_rate_limit" default:"0" doc:"AUTH commands per client and time unit; 0 is unlimited"`
	ClientNewTLSSessionRateLimit int           `set:"smtpd_client_new_tls_session_rate_limit" default:"0" doc:"new TLS sessions per client and time unit"`
	ClientEventLimitExceptions   string        `set:"smtpd_client_event_limit_exceptions" default:"${smtpd_client_connection_limit_exceptions:$mynetworks}" doc:"clients without such limits"`
	AnvilRateTimeUnit            time.Duration `set:"anvil_rate_time_unit" default:"60s" unit:"s" min:"1" doc:"length of the interval over which client rates are counted"`
	AnvilStatusUpdateTime        time.Duration `set:"anvil_status_update_time" default:"600s" unit:"s" min:"1" doc:"how often the peak client counters are logged"`

	// Restrictions
	ClientRestrictions               string `set:"smtpd_client_restrictions" doc:"restrictions for the connection"`
	HELORestrictions                 string `set:"smtpd_helo_restrictions" doc:"restrictions for HELO/EHLO"`
	SenderRestrictions               string `set:"smtpd_sender_restrictions" doc:"restrictions for MAIL"`
	RelayRestrictions                string `set:"smtpd_relay_restrictions" default:"${{$compatibility_level} <level {1} ? {} : {permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination}}" doc:"relay control restrictions for RCPT"`
	RecipientRestrictions            string `set:"smtpd_recipient_restrictions" doc:"restrictions for RCPT after relay control"`
	DataRestrictions                 string `set:"smtpd_data_restrictions" doc:"restrictions for DATA"`
	EndOfDataRestrictions            string `set:"smtpd_end_of_data_restrictions" doc:"restrictions after the content"`
	ETRNRestrictions                 string `set:"smtpd_etrn_restrictions" doc:"restrictions for ETRN"`
	RestrictionClasses               string `set:"smtpd_restriction_classes" doc:"names of user-defined restriction lists"`
	RelayBeforeRecipientRestrictions bool   `set:"smtpd_relay_before_recipient_restrictions" default:"${{$compatibility_level} <level {3.6} ? {no} : {yes}}" doc:"evaluate relay restrictions before recipient restrictions"`
	AllowUntrustedRouting            bool   `set:"allow_untrusted_routing" default:"no" doc:"let source-routed recipients (user@a@b, user%a@b) pass the relay checks"`
	RejectFooter                     string `set:"smtpd_reject_footer" raw:"yes" doc:"text appended to 4xx/5xx replies"`
	RejectFooterMaps                 string `set:"smtpd_reject_footer_maps" doc:"per-reply form of the footer"`
	NullAccessLookupKey              string `set:"smtpd_null_access_lookup_key" default:"<>" doc:"access table key for the null sender"`
	LogAccessPermitActions           string `set:"smtpd_log_access_permit_actions" doc:"permit decisions that are logged"`
	RejectTempfailAction             string `set:"reject_tempfail_action" default:"defer_if_permit" nonempty:"yes" doc:"what a reject-type restriction does after a temporary lookup error"`
	RejectCode                       int    `set:"reject_code" default:"554" doc:"SMTP code of the 'reject' restriction"`
	DeferCode                        int    `set:"defer_code" default:"450" doc:"SMTP code of the 'defer' restriction"`
	AccessMapRejectCode              int    `set:"access_map_reject_code" default:"554" doc:"SMTP code for the access table REJECT action"`
	AccessMapDeferCode               int    `set:"access_map_defer_code" default:"450" doc:"SMTP code for the access table DEFER, DEFER_IF_PERMIT and DEFER_IF_REJECT actions"`
	RelayDomainsRejectCode           int    `set:"relay_domains_reject_code" default:"554" doc:"SMTP code of reject_unauth_destination"`
	InvalidHostnameRejectCode        int    `set:"invalid_hostname_reject_code" default:"501" doc:"SMTP code for reject_invalid_helo_hostname"`
	NonFQDNRejectCode                int    `set:"non_fqdn_reject_code" default:"504" doc:"SMTP code for the reject_non_fqdn_* restrictions"`
	UnknownHostnameRejectCode        int    `set:"unknown_hostname_reject_code" default:"450" doc:"SMTP code for unknown HELO names"`
	UnknownClientRejectCode          int    `set:"unknown_client_reject_code" default:"450" doc:"SMTP code for clients without valid name"`
	UnknownAddressRejectCode         int    `set:"unknown_address_reject_code" default:"450" doc:"SMTP code for unknown sender/recipient domains"`
	PlaintextRejectCode              int    `set:"plaintext_reject_code" default:"450" doc:"SMTP code for reject_plaintext_session"`
	MultiRecipientBounceRejectCode   int    `set:"multi_recipient_bounce_reject_code" default:"550" doc:"SMTP code for reject_multi_recipient_bounce"`

	// Recipients
	RejectUnlistedRecipient         bool   `set:"smtpd_reject_unlisted_recipient" default:"yes" doc:"refuse unknown recipients even without an explicit restriction"`
	RejectUnlistedSender            bool   `set:"smtpd_reject_unlisted_sender" default:"no" doc:"refuse unknown senders in our own domains likewise"`
	LocalRecipientMaps              string `set:"local_recipient_maps" default:"proxy:unix:passwd.byname $alias_maps" doc:"valid recipients of local domains; empty disables the check"`
	RelayRecipientMaps              string `set:"relay_recipient_maps" doc:"valid recipients of relay domains; empty disables the check"`
	UnknownLocalRecipientRejectCode int    `set:"unknown_local_recipient_reject_code" default:"550" doc:"SMTP code for unknown local recipients"`
	UnknownVirtualAliasRejectCode   int    `set:"unknown_virtual_alias_reject_code" default:"550" doc:"SMTP code for unknown virtual alias recipients"`
	UnknownVirtualMailboxRejectCode int    `set:"unknown_virtual_mailbox_reject_code" default:"550" doc:"SMTP code for unknown virtual mailbox recipients"`
	UnknownRelayRecipientRejectCode int    `set:"unknown_relay_recipient_reject_code" default:"550" doc:"SMTP code for unknown relay recipients"`
	SenderLoginMaps                 string `set:"smtpd_sender_login_maps" doc:"logins that own a sender address"`

	// SASL
	SASLAuthEnable          bool   `set:"smtpd_sasl_auth_enable" default:"no" doc:"offer AUTH"`
	SASLType                string `set:"smtpd_sasl_type" default:"cyrus" nonempty:"yes" doc:"SASL server plug-in: cyrus or dovecot"`
	SASLPath                string `set:"smtpd_sasl_path" default:"smtpd" nonempty:"yes" doc:"dovecot socket (inet:host:port or path) or Cyrus application name"`
	SASLLocalDomain         string `set:"smtpd_sasl_local_domain" doc:"realm of SASL users whose name has none"`
	CyrusConfigPath         string `set:"cyrus_sasl_config_path" doc:"directories of the Cyrus SASL application's configuration"`
	SASLService             string `set:"smtpd_sasl_service" default:"smtp" nonempty:"yes" doc:"service name given to the SASL backend"`
	SASLSecurityOptions     string `set:"smtpd_sasl_security_options" default:"noanonymous" doc:"mechanism properties required without TLS"`
	SASLTLSSecurityOptions  string `set:"smtpd_sasl_tls_security_options" default:"$smtpd_sasl_security_options" doc:"mechanism properties required with TLS"`
	SASLMechanismFilter     string `set:"smtpd_sasl_mechanism_filter" default:"!external, static:rest" doc:"mechanisms that may be announced"`
	SASLExceptionsNetworks  string `set:"smtpd_sasl_exceptions_networks" doc:"clients that are not offered AUTH"`
	SASLResponseLimit       int    `set:"smtpd_sasl_response_limit" default:"12288" min:"12288" doc:"longest client response"`
	SASLAuthenticatedHeader bool   `set:"smtpd_sasl_authenticated_header" default:"no" doc:"show the SASL user in Received"`
	BrokenSASLAuthClients   bool   `set:"broken_sasl_auth_clients" default:"no" doc:"also announce AUTH= for antique clients"`

	// TLS
	UseTLS                bool          `set:"smtpd_use_tls" default:"no" doc:"obsolete form of security level may"`
	EnforceTLS            bool          `set:"smtpd_enforce_tls" default:"no" doc:"obsolete form of security level encrypt"`
	TLSSecurityLevel      string        `set:"smtpd_tls_security_level" doc:"server TLS level: none, may, encrypt; empty uses older settings"`
	TLSWrappermode        bool          `set:"smtpd_tls_wrappermode" default:"no" doc:"TLS from the first byte"`
	TLSAuthOnly           bool          `set:"smtpd_tls_auth_only" default:"no" doc:"offer AUTH only over TLS"`
	TLSLoglevel           string        `set:"smtpd_tls_loglevel" default:"0" doc:"TLS logging, 0-4"`
	TLSReceivedHeader     bool          `set:"smtpd_tls_received_header" default:"no" doc:"describe TLS in Received"`
	TLSAskCcert           bool          `set:"smtpd_tls_ask_ccert" default:"no" doc:"ask for a client certificate"`
	TLSReqCcert           bool          `set:"smtpd_tls_req_ccert" default:"no" doc:"require a trusted client certificate (mandatory TLS only)"`
	StarttlsTimeout       time.Duration `set:"smtpd_starttls_timeout" default:"${stress?{10}:{300}}s" unit:"s" min:"1" doc:"limit for the TLS handshake"`
	TLSCertFile           string        `set:"smtpd_tls_cert_file" doc:"RSA server certificate chain"`
	TLSKeyFile            string        `set:"smtpd_tls_key_file" default:"$smtpd_tls_cert_file" doc:"RSA key; default is the certificate file"`
	TLSECCertFile         string        `set:"smtpd_tls_eccert_file" doc:"ECDSA server certificate"`
	TLSECKeyFile          string        `set:"smtpd_tls_eckey_file" default:"$smtpd_tls_eccert_file" doc:"its key"`
	TLSChainFiles         string        `set:"smtpd_tls_chain_files" doc:"key plus certificate chain files, replaces the older settings"`
	TLSCAFile             string        `set:"smtpd_tls_CAfile" doc:"CAs for client certificates"`
	TLSProtocols          string        `set:"smtpd_tls_protocols" default:">=TLSv1" doc:"protocol versions for opportunistic TLS"`
	TLSMandatoryProtocols string        `set:"smtpd_tls_mandatory_protocols" default:">=TLSv1" doc:"protocol versions for mandatory TLS"`
	TLSCAPath             string        `set:"smtpd_tls_CApath" doc:"CA directory for client certificates"`
	TLSCcertVerifydepth   int           `set:"smtpd_tls_ccert_verifydepth" default:"9" doc:"client chain depth"`
	TLSFingerprintDigest  string        `set:"smtpd_tls_fingerprint_digest" default:"${{$compatibility_level} <level {3.6} ? {md5} : {sha256}}" nonempty:"yes" doc:"digest used for fingerprints"`
	TLSCiphers            string        `set:"smtpd_tls_ciphers" default:"medium" nonempty:"yes" doc:"cipher grade for opportunistic TLS: high, medium, low, export or null"`
	TLSMandatoryCiphers   string        `set:"smtpd_tls_mandatory_ciphers" default:"medium" nonempty:"yes" doc:"cipher grade for mandatory TLS"`
	TLSExcludeCiphers     string        `set:"smtpd_tls_exclude_ciphers" doc:"ciphers never used"`
	TLSMandatoryExclude   string        `set:"smtpd_tls_mandatory_exclude_ciphers" doc:"extra exclusions for mandatory TLS"`
	TLSSessionTimeout     time.Duration `set:"smtpd_tls_session_cache_timeout" default:"3600s" unit:"s" max:"8640000" doc:"life of cached TLS sessions"`
	TLSTicketCipher       string        `set:"tls_session_ticket_cipher" default:"aes-256-cbc" doc:"cipher of session tickets"`
	TLSServerSNIMaps      string        `set:"tls_server_sni_maps" doc:"key and chain per SNI name (file list, base64 in the table with postmap -F)"`
	TLSAppendDefaultCA    bool          `set:"tls_append_default_CA"`
	RelayClientcerts      string        `set:"relay_clientcerts" doc:"fingerprints of client certificates that permit_tls_clientcerts permits"`
}

var _ = postfix.Register("smtpd", Settings{})

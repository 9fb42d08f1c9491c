package postscreen

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of postscreen(8).
type Settings struct {
	AccessList                    string        `set:"postscreen_access_list" default:"permit_mynetworks" doc:"permit_mynetworks and/or CIDR-style tables giving permit, reject or dunno per client"`
	AllowlistInterfaces           string        `set:"postscreen_allowlist_interfaces" default:"${postscreen_whitelist_interfaces?{$postscreen_whitelist_interfaces}:{static:all}}" doc:"local addresses on which new clients can earn allowlist status (!addr excludes)"`
	BareNewlineAction             string        `set:"postscreen_bare_newline_action" default:"ignore" nonempty:"yes" doc:"action after a bare newline: ignore, enforce, drop"`
	BareNewlineEnable             bool          `set:"postscreen_bare_newline_enable" default:"no" doc:"turn on the bare newline test"`
	BareNewlineTTL                time.Duration `set:"postscreen_bare_newline_ttl" default:"30d" unit:"d" min:"1" doc:"how long a pass is remembered"`
	CacheCleanupInterval          time.Duration `set:"postscreen_cache_cleanup_interval" default:"12h" unit:"h" doc:"how often the cache is purged"`
	CacheMap                      string        `set:"postscreen_cache_map" default:"btree:$data_directory/postscreen_cache" doc:"cache with test results"`
	CacheRetentionTime            time.Duration `set:"postscreen_cache_retention_time" default:"7d" unit:"d" min:"1" doc:"how long expired entries are kept"`
	ClientConnectionCountLimit    int           `set:"postscreen_client_connection_count_limit" default:"$smtpd_client_connection_count_limit" doc:"connections per client that postscreen handles at once"`
	CommandCountLimit             int           `set:"postscreen_command_count_limit" default:"20" min:"1" doc:"commands allowed in the built-in SMTP engine"`
	CommandFilter                 string        `set:"postscreen_command_filter" doc:"table that rewrites commands before the built-in engine sees them"`
	CommandTimeLimit              time.Duration `set:"postscreen_command_time_limit" default:"${stress?{10}:{300}}s" unit:"s" min:"1" doc:"time limit per command in the built-in engine"`
	DenylistAction                string        `set:"postscreen_denylist_action" default:"${postscreen_blacklist_action?{$postscreen_blacklist_action}:{ignore}}" nonempty:"yes" doc:"action for clients rejected by the access list"`
	DisableVRFYCommand            bool          `set:"postscreen_disable_vrfy_command" default:"$disable_vrfy_command" doc:"refuse VRFY in the built-in engine"`
	DiscardEHLOKeywordAddressMaps string        `set:"postscreen_discard_ehlo_keyword_address_maps" default:"$smtpd_discard_ehlo_keyword_address_maps" doc:"per-client EHLO keywords not announced"`
	DiscardEHLOKeywords           string        `set:"postscreen_discard_ehlo_keywords" default:"$smtpd_discard_ehlo_keywords" doc:"EHLO keywords not announced"`
	DNSBLAction                   string        `set:"postscreen_dnsbl_action" default:"ignore" nonempty:"yes" doc:"action when the DNSBL score reaches the threshold"`
	DNSBLAllowlistThreshold       int           `set:"postscreen_dnsbl_allowlist_threshold" default:"${postscreen_dnsbl_whitelist_threshold?{$postscreen_dnsbl_whitelist_threshold}:{0}}" doc:"score at or below which later tests are skipped; 0 disables"`
	DNSBLMaxTTL                   time.Duration `set:"postscreen_dnsbl_max_ttl" default:"${postscreen_dnsbl_ttl?{$postscreen_dnsbl_ttl}:{1}}h" unit:"h" min:"1" doc:"longest time a DNSBL pass is remembered"`
	DNSBLMinTTL                   time.Duration `set:"postscreen_dnsbl_min_ttl" default:"60s" unit:"s" min:"1" doc:"shortest time a DNSBL pass is remembered"`
	DNSBLReplyMap                 string        `set:"postscreen_dnsbl_reply_map" doc:"maps secret DNSBL names to names shown to clients"`
	DNSBLSites                    string        `set:"postscreen_dnsbl_sites" doc:"scored list domain[=filter][*weight]"`
	DNSBLThreshold                int           `set:"postscreen_dnsbl_threshold" default:"1" min:"1" doc:"score that triggers the action"`
	DNSBLTimeout                  time.Duration `set:"postscreen_dnsbl_timeout" default:"10s" unit:"s" min:"1" doc:"time limit for lookups"`
	EnforceTLS                    bool          `set:"postscreen_enforce_tls" default:"$smtpd_enforce_tls" doc:"obsolete form of security level encrypt"`
	ForbiddenCommands             string        `set:"postscreen_forbidden_commands" default:"$smtpd_forbidden_commands" doc:"commands that count as non-SMTP"`
	GreetAction                   string        `set:"postscreen_greet_action" default:"ignore" nonempty:"yes" doc:"action for clients that talk too early"`
	GreetBanner                   string        `set:"postscreen_greet_banner" default:"$smtpd_banner" doc:"text of the 220- teaser; empty disables it"`
	GreetTTL                      time.Duration `set:"postscreen_greet_ttl" default:"1d" unit:"d" min:"1" doc:"how long a pregreet pass is remembered"`
	GreetWait                     time.Duration `set:"postscreen_greet_wait" default:"${stress?{2}:{6}}s" unit:"s" min:"1" doc:"time clients must stay silent"`
	HELORequired                  bool          `set:"postscreen_helo_required" default:"$smtpd_helo_required" doc:"require HELO/EHLO in the built-in engine"`
	NonSMTPCommandAction          string        `set:"postscreen_non_smtp_command_action" default:"drop" nonempty:"yes" doc:"action after a non-SMTP command"`
	NonSMTPCommandEnable          bool          `set:"postscreen_non_smtp_command_enable" default:"no" doc:"turn on that test"`
	NonSMTPCommandTTL             time.Duration `set:"postscreen_non_smtp_command_ttl" default:"30d" unit:"d" min:"1" doc:"how long a pass is remembered"`
	PipeliningAction              string        `set:"postscreen_pipelining_action" default:"enforce" nonempty:"yes" doc:"action after illegal pipelining"`
	PipeliningEnable              bool          `set:"postscreen_pipelining_enable" default:"no" doc:"turn on that test"`
	PipeliningTTL                 time.Duration `set:"postscreen_pipelining_ttl" default:"30d" unit:"d" min:"1" doc:"how long a pass is remembered"`
	PostQueueLimit                int           `set:"postscreen_post_queue_limit" default:"$default_process_limit" min:"5" doc:"clients waiting for a real SMTP server process"`
	PreQueueLimit                 int           `set:"postscreen_pre_queue_limit" default:"$default_process_limit" min:"10" doc:"undecided clients handled at once"`
	RejectFooter                  string        `set:"postscreen_reject_footer" default:"$smtpd_reject_footer" raw:"yes" doc:"text appended to 4xx/5xx replies"`
	RejectFooterMaps              string        `set:"postscreen_reject_footer_maps" default:"$smtpd_reject_footer_maps" doc:"per-reply form of the footer"`
	TLSSecurityLevel              string        `set:"postscreen_tls_security_level" default:"$smtpd_tls_security_level" doc:"STARTTLS policy of the built-in engine"`
	UpstreamProxyProtocol         string        `set:"postscreen_upstream_proxy_protocol" doc:"proxy protocol before the SMTP dialogue (haproxy)"`
	UpstreamProxyTimeout          time.Duration `set:"postscreen_upstream_proxy_timeout" default:"5s" unit:"s" min:"1" doc:"time limit for it"`
	UseTLS                        bool          `set:"postscreen_use_tls" default:"$smtpd_use_tls" doc:"obsolete form of security level may"`
	RespectfulLogging             bool          `set:"respectful_logging" default:"${{$compatibility_level} <level {3.6} ? {no} : {yes}}" doc:"use allow/deny terms in postscreen logging"`
}

// tlsSettings are those of tlsproxy(8), in whose place this server speaks TLS.
type tlsSettings struct {
	CAFile                  string `set:"tlsproxy_tls_CAfile" default:"$smtpd_tls_CAfile" doc:"tlsproxy server-side copy of smtpd_tls_CAfile"`
	CAPath                  string `set:"tlsproxy_tls_CApath" default:"$smtpd_tls_CApath" doc:"tlsproxy server-side copy of smtpd_tls_CApath"`
	AskCcert                bool   `set:"tlsproxy_tls_ask_ccert" default:"$smtpd_tls_ask_ccert" doc:"tlsproxy server-side copy of smtpd_tls_ask_ccert"`
	CcertVerifydepth        int    `set:"tlsproxy_tls_ccert_verifydepth" default:"$smtpd_tls_ccert_verifydepth" doc:"tlsproxy server-side copy of smtpd_tls_ccert_verifydepth"`
	CertFile                string `set:"tlsproxy_tls_cert_file" default:"$smtpd_tls_cert_file" doc:"tlsproxy server-side copy of smtpd_tls_cert_file"`
	ChainFiles              string `set:"tlsproxy_tls_chain_files" default:"$smtpd_tls_chain_files" doc:"tlsproxy server-side copy of smtpd_tls_chain_files"`
	Ciphers                 string `set:"tlsproxy_tls_ciphers" default:"$smtpd_tls_ciphers" nonempty:"yes" doc:"tlsproxy server-side copy of smtpd_tls_ciphers"`
	EccertFile              string `set:"tlsproxy_tls_eccert_file" default:"$smtpd_tls_eccert_file" doc:"tlsproxy server-side copy of smtpd_tls_eccert_file"`
	EckeyFile               string `set:"tlsproxy_tls_eckey_file" default:"$smtpd_tls_eckey_file" doc:"tlsproxy server-side copy of smtpd_tls_eckey_file"`
	ExcludeCiphers          string `set:"tlsproxy_tls_exclude_ciphers" default:"$smtpd_tls_exclude_ciphers" doc:"tlsproxy server-side copy of smtpd_tls_exclude_ciphers"`
	FingerprintDigest       string `set:"tlsproxy_tls_fingerprint_digest" default:"$smtpd_tls_fingerprint_digest" nonempty:"yes" doc:"tlsproxy server-side copy of smtpd_tls_fingerprint_digest"`
	KeyFile                 string `set:"tlsproxy_tls_key_file" default:"$smtpd_tls_key_file" doc:"tlsproxy server-side copy of smtpd_tls_key_file"`
	Loglevel                string `set:"tlsproxy_tls_loglevel" default:"$smtpd_tls_loglevel" doc:"tlsproxy server-side copy of smtpd_tls_loglevel"`
	MandatoryCiphers        string `set:"tlsproxy_tls_mandatory_ciphers" default:"$smtpd_tls_mandatory_ciphers" nonempty:"yes" doc:"tlsproxy server-side copy of smtpd_tls_mandatory_ciphers"`
	MandatoryExcludeCiphers string `set:"tlsproxy_tls_mandatory_exclude_ciphers" default:"$smtpd_tls_mandatory_exclude_ciphers" doc:"tlsproxy server-side copy of smtpd_tls_mandatory_exclude_ciphers"`
	MandatoryProtocols      string `set:"tlsproxy_tls_mandatory_protocols" default:"$smtpd_tls_mandatory_protocols" doc:"tlsproxy server-side copy of smtpd_tls_mandatory_protocols"`
	Protocols               string `set:"tlsproxy_tls_protocols" default:"$smtpd_tls_protocols" doc:"tlsproxy server-side copy of smtpd_tls_protocols"`
}

// shared are parameters that other programs use too.
type shared struct {
	Banner          string        `set:"smtpd_banner"`
	LineLengthLimit int           `set:"line_length_limit"`
	SMTPDService    string        `set:"smtpd_service_name" default:"smtpd" nonempty:"yes" doc:"pass service of master.cf that postscreen gives clients to"`
	StarttlsTimeout time.Duration `set:"smtpd_starttls_timeout" unit:"s"`
	SessionTimeout  time.Duration `set:"smtpd_tls_session_cache_timeout" unit:"s"`
	TicketCipher    string        `set:"tls_session_ticket_cipher"`
	SNIMaps         string        `set:"tls_server_sni_maps"`
	RejectFooter    string        `set:"smtpd_reject_footer" raw:"yes"`
	DisableVRFY     bool          `set:"disable_vrfy_command"`
}

var (
	_ = postfix.Register("postscreen", Settings{})
	_ = postfix.Register("tlsproxy", tlsSettings{})
	_ = postfix.Register("postscreen", shared{})
)

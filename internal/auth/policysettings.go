package auth

import "github.com/dovetail-mail/dovetail/internal/conf/dovecot"

// PolicySettings are those of the policy server.
type PolicySettings struct {
	URL          string `set:"auth_policy_server_url" doc:"base URL of the policy server; empty for none"`
	APIHeader    string `set:"auth_policy_server_api_header" doc:"HTTP header line of requests; without colon it is the value of X-API-Key"`
	TimeoutMsecs uint32 `set:"auth_policy_server_timeout_msecs" default:"2000" doc:"milliseconds after which a request has failed"`
	HashMech     string `set:"auth_policy_hash_mech" default:"sha256" doc:"digest of the password that the server is told"`
	HashNonce    string `set:"auth_policy_hash_nonce" doc:"secret that is hashed with the password"`
	HashTruncate uint32 `set:"auth_policy_hash_truncate" default:"12" doc:"bits of the digest that the server is told"`
	Attributes   string `set:"auth_policy_request_attributes" default:"login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} device_id=%{client_id} protocol=%s session_id=%{session}" doc:"key=template pairs of which requests are made"`
	RejectOnFail bool   `set:"auth_policy_reject_on_fail" default:"no" doc:"refuse logins when the server cannot be asked"`
	CheckBefore  bool   `set:"auth_policy_check_before_auth" default:"yes" doc:"ask before the password is checked"`
	CheckAfter   bool   `set:"auth_policy_check_after_auth" default:"yes" doc:"ask after the password was found right"`
	ReportAfter  bool   `set:"auth_policy_report_after_auth" default:"yes" doc:"tell how the login ended"`
	LogOnly      bool   `set:"auth_policy_log_only" default:"no" doc:"log what the server says, and do nothing about it"`

	RequireValidCert bool   `set:"ssl_client_require_valid_cert" default:"yes" doc:"refuse invalid certificates of servers"`
	MinProtocol      string `set:"ssl_min_protocol" default:"TLSv1.2" doc:"lowest TLS version: SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, LATEST, ANY"`
}

var _ = dovecot.Register("auth", PolicySettings{})

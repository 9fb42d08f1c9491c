package postfix

import (
	"slices"
	"strings"
)

// A refusal is a parameter that restricts what clients may do, inspects mail, or
// protects it or a copy of it on its way. While nothing registered implements it a
// configuration that sets it must not be served.
type refusal struct {
	name, why string
	asks      func(value string) bool // tells values that ask for it; nil for all but the default
}

var refused = []refusal{
	{name: "always_bcc", why: "copies of mail would not be made"},
	{name: "authorized_flush_users", why: "every user could flush the queue"},
	{name: "authorized_mailq_users", why: "every user could list the queue"},
	{name: "authorized_submit_users", why: "every user could submit mail"},
	{name: "body_checks", why: "mail it would reject would be accepted"},
	{name: "canonical_maps", why: "mail would go to, and come from, addresses that it would replace"},
	{name: "content_filter", why: "mail would not pass through the filter"},
	{name: "disable_vrfy_command", why: "clients could probe for addresses"},
	{name: "header_checks", why: "mail it would reject would be accepted"},
	{name: "lmtp_body_checks", why: "mail would leave as it is"},
	{name: "lmtp_dns_support_level", why: "addresses would come from DNS answers that it excludes", asks: oneOf("disabled", "dnssec")},
	{name: "lmtp_enforce_tls", why: "mail could leave unencrypted"},
	{name: "lmtp_generic_maps", why: "internal addresses would leave this system"},
	{name: "lmtp_header_checks", why: "mail would leave as it is"},
	{name: "lmtp_mime_header_checks", why: "mail would leave as it is"},
	{name: "lmtp_nested_header_checks", why: "mail would leave as it is"},
	{name: "lmtp_sasl_security_options", why: "passwords could be sent by mechanisms it forbids"},
	{name: "lmtp_tls_enforce_peername", why: "mail could go to an impostor"},
	{name: "lmtp_tls_exclude_ciphers", why: "ciphers that it excludes could be used", asks: excludesOffered},
	{name: "lmtp_tls_fingerprint_cert_match", why: "mail could go to an impostor"},
	{name: "lmtp_tls_mandatory_exclude_ciphers", why: "ciphers that it excludes could be used", asks: excludesOffered},
	{name: "lmtp_tls_per_site", why: "mail could leave unencrypted"},
	{name: "lmtp_tls_policy_maps", why: "mail could leave unencrypted"},
	{name: "lmtp_tls_security_level", why: "mail could leave unencrypted"},
	{name: "lmtp_tls_trust_anchor_file", why: "mail could go to an impostor"},
	{name: "local_login_sender_maps", why: "users could send in the name of others"},
	{name: "masquerade_domains", why: "internal addresses would leave this system"},
	{name: "message_reject_characters", why: "mail it would reject would be accepted"},
	{name: "message_strip_characters", why: "the characters would stay in mail"},
	{name: "milter_header_checks", why: "mail it would reject would be accepted"},
	{name: "mime_header_checks", why: "mail it would reject would be accepted"},
	{name: "nested_header_checks", why: "mail it would reject would be accepted"},
	{name: "non_smtpd_milters", why: "mail would not pass through the filter"},
	{name: "recipient_bcc_maps", why: "copies of mail would not be made"},
	{name: "recipient_canonical_maps", why: "mail would go to addresses that it would replace"},
	{name: "sender_bcc_maps", why: "copies of mail would not be made"},
	{name: "sender_canonical_maps", why: "internal addresses would leave this system"},
	{name: "smtp_body_checks", why: "mail would leave as it is"},
	{name: "smtp_dns_support_level", why: "addresses would come from DNS answers that it excludes", asks: oneOf("disabled", "dnssec")},
	{name: "smtp_enforce_tls", why: "mail could leave unencrypted"},
	{name: "smtp_generic_maps", why: "internal addresses would leave this system"},
	{name: "smtp_header_checks", why: "mail would leave as it is"},
	{name: "smtp_mime_header_checks", why: "mail would leave as it is"},
	{name: "smtp_nested_header_checks", why: "mail would leave as it is"},
	{name: "smtp_sasl_security_options", why: "passwords could be sent by mechanisms it forbids"},
	{name: "smtp_tls_enforce_peername", why: "mail could go to an impostor"},
	{name: "smtp_tls_exclude_ciphers", why: "ciphers that it excludes could be used", asks: excludesOffered},
	{name: "smtp_tls_fingerprint_cert_match", why: "mail could go to an impostor"},
	{name: "smtp_tls_mandatory_exclude_ciphers", why: "ciphers that it excludes could be used", asks: excludesOffered},
	{name: "smtp_tls_per_site", why: "mail could leave unencrypted"},
	{name: "smtp_tls_policy_maps", why: "mail could leave unencrypted"},
	{name: "smtp_tls_security_level", why: "mail could leave unencrypted"},
	{name: "smtp_tls_trust_anchor_file", why: "mail could go to an impostor"},
	{name: "smtpd_client_restrictions", why: "clients it would refuse would be served"},
	{name: "smtpd_data_restrictions", why: "mail it would reject would be accepted"},
	{name: "smtpd_dns_reply_filter", why: "clients would pass restrictions by DNS answers that it excludes"},
	{name: "smtpd_end_of_data_restrictions", why: "mail it would reject would be accepted"},
	{name: "smtpd_enforce_tls", why: "mail could arrive unencrypted"},
	{name: "smtpd_etrn_restrictions", why: "clients it would refuse could flush the queue"},
	{name: "smtpd_forbidden_commands", why: "clients it would refuse would be served"},
	{name: "smtpd_helo_required", why: "clients it would refuse would be served"},
	{name: "smtpd_helo_restrictions", why: "clients it would refuse would be served"},
	{name: "smtpd_hide_client_session", why: "Received headers would show clients' addresses"},
	{name: "smtpd_milter_maps", why: "mail would not pass through the filter"},
	{name: "smtpd_milters", why: "mail would not pass through the filter"},
	{name: "smtpd_proxy_filter", why: "mail would not pass through the filter"},
	{name: "smtpd_recipient_restrictions", why: "mail it would reject would be accepted"},
	{name: "smtpd_relay_restrictions", why: "mail it would reject would be relayed"},
	{name: "smtpd_sasl_security_options", why: "clients could log in by mechanisms it forbids"},
	{name: "smtpd_sasl_tls_security_options", why: "clients could log in by mechanisms it forbids"},
	{name: "smtpd_sender_login_maps", why: "users could send in the name of others"},
	{name: "smtpd_sender_restrictions", why: "mail it would reject would be accepted"},
	{name: "smtpd_tls_auth_only", why: "passwords could be sent in the clear"},
	{name: "smtpd_tls_exclude_ciphers", why: "ciphers that it excludes could be used", asks: excludesOffered},
	{name: "smtpd_tls_mandatory_exclude_ciphers", why: "ciphers that it excludes could be used", asks: excludesOffered},
	{name: "smtpd_tls_req_ccert", why: "clients without certificate would be served"},
	{name: "smtpd_tls_security_level", why: "mail could arrive unencrypted"},
	{name: "smtpd_upstream_proxy_protocol", why: "every client would have the address, and the rights, of the proxy"},
	{name: "strict_7bit_headers", why: "mail it would reject would be accepted"},
	{name: "strict_8bitmime", why: "mail it would reject would be accepted"},
	{name: "strict_8bitmime_body", why: "mail it would reject would be accepted"},
	{name: "strict_mime_encoding_domain", why: "mail it would reject would be accepted"},
	{name: "strict_rfc821_envelopes", why: "mail it would reject would be accepted"},
}

// refusalOf finds the refusal of a parameter, nil if there is none.
func refusalOf(name string) *refusal {
	i := slices.IndexFunc(refused, func(r refusal) bool { return r.name == name })
	if i < 0 {
		return nil
	}
	return &refused[i]
}

func oneOf(values ...string) func(string) bool {
	return func(v string) bool { return slices.Contains(values, strings.ToLower(strings.TrimSpace(v))) }
}

// neverOffered are words of OpenSSL for ciphers of which crypto/tls offers none
// by itself. To exclude these is to ask for what is there anyway.
var neverOffered = strings.Fields(`aNULL eNULL NULL EXP EXPORT EXPORT40 EXPORT56 LOW MEDIUM DES 3DES DES-CBC-SHA DES-CBC3-SHA
	DES-CBC3-MD5 EDH-RSA-DES-CBC-SHA EDH-RSA-DES-CBC3-SHA EDH-DSS-DES-CBC3-SHA DHE-RSA-DES-CBC3-SHA DHE-DSS-DES-CBC3-SHA
	ECDHE-RSA-DES-CBC3-SHA ECDHE-ECDSA-DES-CBC3-SHA KRB5-DES KRB5-DE5 KRB5-DES-CBC3-SHA CBC3-SHA RC2 RC4 RC4-SHA RC4-MD5
	ECDHE-RSA-RC4-SHA ECDHE-ECDSA-RC4-SHA MD5 IDEA IDEA-CBC-SHA SEED CAMELLIA CAMELLIA128 CAMELLIA256 ARIA ARIA128 ARIA256
	ARIAGCM AESCCM AESCCM8 DSS aDSS kDHd kDHr aDH DH ADH AECDH EDH DHE kEDH kDHE kRSA RSA kECDH kECDHr kECDHe aECDH
	PSK kPSK aPSK kDHEPSK kECDHEPSK kRSAPSK SRP kSRP aSRP GOST GOST94 GOST89MAC aGOST aGOST01 kGOST KRB5 kKRB5 aKRB5 FZA
	AES128-SHA AES256-SHA AES128-SHA256 AES256-SHA256 AES128-GCM-SHA256 AES256-GCM-SHA384 SSLv2`)

// excludesOffered reports whether a list of ciphers to exclude has one that crypto/tls
// might use. Words are looked up in any case of letters; "a+b" means both a and b.
func excludesOffered(list string) bool {
	for _, word := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune(":, \t\r\n", r) }) {
		if !slices.ContainsFunc(strings.Split(word, "+"), isNeverOffered) {
			return true
		}
	}
	return false
}

func isNeverOffered(word string) bool {
	return slices.ContainsFunc(neverOffered, func(w string) bool { return strings.EqualFold(w, word) })
}

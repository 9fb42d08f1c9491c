package conf

// knownDovecot are the differences from doveconf that stay.
var knownDovecot = []reason{
	because(`^-managesieve: Warning: sieve: `, "the real doveconf starts a Sieve interpreter to ask for its capabilities, which complains about its settings"),
	because(`^-submission_max_mail_size = 0$`, "two modules of the original have different defaults"),
	because(`^-doveconf: Warning: \S+ line \d+: Global setting service/`, "the original takes a section before a slash path into it for a filter"),
	because(`^[-+]doveconf: Error: Could not find a minimum ssl_min_protocol `, "errors that change nothing are printed after all warnings"),
}

// knownPostfix are the differences from postconf that stay.
var knownPostfix = []reason{
	because(`^[-+]smtpd_forbid_bare_newline = `, "the default is that of Postfix 3.9"),
	because(`^-postconf: warning: unreasonable macro call nesting: `, "one of these warnings is enough"),
	because(`^\+(use_srv_lookup|allow_srv_lookup_fallback|ignore_srv_lookup_error|(smtp|lmtp)_sasl_password_result_delimiter|smtpd_client_ipv[46]_prefix_length|smtpd_reject_filter_maps)( =.*)?$`, "newer than 3.7, and supported"),
	because(`^-postconf: warning: malformed compatibility level syntax: ""`, "the error before it says what is wrong"),
}

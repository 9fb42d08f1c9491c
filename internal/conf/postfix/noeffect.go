package postfix

import "strings"

// noEffect says why a parameter that nothing registered does nothing. Others are
// simply not supported.
var noEffect = map[string]string{
	"alias_database":                 "newaliases is not supported",
	"application_event_drain_time":   "services are not separate processes",
	"berkeley_db_create_buffer_size": "tables are read without Berkeley DB",
	"berkeley_db_read_buffer_size":   "tables are read without Berkeley DB",
	"daemon_timeout":                 "services are not separate processes",
	"debugger_command":               "there are no daemon processes to debug one by one",
	"fork_attempts":                  "services are not separate processes",
	"fork_delay":                     "services are not separate processes",
	"hash_queue_depth":               "the queue is not made of one file for each message",
	"hash_queue_names":               "the queue is not made of one file for each message",
	"info_log_address_format":        "addresses are logged in external form",
	"ipc_idle":                       "services are not separate processes",
	"ipc_timeout":                    "services are not separate processes",
	"ipc_ttl":                        "services are not separate processes",
	"lmdb_map_size":                  "tables are read without liblmdb",
	"max_idle":                       "services are not separate processes",
	"max_use":                        "services are not separate processes",
	"dnsblog_reply_delay":            "it is a test aid",
	"postscreen_expansion_filter":    "footers show the client's address and port, and nothing that it said",
	"postscreen_watchdog_timeout":    "sessions do not wait for each other",
	"default_recipient_limit":        recipientsInMemory,
	"qmgr_daemon_timeout":            "services are not separate processes",
	"qmgr_fudge_factor":              "Postfix does not use it either",
	"qmgr_ipc_timeout":               "services are not separate processes",
	"qmgr_message_recipient_limit":   recipientsInMemory,
	"qmgr_message_recipient_minimum": recipientsInMemory,
	"smtpd_tls_dcert_file":           "crypto/tls has no DSA certificates",
	"smtpd_tls_dkey_file":            "crypto/tls has no DSA certificates",
	"smtpd_tls_dh1024_param_file":    "keys are exchanged over elliptic curves only",
	"smtpd_tls_dh512_param_file":     "keys are exchanged over elliptic curves only",
	"smtpd_tls_eecdh_grade":          "Postfix since 3.6 does not use it either: set tls_eecdh_auto_curves",
	"tls_eecdh_strong_curve":         "Postfix since 3.6 does not use it either: set tls_eecdh_auto_curves",
	"tls_eecdh_ultra_curve":          "Postfix since 3.6 does not use it either: set tls_eecdh_auto_curves",
	"tls_ffdhe_auto_groups":          "keys are exchanged over elliptic curves only",
	"tls_preempt_cipherlist":         "crypto/tls orders ciphers by itself, the strong ones first",
	"trigger_timeout":                "services are not separate processes",
}

// Why what tunes the queue manager of Postfix does nothing here.
const (
	recipientsInMemory = "a message that is delivered is in memory with all its recipients; qmgr_message_active_limit bounds the messages"
	takeTurns          = "messages for a destination take turns, so that small mail never waits for large mail"
)

// noEffectFamilies are the same for names that begin and end in a certain way.
var noEffectFamilies = []struct{ prefix, suffix, why string }{
	{"address_verify_", "", "addresses are not probed"},
	{"tlsproxy_", "", "each service speaks TLS by itself"},
	{"qmqpd_", "", "there is no QMQP server"},
	{"tls_random_", "", "random numbers come from the system"},
	{"tls_daemon_random_", "", "random numbers come from the system"},
	{"proxy_", "_maps", "proxy: tables are opened directly"},
	{"", "_tls_session_cache_database", "TLS sessions are resumed by tickets, which need no file"},
	{"", "_tls_session_cache_timeout", "TLS sessions are resumed by tickets, which need no file"},
	{"", "_tls_connection_reuse", "connections with TLS are kept for further mail as all others are"},
	{"", "_tls_block_early_mail_reply", "what a server says before the TLS handshake is never taken for a reply"},
	{"", "_tls_scert_verifydepth", "chains of certificates are verified whole, as with Postfix"},
	{"", "mtp_tls_dcert_file", "crypto/tls has no DSA certificates"},
	{"", "mtp_tls_dkey_file", "crypto/tls has no DSA certificates"},
	{"", "_tls_enable_rpk", "crypto/tls has no raw public keys"},
	{"", "mtp_sasl_type", "the mechanisms of the client are built in"},
	{"", "mtp_sasl_path", "the mechanisms of the client are built in"},
	{"", "mtp_dns_resolver_options", "names in mail are taken as complete"},
	{"", "mtp_requiretls_policy", "REQUIRETLS is not offered to clients, so no mail asks for it"},
	{"requiretls_", "", "REQUIRETLS is not offered to clients, so no mail asks for it"},
	{"", "_delivery_slot_cost", takeTurns},
	{"", "_delivery_slot_discount", takeTurns},
	{"", "_delivery_slot_loan", takeTurns},
	{"", "_minimum_delivery_slots", takeTurns},
	{"", "_extra_recipient_limit", recipientsInMemory},
	{"", "_recipient_refill_delay", recipientsInMemory},
	{"", "_recipient_refill_limit", recipientsInMemory},
	{"", "_recipient_limit", recipientsInMemory},
	{"", "_service_name", "the services are parts of one process"},
}

// installation are parameters of the installed package: every stock main.cf
// has them, nothing depends on them, and no one wants to read about them.
var installation = []string{
	"html_directory", "manpage_directory", "readme_directory", "sample_directory", "meta_directory",
	"shlib_directory", "daemon_directory", "data_directory", "command_directory", "sendmail_path", "newaliases_path",
	"mailq_path", "openssl_path", "mail_release_date", "mail_version", "debugger_command",
	"multi_instance_wrapper", "multi_instance_name", "multi_instance_group", "multi_instance_enable",
}

func (p *Param) reason() string {
	if why := noEffect[p.Name]; why != "" {
		return why
	}
	if r := refusalOf(p.Name); r != nil && r.asks == nil {
		return "it is not supported"
	}
	for _, f := range noEffectFamilies {
		if strings.HasPrefix(p.Name, f.prefix) && strings.HasSuffix(p.Name, f.suffix) {
			return f.why
		}
	}
	return "it is not supported"
}

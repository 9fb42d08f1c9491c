package dovecot

// noEffect says why a setting that nothing registered does nothing, by its
// name or else by its module.
var noEffect = map[string]string{
	"auth_use_winbind":                    "winbind is not supported",
	"auth_winbind_helper_path":            "winbind is not supported",
	"auth_worker_max_count":               "lookups run in one process",
	"config_cache_size":                   "there is no config process",
	"default_vsz_limit":                   "the sizes of all input are limited one by one",
	"dotlock_use_excl":                    "dotlocks are always created exclusively",
	"import_environment":                  "processes keep TZ and LANG of the environment of dovecot",
	"libexec_dir":                         "all daemons are one program",
	"lmtp_verbose_replies":                "details of failures are in the log",
	"login_plugin_dir":                    "plugins are built in",
	"login_plugins":                       "login plugins cannot be loaded",
	"mail_max_lock_timeout":               "locks are waited for as long as their kind allows",
	"mail_nfs_index":                      "index files are never mapped into memory",
	"mail_plugin_dir":                     "plugins are built in",
	"mail_prefetch_count":                 "the system reads ahead",
	"mailbox_list_index_very_dirty_syncs": "the list index is always checked",
	"maildir_stat_dirs":                   "directories are always recognized by their type",
	"master_user_separator":               "Dovecot does not use it either",
	"mmap_disable":                        "index files are never mapped into memory",
	"pop3_fast_size_lookups":              "sizes are always those that are sent, as RFC 1939 11 has it",
	"shutdown_clients":                    "a reload disconnects no client, a stop disconnects all",
	"ssl_cipher_suites":                   "crypto/tls uses all its suites of TLS 1.3, which are safe",
	"ssl_crypto_device":                   "there are no OpenSSL engines",
	"ssl_dh":                              "keys are exchanged over elliptic curves only",
	"ssl_prefer_server_ciphers":           "crypto/tls orders ciphers by itself",
	"plugin/fts_decoder":                  "attachments that are not text are not searched",
	"plugin/fts_no_autofuzzy":             "only searches that ask for it are fuzzy",
	"plugin/fts_tika":                     "attachments that are not text are not searched",
	"state_dir":                           "nothing is stored there",
	"stats_writer_socket_path":            "there is no stats process",
	"verbose_proctitle":                   "a process serves many sessions",
	"verbose_ssl":                         "why a TLS handshake failed is always logged",
	"version_ignore":                      "all daemons are one program",

	"namespace/mailbox/comment":        "mailboxes have no metadata",
	"service/drop_priv_before_exec":    "processes drop privileges before they serve anyone",
	"service/executable":               "all daemons are one program",
	"service/fifo_listener":            "no service reads from a FIFO",
	"service/fifo_listener/group":      "no service reads from a FIFO",
	"service/fifo_listener/mode":       "no service reads from a FIFO",
	"service/fifo_listener/path":       "no service reads from a FIFO",
	"service/fifo_listener/user":       "no service reads from a FIFO",
	"service/inet_listener/reuse_port": "each port has one process, or one socket that they share",
	"service/privileged_group":         "mail_privileged_group is what counts",
	"service/type":                     "the kinds of processes are fixed",
	"service/vsz_limit":                "the sizes of all input are limited one by one",

	"module:director":     "there is no director",
	"module:imapc":        "the imapc storage is not supported",
	"module:pop3c":        "the pop3c storage is not supported",
	"module:fts":          "the full-text index has all words of all header fields and texts as they are, and finds parts of them",
	"module:fts-lucene":   "the full-text index is built in",
	"module:fts-solr":     "the full-text index is built in, Solr is not asked",
	"module:fts-squat":    "the full-text index is built in",
	"module:old-stats":    "there is no old-stats process",
	"module:imap-urlauth": "URLAUTH is not supported",
	"module:submission":   "the submission service is not supported",
	"module:managesieve":  "ManageSieve is not supported",
}

// noEffectPlugins says why a word of mail_plugins that nothing registered does nothing.
var noEffectPlugins = map[string]string{
	"fts_flatcurve": "the full-text index of the plugin fts is built in",
	"fts_lucene":    "the full-text index of the plugin fts is built in",
	"fts_solr":      "the full-text index of the plugin fts is built in, Solr is not asked",
	"fts_squat":     "the full-text index of the plugin fts is built in",
	"fts_xapian":    "the full-text index of the plugin fts is built in",
	"virtual":       "virtual mailboxes are listed and cannot be opened",
}

func reason(set *Setting) string {
	if why := noEffect[set.Path]; why != "" {
		return why
	}
	for _, m := range set.Modules {
		if why := noEffect["module:"+m]; why != "" {
			return why
		}
	}
	return "it is not supported"
}

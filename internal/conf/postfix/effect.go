package postfix

import (
	"fmt"
	"slices"
	"strings"
)

// noEffect says why a parameter that nothing registered does nothing. Others are
// simply not supported.
var noEffect = map[string]string{
	"hash_queue_depth":               "the queue is not made of one file for each message",
	"hash_queue_names":               "the queue is not made of one file for each message",
	"fork_attempts":                  "services are not separate processes",
	"fork_delay":                     "services are not separate processes",
	"max_idle":                       "services are not separate processes",
	"max_use":                        "services are not separate processes",
	"ipc_idle":                       "services are not separate processes",
	"ipc_timeout":                    "services are not separate processes",
	"ipc_ttl":                        "services are not separate processes",
	"daemon_timeout":                 "services are not separate processes",
	"trigger_timeout":                "services are not separate processes",
	"application_event_drain_time":   "services are not separate processes",
	"berkeley_db_create_buffer_size": "tables are read without Berkeley DB",
	"berkeley_db_read_buffer_size":   "tables are read without Berkeley DB",
	"lmdb_map_size":                  "tables are read without liblmdb",
	"qmgr_clog_warn_time":            "the queue manager does not read ahead",
	"tls_daemon_random_bytes":        "random numbers come from the system",
	"tls_random_bytes":               "random numbers come from the system",
	"tls_random_exchange_name":       "random numbers come from the system",
	"tls_random_prng_update_period":  "random numbers come from the system",
	"tls_random_reseed_period":       "random numbers come from the system",
	"tls_random_source":              "random numbers come from the system",
	"debugger_command":               "there are no daemon processes to debug one by one",
}

// installation are parameters of the installed package: every stock main.cf
// has them, nothing depends on them, and no one wants to read about them.
var installation = []string{
	"html_directory", "manpage_directory", "readme_directory", "sample_directory", "meta_directory",
	"shlib_directory", "daemon_directory", "command_directory", "sendmail_path", "newaliases_path",
	"mailq_path", "openssl_path", "mail_release_date", "mail_version", "debugger_command",
	"multi_instance_wrapper", "multi_instance_name", "multi_instance_group", "multi_instance_enable",
}

// refused are the parameters that restrict what clients may do, inspect mail, or
// protect it on its way. While nothing registered implements them a main.cf that
// sets them must not be served.
var refused = []struct{ name, why string }{
	{"authorized_flush_users", "every user could flush the queue"},
	{"authorized_mailq_users", "every user could list the queue"},
	{"authorized_submit_users", "every user could submit mail"},
	{"body_checks", "mail it would reject would be accepted"},
	{"content_filter", "mail would not pass through the filter"},
	{"disable_vrfy_command", "clients could probe for addresses"},
	{"header_checks", "mail it would reject would be accepted"},
	{"lmtp_tls_policy_maps", "mail could leave unencrypted"},
	{"lmtp_tls_security_level", "mail could leave unencrypted"},
	{"message_reject_characters", "mail it would reject would be accepted"},
	{"mime_header_checks", "mail it would reject would be accepted"},
	{"nested_header_checks", "mail it would reject would be accepted"},
	{"non_smtpd_milters", "mail would not pass through the filter"},
	{"smtp_enforce_tls", "mail could leave unencrypted"},
	{"smtp_sasl_security_options", "passwords could be sent by mechanisms it forbids"},
	{"smtp_tls_enforce_peername", "mail could go to an impostor"},
	{"smtp_tls_per_site", "mail could leave unencrypted"},
	{"smtp_tls_policy_maps", "mail could leave unencrypted"},
	{"smtp_tls_security_level", "mail could leave unencrypted"},
	{"smtpd_client_restrictions", "clients it would refuse would be served"},
	{"smtpd_data_restrictions", "mail it would reject would be accepted"},
	{"smtpd_end_of_data_restrictions", "mail it would reject would be accepted"},
	{"smtpd_enforce_tls", "mail could arrive unencrypted"},
	{"smtpd_etrn_restrictions", "clients it would refuse could flush the queue"},
	{"smtpd_forbidden_commands", "clients it would refuse would be served"},
	{"smtpd_helo_required", "clients it would refuse would be served"},
	{"smtpd_helo_restrictions", "clients it would refuse would be served"},
	{"smtpd_milters", "mail would not pass through the filter"},
	{"smtpd_proxy_filter", "mail would not pass through the filter"},
	{"smtpd_recipient_restrictions", "mail it would reject would be accepted"},
	{"smtpd_relay_restrictions", "mail it would reject would be relayed"},
	{"smtpd_sasl_security_options", "clients could log in by mechanisms it forbids"},
	{"smtpd_sasl_tls_security_options", "clients could log in by mechanisms it forbids"},
	{"smtpd_sender_login_maps", "users could send in the name of others"},
	{"smtpd_sender_restrictions", "mail it would reject would be accepted"},
	{"smtpd_tls_auth_only", "passwords could be sent in the clear"},
	{"smtpd_tls_req_ccert", "clients without certificate would be served"},
	{"smtpd_tls_security_level", "mail could arrive unencrypted"},
	{"strict_rfc821_envelopes", "mail it would reject would be accepted"},
}

// supported reports whether something uses the parameter: by itself, for every
// transport, or as the old name that the default of another has.
func (p *Param) supported() bool {
	if p.Supported || p.Legacy || p.ReadOnly {
		return true
	}
	for _, t := range serviceParams {
		if strings.HasSuffix(p.Name, t.Suffix) && p.Name != t.Default {
			return Lookup(t.Default).Supported
		}
	}
	return false
}

// ineffective calls fn for each parameter of main.cf that is set to something else
// than its default and used by nothing.
func (m *Main) ineffective(fn func(p *Param, e entry)) {
	schema() // knows who uses what
	names := make([]string, 0, len(m.values))
	for name := range m.values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := Lookup(name)
		if p == nil || p.supported() || m.values[name].value == p.Default || slices.Contains(installation, name) {
			continue
		}
		fn(p, m.values[name])
	}
}

// withoutEffect has a warning for each such parameter.
func (m *Main) withoutEffect() []string {
	var warnings []string
	m.ineffective(func(p *Param, _ entry) {
		warnings = append(warnings, fmt.Sprintf("setting %s has no effect: %s", p.Name, p.reason()))
	})
	return warnings
}

func (p *Param) reason() string {
	if why := noEffect[p.Name]; why != "" {
		return why
	}
	return "it is not supported"
}

func (p *Param) refusal() string {
	for _, r := range refused {
		if r.name == p.Name {
			return r.why
		}
	}
	return ""
}

// Refused returns an error for the first parameter that must not be ignored but
// is not supported. The master calls it, with all daemons linked in.
func (m *Main) Refused() error {
	var err error
	m.ineffective(func(p *Param, _ entry) {
		if why := p.refusal(); why != "" && err == nil {
			err = fmt.Errorf("%s: %s is not supported, and without it %s: remove it to start all the same", m.Origin(p.Name), p.Name, why)
		}
	})
	return err
}

// Status says what becomes of a parameter, for the table of what is covered.
type Status string

// What becomes of a parameter that is set.
const (
	Supported Status = "supported"
	NoEffect  Status = "no effect"
	Refused   Status = "refused"
)

// Coverage returns the status of a parameter and, unless it is supported, why.
func (p *Param) Coverage() (Status, string) {
	schema()
	if p.supported() {
		return Supported, ""
	}
	if why := p.refusal(); why != "" {
		return Refused, "without it " + why
	}
	return NoEffect, p.reason()
}

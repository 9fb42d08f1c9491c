package milter

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of milters, which smtpd(8) and cleanup(8) have in common.
type Settings struct {
	ConnectTimeout time.Duration `set:"milter_connect_timeout" default:"30s" unit:"s" min:"1" doc:"limit for connecting to a milter and for the negotiation"`
	CommandTimeout time.Duration `set:"milter_command_timeout" default:"30s" unit:"s" min:"1" doc:"limit for a milter's answer to an SMTP command"`
	ContentTimeout time.Duration `set:"milter_content_timeout" default:"300s" unit:"s" min:"1" doc:"limit for a milter's answer to content and to its end"`
	DefaultAction  string        `set:"milter_default_action" default:"tempfail" nonempty:"yes" doc:"what is done when a milter fails: accept, reject, tempfail, quarantine, shutdown"`
	Protocol       string        `set:"milter_protocol" default:"6" nonempty:"yes" doc:"protocol version that is offered to milters: 2, 3, 4 or 6, and no_header_reply"`
	MacroDefaults  string        `set:"milter_macro_defaults" doc:"name=value pairs for macros that have no value"`
	MacroDaemon    string        `set:"milter_macro_daemon_name" default:"$myhostname" nonempty:"yes" doc:"value of the macro {daemon_name}"`
	MacroV         string        `set:"milter_macro_v" default:"$mail_name $mail_version" nonempty:"yes" doc:"value of the macro v"`
	ConnectMacros  string        `set:"milter_connect_macros" default:"j {daemon_name} {daemon_addr} v _" doc:"macros sent with the connection"`
	HeloMacros     string        `set:"milter_helo_macros" default:"{tls_version} {cipher} {cipher_bits} {cert_subject} {cert_issuer}" doc:"macros sent with HELO"`
	MailMacros     string        `set:"milter_mail_macros" default:"i {auth_type} {auth_authen} {auth_author} {mail_addr} {mail_host} {mail_mailer}" doc:"macros sent with MAIL"`
	RcptMacros     string        `set:"milter_rcpt_macros" default:"i {rcpt_addr} {rcpt_host} {rcpt_mailer}" doc:"macros sent with RCPT"`
	DataMacros     string        `set:"milter_data_macros" default:"i" doc:"macros sent with DATA"`
	EndMacros      string        `set:"milter_end_of_data_macros" default:"i" doc:"macros sent with the body and its end"`
	EOHMacros      string        `set:"milter_end_of_header_macros" default:"i" doc:"macros sent with headers and their end"`
	UnknownMacros  string        `set:"milter_unknown_command_macros" doc:"macros sent with unknown commands"`
}

var (
	_ = postfix.Register("smtpd", Settings{})
	_ = postfix.Register("cleanup", Settings{})
)

// macros are the lists by stage.
func (set *Settings) macros() (m [stages][]string) {
	for s, list := range map[stage]string{
		stageConnect: set.ConnectMacros, stageHelo: set.HeloMacros, stageMail: set.MailMacros, stageRcpt: set.RcptMacros,
		stageData: set.DataMacros, stageEnd: set.EndMacros, stageEOH: set.EOHMacros, stageUnknown: set.UnknownMacros,
	} {
		m[s] = macroNames(list)
	}
	return m
}

package smtpd

import (
	"fmt"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// CheckSettings are the parameters of restrictions that ask others: name servers,
// policy servers, address verification.
type CheckSettings struct {
	RBLReplyMaps           string        `set:"rbl_reply_maps" doc:"per-DNSBL reply templates"`
	DefaultRBLReply        string        `set:"default_rbl_reply" raw:"yes" nonempty:"yes" default:"$rbl_code Service unavailable; $rbl_class [$rbl_what] blocked using $rbl_domain${rbl_reason?; $rbl_reason}" doc:"template for DNSBL rejects"`
	MapsRBLRejectCode      int           `set:"maps_rbl_reject_code" default:"554" doc:"SMTP code for DNSBL rejects"`
	MapsRBLDomains         string        `set:"maps_rbl_domains" doc:"obsolete list for reject_maps_rbl"`
	ExpansionFilter        string        "set:\"smtpd_expansion_filter\" raw:\"yes\" nonempty:\"yes\" default:\"\\\\t\\\\40!\\\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\\\\\\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\" doc:\"characters allowed in reply expansions\""
	CommandFilter          string        `set:"smtpd_command_filter" doc:"table that rewrites client commands"`
	DNSReplyFilter         string        `set:"smtpd_dns_reply_filter" doc:"table of DNS records that are ignored"`
	RejectFilterMaps       string        `set:"smtpd_reject_filter_maps" doc:"tables of refusals, and what takes their place"`
	PermitMXBackupNets     string        `set:"permit_mx_backup_networks" doc:"networks the primary MX must be in for permit_mx_backup"`
	VerifyPollCount        int           `set:"address_verify_poll_count" default:"${stress?{1}:{3}}" min:"1" doc:"how many times a pending probe result is asked for"`
	VerifyPollDelay        time.Duration `set:"address_verify_poll_delay" default:"3s" unit:"s" min:"1" doc:"pause between those questions"`
	ClientIPv4PrefixLength int           `set:"smtpd_client_ipv4_prefix_length" default:"32" max:"32" doc:"IPv4 prefix over which client counters are shared"`
	ClientIPv6PrefixLength int           `set:"smtpd_client_ipv6_prefix_length" default:"84" max:"128" doc:"IPv6 prefix over which client counters are shared"`
	RequestDeadline        bool          `set:"smtpd_per_request_deadline" default:"${smtpd_per_record_deadline?{$smtpd_per_record_deadline}:{${stress?{yes}:{no}}}}" doc:"apply smtpd_timeout to whole requests"`
	MinDataRate            int           `set:"smtpd_min_data_rate" default:"500" min:"1" doc:"bytes per second used to extend request deadlines"`
	Stress                 string        `set:"stress" doc:"\"yes\" while all server ports are busy; set by the server"`

	UnknownAddressTempfailAction      string `set:"unknown_address_tempfail_action" default:"$reject_tempfail_action" nonempty:"yes" doc:"what to do when a sender or recipient domain cannot be looked up now"`
	UnknownHELOTempfailAction         string `set:"unknown_helo_hostname_tempfail_action" default:"$reject_tempfail_action" nonempty:"yes" doc:"what to do when a HELO name cannot be looked up now"`
	UnverifiedRecipientTempfailAction string `set:"unverified_recipient_tempfail_action" default:"$reject_tempfail_action" nonempty:"yes" doc:"what to do when a recipient probe is undecided"`
	UnverifiedSenderTempfailAction    string `set:"unverified_sender_tempfail_action" default:"$reject_tempfail_action" nonempty:"yes" doc:"what to do when a sender probe is undecided"`

	UnverifiedRecipientDeferCode    int    `set:"unverified_recipient_defer_code" default:"450" min:"200" max:"499" doc:"SMTP code while a recipient probe is undecided"`
	UnverifiedRecipientRejectCode   int    `set:"unverified_recipient_reject_code" default:"450" min:"200" max:"599" doc:"SMTP code when a recipient probe bounced"`
	UnverifiedRecipientRejectReason string `set:"unverified_recipient_reject_reason" doc:"text instead of the probe's reason"`
	UnverifiedSenderDeferCode       int    `set:"unverified_sender_defer_code" default:"450" min:"200" max:"499" doc:"SMTP code while a sender probe is undecided"`
	UnverifiedSenderRejectCode      int    `set:"unverified_sender_reject_code" default:"450" min:"200" max:"599" doc:"SMTP code when a sender probe bounced"`
	UnverifiedSenderRejectReason    string `set:"unverified_sender_reject_reason" doc:"text instead of the probe's reason"`
}

// PolicySettings are the defaults for policy servers.
type PolicySettings struct {
	DefaultAction string        `set:"smtpd_policy_service_default_action" default:"451 4.3.5 Server configuration problem" nonempty:"yes" doc:"action when a policy server fails"`
	MaxIdle       time.Duration `set:"smtpd_policy_service_max_idle" default:"300s" unit:"s" min:"1" doc:"idle time of a policy connection"`
	MaxTTL        time.Duration `set:"smtpd_policy_service_max_ttl" default:"1000s" unit:"s" min:"1" doc:"age limit of a policy connection"`
	Context       string        `set:"smtpd_policy_service_policy_context" doc:"text sent as policy_context"`
	RequestLimit  int           `set:"smtpd_policy_service_request_limit" default:"0" doc:"requests per policy connection; 0 is unlimited"`
	RetryDelay    time.Duration `set:"smtpd_policy_service_retry_delay" default:"1s" unit:"s" min:"1" doc:"pause before a retry"`
	Timeout       time.Duration `set:"smtpd_policy_service_timeout" default:"100s" unit:"s" min:"1" doc:"time limit per request"`
	TryLimit      int           `set:"smtpd_policy_service_try_limit" default:"2" min:"1" doc:"tries per request"`
}

var (
	_ = postfix.Register("smtpd", CheckSettings{})
	_ = postfix.Register("smtpd", PolicySettings{})
)

// check refuses words that mean nothing.
func (set *CheckSettings) check() error {
	for _, a := range []struct {
		param, action string
	}{
		{"unknown_helo_hostname_tempfail_action", set.UnknownHELOTempfailAction},
		{"unknown_address_tempfail_action", set.UnknownAddressTempfailAction},
		{"unverified_recipient_tempfail_action", set.UnverifiedRecipientTempfailAction},
		{"unverified_sender_tempfail_action", set.UnverifiedSenderTempfailAction},
	} {
		if a.action != "defer" && a.action != "defer_if_permit" {
			return fmt.Errorf("bad configuration: %s = %s", a.param, a.action)
		}
	}
	return nil
}

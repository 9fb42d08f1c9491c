package lmtp

import "github.com/dovetail-mail/dovetail/internal/conf/dovecot"

// Settings are Dovecot's settings of the LMTP server.
type Settings struct {
	Proxy                bool   `set:"lmtp_proxy" default:"no" doc:"pass mail on to the server that the recipient's passdb entry names"`
	RawlogDir            string `set:"lmtp_rawlog_dir" path:"yes" vars:"yes" doc:"where what goes over connections of clients is written down"`
	ProxyRawlogDir       string `set:"lmtp_proxy_rawlog_dir" path:"yes" vars:"yes" doc:"where what goes over connections to other servers is written down"`
	SaveToDetailMailbox  bool   `set:"lmtp_save_to_detail_mailbox" default:"no" doc:"save user+detail to the mailbox detail"`
	AddReceivedHeader    bool   `set:"lmtp_add_received_header" default:"yes" doc:"add a Received: header to delivered messages"`
	UserConcurrencyLimit uint32 `set:"lmtp_user_concurrency_limit" default:"0" doc:"deliveries to one user at a time; 0 for no limit"`
	HdrDeliveryAddress   string `set:"lmtp_hdr_delivery_address" default:"final" enum:"final|none|original" doc:"address written to the Delivered-To: header"`
	ClientWorkarounds    string `set:"lmtp_client_workarounds" doc:"flags whitespace-before-path, mailbox-for-path"`
	Greeting             string `set:"login_greeting" default:"Dovecot ready." vars:"yes" doc:"greeting of the login services and LMTP"`
	TrustedNetworks      string `set:"login_trusted_networks" doc:"clients from here count as secured and may send forwarded address information"`
	RecipientDelimiter   string `set:"recipient_delimiter" default:"+" doc:"characters that separate user and detail in an address"`
	DeliverLogFormat     string `set:"deliver_log_format" default:"msgid=%m: %$" doc:"layout of the log line of a delivery"`
	Hostname             string `set:"hostname" doc:"host name used in Received, Message-ID and reports; empty for the system's"`
	TempDir              string `set:"mail_temp_dir" default:"/tmp" path:"yes" vars:"yes" doc:"directory of temporary files"`
	LDAMailboxAutocreate bool   `set:"lda_mailbox_autocreate" default:"no" doc:"create the mailbox a message is delivered to when it is missing"`
	LDAMailboxAutosub    bool   `set:"lda_mailbox_autosubscribe" default:"no" doc:"subscribe to mailboxes created that way"`
	RcptCheckQuota       bool   `set:"lmtp_rcpt_check_quota" default:"no" doc:"refuse recipients who are over quota already"`
	QuotaFullTempfail    bool   `set:"quota_full_tempfail" default:"no" doc:"answer over-quota deliveries with a temporary failure"`
}

var _ = dovecot.Register("lmtp", Settings{})

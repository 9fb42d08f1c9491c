package cleanup

import "github.com/dovetail-mail/dovetail/internal/conf/postfix"

// Settings are the parameters of cleanup(8), besides the core ones.
type Settings struct {
	HeaderSizeLimit         int    `set:"header_size_limit" default:"102400" min:"1" doc:"bytes kept of one header"`
	AddressTokenLimit       int    `set:"header_address_token_limit" default:"10240" min:"1" doc:"tokens of an address header that are rewritten"`
	LineLengthLimit         int    `set:"line_length_limit" default:"2048" min:"512" doc:"longest piece of a line that is looked at at once"`
	HopcountLimit           int    `set:"hopcount_limit" default:"50" min:"1" doc:"Received headers allowed before mail is taken to loop"`
	AddMissingHeaders       bool   `set:"always_add_missing_headers" default:"no" doc:"add From, Date and Message-Id to mail from remote clients too"`
	DropHeaders             string `set:"message_drop_headers" default:"bcc, content-length, resent-bcc, return-path" doc:"headers removed from every message"`
	UndisclosedHeader       string `set:"undisclosed_recipients_header" doc:"header added when there is no recipient header"`
	HeaderFromFormat        string `set:"header_from_format" default:"standard" nonempty:"yes" doc:"form of a From header that is added: standard or obsolete"`
	ReplaceStrayCRLF        bool   `set:"cleanup_replace_stray_cr_lf" default:"yes" doc:"turn a carriage return inside a line into a blank"`
	Detect8BitEncoding      bool   `set:"detect_8bit_encoding_header" default:"yes" doc:"take a message for 8-bit where Content-Transfer-Encoding says so"`
	OriginalRecipient       bool   `set:"enable_original_recipient" default:"yes" doc:"remember the recipient before rewriting"`
	DuplicateFilterLimit    int    `set:"duplicate_filter_limit" default:"1000" min:"0" doc:"recipients that are remembered to find those that are there twice"`
	EmptyRecipient          string `set:"empty_address_recipient" default:"MAILER-DAEMON" nonempty:"yes" doc:"who gets mail for the null address"`
	AliasMaps               string `set:"virtual_alias_maps" default:"$virtual_maps" doc:"tables that map addresses to other addresses"`
	AliasExpansionLimit     int    `set:"virtual_alias_expansion_limit" default:"1000" min:"1" doc:"recipients that one original recipient may become"`
	AliasRecursionLimit     int    `set:"virtual_alias_recursion_limit" default:"1000" min:"1" doc:"nesting of virtual aliases"`
	AliasAddressLengthLimit int    `set:"virtual_alias_address_length_limit" default:"1000" min:"1" doc:"longest address that an alias may become"`

	CanonicalMaps             string `set:"canonical_maps" doc:"tables that rewrite addresses in envelope and header"`
	CanonicalClasses          string `set:"canonical_classes" default:"envelope_sender, envelope_recipient, header_sender, header_recipient" nonempty:"yes" doc:"what canonical_maps rewrite"`
	SenderCanonicalMaps       string `set:"sender_canonical_maps" doc:"tables that rewrite sender addresses"`
	SenderCanonicalClasses    string `set:"sender_canonical_classes" default:"envelope_sender, header_sender" nonempty:"yes" doc:"what sender_canonical_maps rewrite"`
	RecipientCanonicalMaps    string `set:"recipient_canonical_maps" doc:"tables that rewrite recipient addresses"`
	RecipientCanonicalClasses string `set:"recipient_canonical_classes" default:"envelope_recipient, header_recipient" nonempty:"yes" doc:"what recipient_canonical_maps rewrite"`
	MasqueradeDomains         string `set:"masquerade_domains" doc:"domains whose hosts do not show in addresses"`
	MasqueradeClasses         string `set:"masquerade_classes" default:"envelope_sender, header_sender, header_recipient" doc:"which addresses are masqueraded"`
	MasqueradeExceptions      string `set:"masquerade_exceptions" doc:"users whose addresses are not masqueraded"`

	AlwaysBCC        string `set:"always_bcc" doc:"an address that gets a copy of everything"`
	SenderBCCMaps    string `set:"sender_bcc_maps" doc:"addresses that get copies, by sender"`
	RecipientBCCMaps string `set:"recipient_bcc_maps" doc:"addresses that get copies, by recipient"`

	HeaderChecks           string `set:"header_checks" doc:"tables that headers are looked up in"`
	MIMEHeaderChecks       string `set:"mime_header_checks" default:"$header_checks" doc:"tables that MIME headers are looked up in"`
	NestedHeaderChecks     string `set:"nested_header_checks" default:"$header_checks" doc:"tables that headers of messages inside the message are looked up in"`
	BodyChecks             string `set:"body_checks" doc:"tables that body lines are looked up in"`
	BodyChecksSizeLimit    int64  `set:"body_checks_size_limit" default:"51200" min:"0" doc:"bytes of each body part that body_checks see"`
	InternalFilterClasses  string `set:"internal_mail_filter_classes" doc:"mail made by the system that is checked all the same: bounce, notify"`
	MessageRejectChars     string `set:"message_reject_characters" doc:"characters that content must not have, with C escapes"`
	MessageStripChars      string `set:"message_strip_characters" doc:"characters that are removed from content, with C escapes"`
	DisableMIMEInput       bool   `set:"disable_mime_input_processing" default:"no" doc:"take all after the header for body"`
	MIMENestingLimit       int    `set:"mime_nesting_limit" default:"100" min:"1" doc:"nesting of multiparts that is looked into"`
	MIMEBoundaryLimit      int    `set:"mime_boundary_length_limit" default:"2048" min:"1" doc:"characters of a boundary that count"`
	Strict7BitHeaders      bool   `set:"strict_7bit_headers" default:"no" doc:"refuse headers with bytes beyond ASCII"`
	Strict8BitMIME         bool   `set:"strict_8bitmime" default:"no" doc:"strict_7bit_headers and strict_8bitmime_body"`
	Strict8BitMIMEBody     bool   `set:"strict_8bitmime_body" default:"no" doc:"refuse bodies with bytes beyond ASCII that are not declared"`
	StrictEncodingDomain   bool   `set:"strict_mime_encoding_domain" default:"no" doc:"refuse encodings of multipart and message types that hide headers"`
	SMTPUTF8AutodetectFrom string `set:"smtputf8_autodetect_classes" default:"sendmail, verify" nonempty:"yes" doc:"mail that becomes SMTPUTF8 when it has UTF-8 in headers or addresses"`
}

var _ = postfix.Register("cleanup", Settings{})

// ClientSettings are those of the programs that give mail to cleanup(8).
type ClientSettings struct {
	Service string `set:"cleanup_service_name" default:"cleanup" nonempty:"yes" doc:"service of master.cf that completes mail before it is queued"`
}

var _ = postfix.Register("smtpd", ClientSettings{})

package cleanup

import "github.com/dovetail-mail/dovetail/internal/conf/postfix"

// Settings are the parameters of cleanup(8), besides the core ones.
type Settings struct {
	HeaderSizeLimit         int    `set:"header_size_limit" default:"102400" min:"1" doc:"bytes kept of one header"`
	AddressTokenLimit       int    `set:"header_address_token_limit" default:"10240" min:"1" doc:"tokens of an address header that are rewritten"`
	HopcountLimit           int    `set:"hopcount_limit" default:"50" min:"1" doc:"Received headers allowed before mail is taken to loop"`
	AddMissingHeaders       bool   `set:"always_add_missing_headers" default:"no" doc:"add From, Date and Message-Id to mail from remote clients too"`
	DropHeaders             string `set:"message_drop_headers" default:"bcc, content-length, resent-bcc, return-path" doc:"headers removed from every message"`
	UndisclosedHeader       string `set:"undisclosed_recipients_header" doc:"header added when there is no recipient header"`
	HeaderFromFormat        string `set:"header_from_format" default:"standard" nonempty:"yes" doc:"form of a From header that is added: standard or obsolete"`
	ReplaceStrayCRLF        bool   `set:"cleanup_replace_stray_cr_lf" default:"yes" doc:"turn a carriage return inside a line into a blank"`
	OriginalRecipient       bool   `set:"enable_original_recipient" default:"yes" doc:"remember the recipient before rewriting"`
	AliasExpansionLimit     int    `set:"virtual_alias_expansion_limit" default:"1000" min:"1" doc:"recipients that one original recipient may become"`
	AliasRecursionLimit     int    `set:"virtual_alias_recursion_limit" default:"1000" min:"1" doc:"nesting of virtual aliases"`
	AliasAddressLengthLimit int    `set:"virtual_alias_address_length_limit" default:"1000" min:"1" doc:"longest address that an alias may become"`
}

var _ = postfix.Register("cleanup", Settings{})

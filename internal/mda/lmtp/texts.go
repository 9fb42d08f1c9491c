package lmtp

import "github.com/dovetail-mail/dovetail/internal/smtp"

// Replies that do not depend on anything. The texts are Dovecot's.
var (
	replyOK                = smtp.Reply{Code: 250, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "OK"}
	replySender            = smtp.Reply{Code: 250, Enhanced: smtp.Enhanced{2, 1, 0}, Text: "OK"}
	replyRecipient         = smtp.Reply{Code: 250, Enhanced: smtp.Enhanced{2, 1, 5}, Text: "OK"}
	replyData              = smtp.Reply{Code: 354, Text: "OK"}
	replyBye               = smtp.Reply{Code: 221, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "Bye"}
	replyVrfy              = smtp.Reply{Code: 252, Enhanced: smtp.Enhanced{2, 3, 3}, Text: "Try RCPT instead"}
	replyTLS               = smtp.Reply{Code: 220, Enhanced: smtp.Enhanced{2, 0, 0}, Text: "Begin TLS negotiation now."}
	replyTLSActive         = smtp.Reply{Code: 502, Enhanced: smtp.Enhanced{5, 5, 1}, Text: "TLS is already active."}
	replyUnknown           = smtp.Reply{Code: 500, Enhanced: smtp.Enhanced{5, 5, 1}, Text: "Unknown command"}
	replySyntax            = smtp.Reply{Code: 500, Enhanced: smtp.Enhanced{5, 5, 2}, Text: "Invalid command syntax"}
	replyLineTooLong       = smtp.Reply{Code: 500, Enhanced: smtp.Enhanced{5, 5, 2}, Text: "Line too long"}
	replyParams            = smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid parameters"}
	replyNoHost            = smtp.Reply{Code: 501, Text: "Missing hostname"}
	replyNeedMail          = smtp.Reply{Code: 503, Enhanced: smtp.Enhanced{5, 5, 0}, Text: "MAIL needed first"}
	replySecondMail        = smtp.Reply{Code: 503, Enhanced: smtp.Enhanced{5, 5, 0}, Text: "MAIL already given"}
	replyNoRcpt            = smtp.Reply{Code: 503, Enhanced: smtp.Enhanced{5, 5, 0}, Text: "No valid recipients"}
	replyUnsupported       = smtp.Reply{Code: 555, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Unsupported parameters"}
	replyBody              = smtp.Reply{Code: 555, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Unsupported mail BODY type"}
	replyChunkSize         = smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid chunk size parameter"}
	replyChunkMarker       = smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid end marker parameter"}
	replyForwardNotTrusted = smtp.Reply{Code: 550, Enhanced: smtp.Enhanced{5, 7, 14}, Text: "Unacceptable XRCPTFORWARD= parameter: You are not from trusted IP"}
	replyNotTrusted        = smtp.Reply{Code: 550, Enhanced: smtp.Enhanced{5, 7, 14}, Text: "You are not from trusted IP"}
	replyForward           = smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid XRCPTFORWARD= parameter"}
	replyForwardNUL        = smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid XRCPTFORWARD= parameter: Encountered NUL character in xtext"}
	replyParamValue        = smtp.Reply{Code: 501, Enhanced: smtp.Enhanced{5, 5, 4}, Text: "Invalid RCPT parameter: Unexpected character in parameter value"}
	replyManyRcpts         = smtp.Reply{Code: 452, Enhanced: smtp.Enhanced{4, 5, 3}, Text: "Too many recipients"}
	replyInternal          = smtp.Reply{Code: 451, Enhanced: smtp.Enhanced{4, 3, 0}, Text: "Temporary internal error"}
)

// What the log says of how a session ended.
const (
	endLogout   = "Logged out"
	endClosed   = "Connection closed"
	endBad      = "Too many invalid commands."
	endIdle     = "Disconnected for inactivity"
	endShutdown = "Server shutting down"
	endTLS      = "TLS negotiation failed"
)

// noSpace is Dovecot's text for a full disk. Dovecot answers it as over quota,
// with 552, after which the MTA bounces the message.
const noSpace = "Not enough disk space"

const savedTo, saveFailed = "saved mail to ", "save failed to "

package smtpd

import "github.com/dovetail-mail/dovetail/internal/smtp"

func reply(code int, e smtp.Enhanced, text string) smtp.Reply {
	return smtp.Reply{Code: code, Enhanced: e, Text: text}
}

// What Postfix answers, in its words. A reply whose text begins with a host
// name or holds an address is made where it is needed.
var (
	replyOK       = reply(250, smtp.Enhanced{2, 0, 0}, "Ok")
	replyMailOK   = reply(250, smtp.Enhanced{2, 1, 0}, "Ok")
	replyRcptOK   = reply(250, smtp.Enhanced{2, 1, 5}, "Ok")
	replyBye      = reply(221, smtp.Enhanced{2, 0, 0}, "Bye")
	replyData     = reply(354, smtp.Enhanced{}, "End data with <CR><LF>.<CR><LF>")
	replyNotSMTP  = reply(221, smtp.Enhanced{2, 7, 0}, "Error: I can break rules, too. Goodbye.")
	replyStartTLS = reply(220, smtp.Enhanced{2, 0, 0}, "Ready to start TLS")
	replyAuthOK   = reply(235, smtp.Enhanced{2, 7, 0}, "Authentication successful")

	replyBadUTF8      = reply(500, smtp.Enhanced{5, 5, 2}, "Error: bad UTF-8 syntax")
	replyBadSyntax    = reply(500, smtp.Enhanced{5, 5, 2}, "Error: bad syntax")
	replyUnknown      = reply(500, smtp.Enhanced{5, 5, 2}, "Error: command not recognized")
	replyNotImpl      = reply(502, smtp.Enhanced{5, 5, 1}, "Error: command not implemented")
	replyNotImplClose = reply(521, smtp.Enhanced{5, 5, 1}, "Error: command not implemented")
	replyMustTLS      = reply(530, smtp.Enhanced{5, 7, 0}, "Must issue a STARTTLS command first")
	replySync         = reply(554, smtp.Enhanced{5, 5, 0}, "Error: SMTP protocol synchronization")
	replyHELOFirst    = reply(503, smtp.Enhanced{5, 5, 1}, "Error: send HELO/EHLO first")

	replySyntaxHELO = reply(501, smtp.Enhanced{}, "Syntax: HELO hostname")
	replySyntaxEHLO = reply(501, smtp.Enhanced{}, "Syntax: EHLO hostname")
	replySyntaxMail = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: MAIL FROM:<address>")
	replySyntaxRcpt = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: RCPT TO:<address>")
	replySyntaxData = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: DATA")
	replySyntaxRset = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: RSET")
	replySyntaxVrfy = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: VRFY address")
	replySyntaxUTF8 = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: VRFY address [SMTPUTF8]")
	replySyntaxBDAT = reply(521, smtp.Enhanced{5, 5, 4}, "Syntax: BDAT count [LAST]")
	replySyntaxTLS  = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: STARTTLS")
	replySyntaxAuth = reply(501, smtp.Enhanced{5, 5, 4}, "Syntax: AUTH mechanism")

	replyNestedMail    = reply(503, smtp.Enhanced{5, 5, 1}, "Error: nested MAIL command")
	replyMailAfterBDAT = reply(503, smtp.Enhanced{5, 5, 1}, "Error: MAIL after BDAT")
	replyRcptAfterBDAT = reply(503, smtp.Enhanced{5, 5, 1}, "Error: RCPT after BDAT")
	replyDataAfterBDAT = reply(503, smtp.Enhanced{5, 5, 1}, "Error: DATA after BDAT")
	replyNeedMail      = reply(503, smtp.Enhanced{5, 5, 1}, "Error: need MAIL command")
	replyNeedRcpt      = reply(503, smtp.Enhanced{5, 5, 1}, "Error: need RCPT command")
	replyNoRcpt        = reply(554, smtp.Enhanced{5, 5, 1}, "Error: no valid recipients")
	replyInMail        = reply(503, smtp.Enhanced{5, 5, 1}, "Error: MAIL transaction in progress")

	replyBadSender    = reply(501, smtp.Enhanced{5, 1, 7}, "Bad sender address syntax")
	replyBadRecipient = reply(501, smtp.Enhanced{5, 1, 3}, "Bad recipient address syntax")
	replyBadSize      = reply(501, smtp.Enhanced{5, 5, 4}, "Bad message size syntax")
	replyBadRet       = reply(501, smtp.Enhanced{5, 5, 4}, "Bad RET parameter syntax")
	replyBadEnvID     = reply(501, smtp.Enhanced{5, 5, 4}, "Bad ENVID parameter syntax")
	replyBadNotify    = reply(501, smtp.Enhanced{5, 5, 4}, "Error: Bad NOTIFY parameter syntax")
	replyBadORcpt     = reply(501, smtp.Enhanced{5, 5, 4}, "Error: Bad ORCPT parameter syntax")
	replyTwoAuth      = reply(503, smtp.Enhanced{5, 5, 4}, "Error: multiple AUTH= options")
	replyNoDSN        = reply(501, smtp.Enhanced{5, 7, 1}, "DSN support is disabled")
	replyBadXVERP     = reply(501, smtp.Enhanced{5, 5, 4}, "Error: XVERP needs two characters from -=+")
	replyNullXVERP    = reply(503, smtp.Enhanced{5, 5, 4}, "Error: XVERP requires non-null sender")
	replyUTF8         = reply(553, smtp.Enhanced{5, 6, 7}, "Must declare SMTPUTF8 to send unicode address")

	replySizeLimit  = reply(552, smtp.Enhanced{5, 3, 4}, "Message size exceeds fixed limit")
	replyChunkLimit = reply(552, smtp.Enhanced{5, 3, 4}, "Chunk exceeds message size limit")
	replyTooBig     = reply(552, smtp.Enhanced{5, 3, 4}, "Error: message file too big")
	replyNullBDAT   = reply(551, smtp.Enhanced{5, 7, 1}, "Null BDAT request")
	replyNoSpace    = reply(452, smtp.Enhanced{4, 3, 1}, "Insufficient system storage")
	replyManyRcpt   = reply(452, smtp.Enhanced{4, 5, 3}, "Error: too many recipients")
	replyInternal   = reply(451, smtp.Enhanced{4, 3, 0}, "Error: internal error")

	replyNoVrfy = reply(502, smtp.Enhanced{5, 5, 1}, "VRFY command is disabled")

	replyETRNHELO    = reply(503, smtp.Enhanced{}, "Error: send HELO/EHLO first")
	replyETRNMail    = reply(503, smtp.Enhanced{}, "Error: MAIL transaction in progress")
	replySyntaxETRN  = reply(500, smtp.Enhanced{}, "Syntax: ETRN domain")
	replyETRN        = reply(250, smtp.Enhanced{}, "Queuing started")
	replyNotQueued   = reply(458, smtp.Enhanced{}, "Unable to queue messages")
	replyBadETRN     = reply(501, smtp.Enhanced{}, "Error: invalid parameter syntax")
	replyTLSActive   = reply(554, smtp.Enhanced{5, 5, 1}, "Error: TLS already active")
	replyNoAuth      = reply(503, smtp.Enhanced{5, 5, 1}, "Error: authentication not enabled")
	replyAuthed      = reply(503, smtp.Enhanced{5, 5, 1}, "Error: already authenticated")
	replyAuthAborted = reply(501, smtp.Enhanced{5, 7, 0}, "Authentication aborted")
	replyAuthLimit   = reply(500, smtp.Enhanced{5, 5, 6}, "SASL response limit exceeded")

	replyRewriteLookup = reply(451, smtp.Enhanced{4, 3, 0}, "Temporary lookup error")
	replyFilterTrouble = reply(451, smtp.Enhanced{4, 3, 0}, "Error: queue file write error")

	replyConfig = reply(451, smtp.Enhanced{4, 3, 5}, "Server configuration error")
)

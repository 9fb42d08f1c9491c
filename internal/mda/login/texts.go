package login

import "time"

// What clients read. The texts are Dovecot's; clients and their test suites
// look for some of them.
const (
	textAuthFailed     = "Authentication failed."
	textAborted        = "Authentication aborted by client."
	textBadBase64      = "Invalid base64 in response"
	textBadInitial     = "Invalid base64 data in initial response"
	textMechanism      = "Unsupported authentication mechanism."
	textPlainOff       = "Plaintext authentication disallowed on non-secure (SSL/TLS) connections."
	textPlainMechOff   = "Plaintext authentication disabled."
	textTLSRequired    = "Authentication not allowed until SSL/TLS is enabled."
	textPlainWarning   = "Plaintext authentication not allowed without SSL/TLS, but your client did it anyway. If anyone was listening, the password was exposed."
	textNologin        = "Login disabled for this user"
	textAuthz          = "Authorization failed"
	textBadCert        = "Unable to validate certificate"
	textReferral       = "Try this server instead."
	textTempFail       = "Temporary authentication failure."
	textInternal       = "Internal error occurred. Refer to server log for more information."
	textInternalLogin  = "Internal login failure. Refer to server log for more information."
	textInputFull      = "Input buffer full, aborting"
	textIdle           = "Disconnected for inactivity."
	textIdleAuth       = "Disconnected for inactivity during authentication."
	textShutdown       = "Server shutting down."
	textQueueFull      = "Connection queue full"
	textProxyFailed    = "Account is temporarily unavailable."
	textTimeoutLogin   = "Timeout while finishing login."
	textTLSBegin       = "Begin TLS negotiation now."
	textTLSActive      = "TLS is already active."
	textTLSOff         = "TLS support isn't enabled."
	textBadIMAP        = "Error in IMAP command received by server."
	textTooManyBadIMAP = "Too many invalid IMAP commands."
	textTooManyBadPOP3 = "Too many invalid bad commands."
)

// Causes of a disconnect, as log lines have them after "Disconnected: ".
const (
	causeClosed      = "Connection closed"
	causeLogout      = "Aborted login by logging out"
	causeBad         = "Too many invalid commands"
	causeBadPOP3     = "Disconnected: Too many bad commands"
	causeInputFull   = "Input buffer full"
	causeSASLFull    = "Authentication response too large"
	causeLiteral     = "Literal size too large"
	causeIdle        = "Inactivity"
	causeIdleAuth    = "Inactivity during authentication"
	causeShutdown    = "Shutting down"
	causeQueueFull   = "Connection queue full"
	causeTLSInit     = "TLS initialization failed."
	causePlainLogged = "Login failed: Plaintext authentication disabled"
)

// tempFailText is the text of temporary failures, by which an administrator
// finds the log lines: "Temporary authentication failure. [mail:2026-11-22 10:37:46]".
func (s *Server) tempFailText() string {
	return textTempFail + " [" + s.host + ":" + time.Now().Format(time.DateTime) + "]"
}

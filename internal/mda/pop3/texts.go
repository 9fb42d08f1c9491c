package pop3

// Replies without variable parts. The texts are Dovecot's.
const (
	okLoggedIn   = "+OK Logged in.\r\n"
	okPlain      = "+OK\r\n"
	okMarked     = "+OK Marked to be deleted.\r\n"
	okBye        = "+OK Logging out.\r\n"
	okByeDeleted = "+OK Logging out, messages deleted.\r\n"
	okCapa       = "+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n.\r\n"

	errDeleted  = "-ERR Message is deleted.\r\n"
	errTooLong  = "-ERR Input line too long.\r\n"
	errTooBad   = "-ERR Too many bad commands.\r\n"
	errIdle     = "-ERR Disconnected for inactivity.\r\n"
	errShutdown = "-ERR [SYS/TEMP] Server shutting down.\r\n"
	errLocked   = "-ERR [IN-USE] Mailbox is locked by another POP3 session.\r\n"
	errNoLock   = "-ERR [SYS/TEMP] Failed to create POP3 session lock.\r\n"
)

const textInternal = "Internal error occurred. Refer to server log for more information."

// Why a session ended, for the log.
const (
	endLogout   = "Logged out"
	endClosed   = "Connection closed"
	endTooBad   = "Too many bad commands."
	endTooLong  = "Input line too long"
	endIdle     = "Inactivity - no input for 600 secs"
	endShutdown = "Server shutting down."
	endLocked   = "Couldn't lock POP3 session"
	endInbox    = "Couldn't open INBOX"
	endStorage  = "Storage error during logout."
	endWrite    = "Connection closed"
	endUIDL     = "POP3 UIDLs couldn't be listed"
)

package pop3

import "github.com/dovetail-mail/dovetail/internal/conf/dovecot"

// Settings are Dovecot's settings of POP3 sessions.
type Settings struct {
	NoFlagUpdates     bool   `set:"pop3_no_flag_updates" default:"no" doc:"do not mark retrieved messages as seen"`
	EnableLast        bool   `set:"pop3_enable_last" default:"no" doc:"support the LAST command"`
	LockSession       bool   `set:"pop3_lock_session" default:"no" doc:"lock the mailbox for the session"`
	ClientWorkarounds string `set:"pop3_client_workarounds" doc:"flags outlook-no-nuls, oe-ns-eoh"`
	LogoutFormat      string `set:"pop3_logout_format" default:"top=%t/%p, retr=%r/%b, del=%d/%m, size=%s" doc:"statistics at the end of the session log line"`
	UIDLFormat        string `set:"pop3_uidl_format" default:"%08Xu%08Xv" doc:"template of UIDLs"`
	UIDLDuplicates    string `set:"pop3_uidl_duplicates" default:"allow" enum:"allow|rename" doc:"allow duplicate UIDLs or rename them"`
	ReuseXUIDL        bool   `set:"pop3_reuse_xuidl" default:"no" doc:"use X-UIDL: headers as UIDLs"`
	SaveUIDL          bool   `set:"pop3_save_uidl" default:"no" doc:"keep UIDLs that were shown (Maildir)"`
	DeleteType        string `set:"pop3_delete_type" default:"default" enum:"default|expunge|flag" doc:"expunge or only flag deleted messages"`
	DeletedFlag       string `set:"pop3_deleted_flag" doc:"keyword that marks messages deleted by POP3 when pop3_delete_type=flag"`
}

var _ = dovecot.Register("pop3", Settings{})

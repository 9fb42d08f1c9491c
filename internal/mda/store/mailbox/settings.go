package mailbox

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Settings are those of Dovecot's that decide how a mailbox is stored.
type Settings struct {
	Fsync            string        `set:"mail_fsync" default:"optimized" enum:"optimized|never|always" doc:"when changes are flushed to disk"`
	LockMethod       string        `set:"lock_method" default:"fcntl" enum:"fcntl|flock|dotlock" doc:"locking of index files"`
	MaxLockTimeout   time.Duration `set:"mail_max_lock_timeout" default:"0" doc:"upper limit of all lock waits; 0 for the built-in ones"`
	TempScanInterval time.Duration `set:"mail_temp_scan_interval" default:"1 weeks" doc:"how often stale temporary files are looked for"`

	RewriteMin   dovecot.Size  `set:"mail_index_rewrite_min_log_bytes" default:"8 k" hidden:"yes" doc:"never rewrite dovecot.index for less log"`
	RewriteMax   dovecot.Size  `set:"mail_index_rewrite_max_log_bytes" default:"128 k" hidden:"yes" doc:"rewrite dovecot.index after this much log"`
	RotateMin    dovecot.Size  `set:"mail_index_log_rotate_min_size" default:"32 k" hidden:"yes" doc:"never rotate smaller transaction logs"`
	RotateMax    dovecot.Size  `set:"mail_index_log_rotate_max_size" default:"1 M" hidden:"yes" doc:"always rotate the transaction log at this size"`
	RotateMinAge time.Duration `set:"mail_index_log_rotate_min_age" default:"5 mins" hidden:"yes" doc:"rotate between minimum and maximum size only from this age"`
	Log2MaxAge   time.Duration `set:"mail_index_log2_max_age" default:"2 days" hidden:"yes" doc:"remove dovecot.index.log.2 after this time"`
}

var _ = dovecot.Register("mail", Settings{})

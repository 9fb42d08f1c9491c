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

	MdboxRotateSize     dovecot.Size  `set:"mdbox_rotate_size" default:"10 M" doc:"begin a new mdbox file when one is larger"`
	MdboxRotateInterval time.Duration `set:"mdbox_rotate_interval" default:"0" doc:"begin a new mdbox file when one is older; 0 for never"`
	MdboxPreallocate    bool          `set:"mdbox_preallocate_space" default:"no" doc:"reserve mdbox_rotate_size for a new mdbox file at once"`

	MaildirCopyHardlinks  bool `set:"maildir_copy_with_hardlinks" default:"yes" doc:"copy messages between Maildirs by hard links"`
	MaildirVeryDirtySyncs bool `set:"maildir_very_dirty_syncs" default:"no" doc:"do not look for changes that other programs make in cur/"`
	MaildirBrokenSizes    bool `set:"maildir_broken_filename_sizes" default:"no" doc:"do not trust the sizes in Maildir file names"`
	MaildirEmptyNew       bool `set:"maildir_empty_new" default:"no" doc:"move messages from new/ to cur/ as soon as they are seen there"`

	RewriteMin   dovecot.Size  `set:"mail_index_rewrite_min_log_bytes" default:"8 k" hidden:"yes" doc:"never rewrite dovecot.index for less log"`
	RewriteMax   dovecot.Size  `set:"mail_index_rewrite_max_log_bytes" default:"128 k" hidden:"yes" doc:"rewrite dovecot.index after this much log"`
	RotateMin    dovecot.Size  `set:"mail_index_log_rotate_min_size" default:"32 k" hidden:"yes" doc:"never rotate smaller transaction logs"`
	RotateMax    dovecot.Size  `set:"mail_index_log_rotate_max_size" default:"1 M" hidden:"yes" doc:"always rotate the transaction log at this size"`
	RotateMinAge time.Duration `set:"mail_index_log_rotate_min_age" default:"5 mins" hidden:"yes" doc:"rotate between minimum and maximum size only from this age"`
	Log2MaxAge   time.Duration `set:"mail_index_log2_max_age" default:"2 days" hidden:"yes" doc:"remove dovecot.index.log.2 after this time"`
}

var _ = dovecot.Register("mail", Settings{})

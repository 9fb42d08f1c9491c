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

	Plugins   string `set:"mail_plugins" doc:"plugins of mail processes"`
	ZlibSave  string `set:"plugin/zlib_save" doc:"how the zlib plugin compresses new messages; empty for not at all"`
	ZlibLevel string `set:"plugin/zlib_save_level" doc:"how hard it tries"`
	TempDir   string `set:"mail_temp_dir" default:"/tmp" path:"yes" vars:"yes" doc:"directory of temporary files"`

	AttachmentDir     string       `set:"mail_attachment_dir" vars:"yes" doc:"directory of large attachments that sdbox and mdbox store outside of the mail files; empty for none"`
	AttachmentFS      string       `set:"mail_attachment_fs" default:"sis posix" vars:"yes" doc:"how they are stored: posix, or sis posix to have equal ones once"`
	AttachmentHash    string       `set:"mail_attachment_hash" default:"%{sha1}" doc:"how their file names begin"`
	AttachmentMinSize dovecot.Size `set:"mail_attachment_min_size" default:"128 k" doc:"smaller ones stay in the mail file"`

	MboxReadLocks      string        `set:"mbox_read_locks" default:"fcntl" doc:"lock methods for reading an mbox"`
	MboxWriteLocks     string        `set:"mbox_write_locks" default:"dotlock fcntl" doc:"lock methods for writing to an mbox, in order"`
	MboxLockTimeout    time.Duration `set:"mbox_lock_timeout" default:"5 mins" doc:"longest wait for the locks of an mbox"`
	MboxDotlockTimeout time.Duration `set:"mbox_dotlock_change_timeout" default:"2 mins" doc:"override a dotlock when neither it nor the mbox has changed for this time"`
	MboxMinIndexSize   dovecot.Size  `set:"mbox_min_index_size" default:"0" doc:"keep no index files for smaller mboxes"`
	MboxDirtySyncs     bool          `set:"mbox_dirty_syncs" default:"yes" doc:"read only what is new in an mbox that has grown"`
	MboxVeryDirtySyncs bool          `set:"mbox_very_dirty_syncs" default:"no" doc:"do so also when a client opens the mailbox"`
	MboxLazyWrites     bool          `set:"mbox_lazy_writes" default:"yes" doc:"write flags into an mbox when it is closed"`
	MboxMD5            string        `set:"mbox_md5" default:"apop3d" enum:"apop3d|all" doc:"header fields hashed for the GUIDs of mbox messages"`

	RewriteMin   dovecot.Size  `set:"mail_index_rewrite_min_log_bytes" default:"8 k" hidden:"yes" doc:"never rewrite dovecot.index for less log"`
	RewriteMax   dovecot.Size  `set:"mail_index_rewrite_max_log_bytes" default:"128 k" hidden:"yes" doc:"rewrite dovecot.index after this much log"`
	RotateMin    dovecot.Size  `set:"mail_index_log_rotate_min_size" default:"32 k" hidden:"yes" doc:"never rotate smaller transaction logs"`
	RotateMax    dovecot.Size  `set:"mail_index_log_rotate_max_size" default:"1 M" hidden:"yes" doc:"always rotate the transaction log at this size"`
	RotateMinAge time.Duration `set:"mail_index_log_rotate_min_age" default:"5 mins" hidden:"yes" doc:"rotate between minimum and maximum size only from this age"`
	Log2MaxAge   time.Duration `set:"mail_index_log2_max_age" default:"2 days" hidden:"yes" doc:"remove dovecot.index.log.2 after this time"`

	CacheFields       string `set:"mail_cache_fields" default:"flags" doc:"fields cached initially"`
	AlwaysCacheFields string `set:"mail_always_cache_fields" default:"" doc:"fields that are always cached"`
	NeverCacheFields  string `set:"mail_never_cache_fields" default:"imap.envelope" doc:"fields that are never cached; * for all"`
	CacheMinMailCount uint   `set:"mail_cache_min_mail_count" default:"0" hidden:"yes" doc:"cache only in mailboxes with this many messages"`

	CacheFieldDrop           time.Duration `set:"mail_cache_unaccessed_field_drop" default:"30 days" hidden:"yes" doc:"stop caching a field not read for this time"`
	CacheRecordMax           dovecot.Size  `set:"mail_cache_record_max_size" default:"64 k" hidden:"yes" doc:"largest record of a message in dovecot.index.cache"`
	CacheMaxSize             dovecot.Size  `set:"mail_cache_max_size" default:"1 G" hidden:"yes" doc:"largest dovecot.index.cache"`
	CachePurgeMin            dovecot.Size  `set:"mail_cache_purge_min_size" default:"32 k" hidden:"yes" doc:"never purge a smaller dovecot.index.cache"`
	CachePurgeDeleted        uint          `set:"mail_cache_purge_delete_percentage" default:"20" hidden:"yes" doc:"purge dovecot.index.cache when so many of its records are of expunged messages"`
	CachePurgeContinued      uint          `set:"mail_cache_purge_continued_percentage" default:"200" hidden:"yes" doc:"purge dovecot.index.cache when so many of its records continue others"`
	CachePurgeHeaderContinue uint          `set:"mail_cache_purge_header_continue_count" default:"4" hidden:"yes" doc:"purge dovecot.index.cache when its field header is continued so often"`
}

var (
	_ = dovecot.Register("mail", Settings{})
	_ = dovecot.RegisterPlugin("zlib", "zlib_save", "zlib_save_level")
)

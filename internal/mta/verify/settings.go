package verify

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
)

// Settings are the parameters of address verification.
type Settings struct {
	Map             string        `set:"address_verify_map" default:"btree:$data_directory/verify_cache" doc:"where results of address probes are kept; empty for memory only"`
	Sender          string        `set:"address_verify_sender" default:"$double_bounce_sender" doc:"sender of address probes; empty for the null sender"`
	SenderTTL       time.Duration `set:"address_verify_sender_ttl" default:"0s" unit:"s" doc:"how long the sender of probes stays the same; 0 for ever"`
	PositiveExpire  time.Duration `set:"address_verify_positive_expire_time" default:"31d" unit:"d" min:"1" doc:"age at which a good result is dropped"`
	PositiveRefresh time.Duration `set:"address_verify_positive_refresh_time" default:"7d" unit:"d" min:"1" doc:"age at which a good result is probed again"`
	NegativeExpire  time.Duration `set:"address_verify_negative_expire_time" default:"3d" unit:"d" min:"1" doc:"age at which a bad result is dropped"`
	NegativeRefresh time.Duration `set:"address_verify_negative_refresh_time" default:"3h" unit:"h" min:"1" doc:"age at which a bad result is probed again"`
	NegativeCache   bool          `set:"address_verify_negative_cache" default:"yes" doc:"failed probes are remembered"`
	CleanupInterval time.Duration `set:"address_verify_cache_cleanup_interval" default:"12h" unit:"h" doc:"time between removals of old results; 0 for never"`
}

var _ = postfix.Register("verify", Settings{})

package imap

import (
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

// Settings are Dovecot's settings of the IMAP server.
type Settings struct {
	MaxLineLength     dovecot.Size  `set:"imap_max_line_length" default:"64 k" doc:"longest command line, with its literals except those of APPEND"`
	IdleNotify        time.Duration `set:"imap_idle_notify_interval" default:"2 mins" doc:"how often a session in IDLE is sent OK Still here; 0 for never"`
	HibernateTimeout  time.Duration `set:"imap_hibernate_timeout" default:"0" doc:"how long a session is in IDLE before it gives up its mailbox and buffers until something happens; 0 for never"`
	Capability        string        `set:"imap_capability" doc:"capability list sent to clients; with a leading + names added to the built-in one"`
	ClientWorkarounds string        `set:"imap_client_workarounds" doc:"delay-newmail, tb-extra-mailbox-sep, tb-lsub-flags"`
	LogoutFormat      string        `set:"imap_logout_format" default:"in=%i out=%o deleted=%{deleted} expunged=%{expunged} trashed=%{trashed} hdr_count=%{fetch_hdr_count} hdr_bytes=%{fetch_hdr_bytes} body_count=%{fetch_body_count} body_bytes=%{fetch_body_bytes}" doc:"statistics at the end of a session's log line"`
	IDSend            string        `set:"imap_id_send" default:"name *" doc:"ID fields sent to clients; * as value for the built-in one"`
	IDLog             string        `set:"imap_id_log" doc:"ID fields of clients that are logged; * for all"`
	FetchFailure      string        `set:"imap_fetch_failure" default:"disconnect-immediately" enum:"disconnect-immediately|disconnect-after|no-after" doc:"what FETCH does when a message cannot be read"`
	Metadata          bool          `set:"imap_metadata" default:"no" doc:"announce METADATA, and let clients use any attribute; needs mail_attribute_dict"`
	URLAuthHost       string        `set:"imap_urlauth_host" doc:"announce URLAUTH, with this host in URLs, * for any; needs mail_attribute_dict"`
	URLAuthPort       dovecot.Port  `set:"imap_urlauth_port" default:"143" doc:"port in URLs of URLAUTH"`
	LiteralMinus      bool          `set:"imap_literal_minus" default:"no" doc:"LITERAL- instead of LITERAL+: non-synchronizing literals up to 4096 bytes"`
}

var (
	_ = dovecot.Register("imap", Settings{})
	_ = dovecot.RegisterPlugin("imap_zlib", "imap_compress_deflate_level")
)

// The workarounds of imap_client_workarounds.
const (
	workaroundDelayNewmail = 1 << iota
	workaroundExtraSep
	workaroundLSubFlags
)

var workarounds = map[string]uint8{
	"delay-newmail":        workaroundDelayNewmail,
	"tb-extra-mailbox-sep": workaroundExtraSep,
	"tb-lsub-flags":        workaroundLSubFlags,
}

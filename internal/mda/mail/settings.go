package mail

import "github.com/dovetail-mail/dovetail/internal/conf/dovecot"

// Settings say as whom mail is accessed. The master looks at them too.
type Settings struct {
	MailUID              string `set:"mail_uid" doc:"UID of mail processes when the userdb gives none, name or number"`
	MailGID              string `set:"mail_gid" doc:"GID of mail processes when the userdb gives none, name or number"`
	MailHome             string `set:"mail_home" vars:"yes" doc:"home directory when the userdb gives none"`
	MailPrivilegedGroup  string `set:"mail_privileged_group" doc:"group used temporarily for mbox locking, an extra group here"`
	MailAccessGroups     string `set:"mail_access_groups" doc:"supplementary groups of all mail processes"`
	AuthSocketPath       string `set:"auth_socket_path" default:"auth-userdb" path:"yes" doc:"userdb socket used for looking up users"`
	MaxUserIPConnections uint32 `set:"mail_max_userip_connections" default:"10" doc:"connections of one user from one address; 0 for no limit"`
}

var _ = dovecot.Register("mail", Settings{})

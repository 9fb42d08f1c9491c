package doveadm

import "github.com/dovetail-mail/dovetail/internal/conf/dovecot"

// Settings are those that only doveadm reads.
type Settings struct {
	AuthSocketPath string `set:"auth_socket_path" default:"auth-userdb" path:"yes" doc:"userdb socket used for looking up users"`
}

var _ = dovecot.Register("doveadm", Settings{})

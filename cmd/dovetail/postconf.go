package main

import (
	"runtime"

	"github.com/dovetail-mail/dovetail/internal/conf/postconf"
	"github.com/dovetail-mail/dovetail/internal/table"
)

// postconfTool is postconf(1) with what this program can do.
var postconfTool = &postconf.Tool{
	TableTypes:  table.Types,
	LockMethods: []string{"flock", "fcntl", "dotlock"},
	SASLServer:  []string{"dovecot"},
	SASLClient:  []string{"cyrus"}, // the name of what the SMTP client has built in
	TLSVersion:  func() string { return "crypto/tls " + runtime.Version() },
	KeyTypes:    []string{"ecdsa", "ed25519", "rsa"},
}

package main

import (
	"fmt"
	"os"

	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/doveadm"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
	"github.com/dovetail-mail/dovetail/internal/mda/service"
	"github.com/dovetail-mail/dovetail/internal/mta"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver/asuser"
)

// roles are the daemon processes.
var roles = map[string]func(*master.Process) error{
	"auth":         service.RunAuth,
	"auth-worker":  service.RunAuthWorker,
	"doveadm":      doveadm.Serve,
	"login":        service.RunLogin,
	"quota-status": doveadm.ServeQuotaStatus,
	"script":       service.RunScript,
	"mail":         mail.Run,
	"mta":          mta.Run,
	asuser.Role:    mta.RunLocal,
	"mta-check":    mta.Check,

	asuser.RoleHelper: asuser.RunHelper,
}

// runRole is the life of a daemon process that its master started.
func runRole(role string) int {
	run, ok := roles[role]
	if !ok {
		fmt.Fprintf(os.Stderr, "dovetail: unknown role %q\n", role)
		return 64
	}
	p, err := master.Enter()
	if err != nil {
		fmt.Fprintf(os.Stderr, "dovetail: %s: %v\n", role, err)
		return 1
	}
	defer p.Sink.Close()
	if err := run(p); err != nil {
		p.Log.Fatalf("%v", err)
		return exitFatal
	}
	return 0
}

// exitFatal is Dovecot's exit status for fatal errors.
const exitFatal = 89

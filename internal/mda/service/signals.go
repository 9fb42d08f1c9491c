package service

import (
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
)

func notifySignals() (<-chan os.Signal, func()) {
	ch := make(chan os.Signal, 4)
	signal.Notify(ch, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	return ch, func() { signal.Stop(ch) }
}

// fileMode converts the mode of a listener.
func fileMode(m dovecot.Mode) fs.FileMode { return fs.FileMode(m & 0o777) }

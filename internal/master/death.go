package master

import (
	"os"
	"path"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// name is what Dovecot calls the service of a child: "imap-login".
func (s *Spec) name() string { return path.Base(s.Title) }

// logDeath says how a child ended, in the words of the service's original: of
// Dovecot's log process, or of Postfix's master.
func (c *Child) logDeath(state *os.ProcessState, err error) {
	spec := c.present()
	if err != nil {
		c.log.Errorf("service(%s): wait failed: %v", spec.name(), err)
		return
	}
	status, ok := state.Sys().(syscall.WaitStatus)
	signaled := ok && status.Signaled()
	if !signaled && state.ExitCode() == 0 {
		return
	}
	if spec.Log.Style == maillog.Postfix {
		if signaled {
			c.log.Warningf("process %s pid %d killed by signal %d", spec.Title, state.Pid(), status.Signal())
		} else {
			c.log.Warningf("process %s pid %d exit status %d", spec.Title, state.Pid(), state.ExitCode())
		}
		return
	}
	log := c.log.With(spec.name())
	if signaled {
		log.Fatalf("master: service(%s): child %d killed with signal %d", spec.name(), state.Pid(), status.Signal())
	} else {
		log.Fatalf("master: service(%s): child %d returned error %d", spec.name(), state.Pid(), state.ExitCode())
	}
}

// logThrottling says that a child which keeps dying is started later.
func (c *Child) logThrottling(pause time.Duration) {
	spec := c.present()
	if spec.Log.Style == maillog.Postfix {
		c.log.Warningf("%s: bad command startup -- throttling", spec.Title)
		return
	}
	c.log.Errorf("service(%s): command startup failed, throttling for %d.000 secs", spec.name(), pause/time.Second)
}

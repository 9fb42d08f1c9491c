package mail

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
)

// owners looks up the owners of shared mailboxes. As Dovecot's mail processes do, it asks on
// auth-userdb with the rights of this process: whom it may look up the administrator says by the
// permissions of that socket. With mode 0666 it is only users of its own uid.
type owners struct {
	mu     sync.Mutex
	path   string
	client *client.MasterClient // nil until it is needed
}

// ownerTimeout bounds a lookup, during which a session waits.
const ownerTimeout = time.Minute

// lookup returns how sessions of a service look up owners.
func (o *owners) lookup(path, service string, log *maillog.Logger) store.OwnerLookup {
	return func(ctx context.Context, username string) (home string, found bool, err error) {
		ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
		defer cancel()
		c, err := o.connect(ctx, path, log)
		if err != nil {
			return "", false, err
		}
		user, err := c.User(ctx, username, client.Lookup{Service: service})
		if errors.Is(err, client.ErrUnknownUser) {
			return "", false, nil
		}
		return user.Home, err == nil, err
	}
}

// connect returns the connection, which outlives the session that needed it first.
func (o *owners) connect(ctx context.Context, path string, log *maillog.Logger) (*client.MasterClient, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.client != nil && o.path == path {
		return o.client, nil
	}
	c, err := client.DialMaster(ctx, "unix", path, log)
	if err != nil {
		return nil, err
	}
	if o.client != nil {
		o.client.Close()
	}
	o.client, o.path = c, path
	return c, nil
}

func (o *owners) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.client != nil {
		o.client.Close()
	}
}

// processSettings returns the path of the userdb's socket, and how long a process waits without
// sessions: as long as the most patient of the services in it.
func processSettings(cfg *dovecot.Config) (socket string, idle time.Duration, err error) {
	core, err := dovecot.Get[dovecot.Master](cfg, dovecot.Filter{})
	if err != nil {
		return "", 0, err
	}
	set, err := dovecot.Get[Settings](cfg, dovecot.Filter{})
	if err != nil {
		return "", 0, err
	}
	socket = set.AuthSocketPath
	if !filepath.IsAbs(socket) {
		socket = filepath.Join(core.BaseDir, socket)
	}
	services, err := dovecot.Services(cfg)
	if err != nil {
		return "", 0, err
	}
	for i := range services {
		switch s := &services[i]; s.Name {
		case "imap", "pop3":
			kill := s.IdleKill
			if kill == 0 {
				kill = core.DefaultIdleKill
			}
			idle = max(idle, kill)
		}
	}
	return socket, idle, nil
}

package imap

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mda/handoff"
	"github.com/dovetail-mail/dovetail/internal/mda/lmtp/logprefix"
	"github.com/dovetail-mail/dovetail/internal/mda/store"
	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// A Config is what a [Server] is made of.
type Config struct {
	Dovecot *dovecot.Config
	Pool    *mailbox.Pool
	Log     *maillog.Logger // sessions log with mail_log_prefix instead of its tag

	// Crowded reports whether descriptors are getting scarce; nil for never. Sessions that may hibernate do so soon then.
	Crowded func() bool
}

// A Server serves IMAP sessions. It is safe for concurrent use.
type Server struct {
	conf    Config
	set     *Settings // outside local and remote blocks
	prefix  *logprefix.Settings
	has     features
	workers workers

	progressEvery time.Duration // how often INPROGRESS is told
}

// NewServer returns a server. It reports settings that no session could use.
func NewServer(conf Config) (*Server, error) {
	s := &Server{conf: conf, progressEvery: progressInterval}
	s.workers.init()
	filter := dovecot.Filter{Service: "imap"}
	var err error
	if s.set, err = dovecot.Get[Settings](conf.Dovecot, filter); err != nil {
		return nil, err
	}
	if s.prefix, err = dovecot.Get[logprefix.Settings](conf.Dovecot, filter); err != nil {
		return nil, err
	}
	lists, err := dovecot.Get[store.Settings](conf.Dovecot, filter)
	if err != nil {
		return nil, err
	}
	for _, ns := range lists.Namespaces {
		for _, box := range ns.Mailboxes {
			s.has.specialUse = s.has.specialUse || !ns.Disabled && box.SpecialUse != ""
		}
	}
	attributes, err := dovecot.Get[store.MetadataSettings](conf.Dovecot, filter)
	if err != nil {
		return nil, err
	}
	s.has.notify = lists.ListIndex
	s.has.attributes = attributes.Dict != ""
	_, err = parseWorkarounds(s.set.ClientWorkarounds)
	return s, err
}

// settings returns the settings for a connection.
func (s *Server) settings(h handoff.Login) (*Settings, error) {
	set, err := dovecot.Get[Settings](s.conf.Dovecot, dovecot.Filter{
		Service: "imap", Local: addr(h.Local), Remote: addr(h.Remote), LocalName: h.LocalName,
	})
	if err == nil && *set == *s.set {
		return s.set, nil // shared: sessions are many
	}
	return set, err
}

func addr(ap netip.AddrPort) netip.Addr { return ap.Addr().Unmap() }

func parseWorkarounds(list string) (flags uint8, err error) {
	for _, name := range strings.FieldsFunc(list, func(r rune) bool { return r == ' ' || r == ',' }) {
		bit, ok := workarounds[name]
		if !ok {
			return 0, fmt.Errorf("imap_client_workarounds: Unknown workaround: %s", name)
		}
		flags |= bit
	}
	return flags, nil
}

// Serve runs the session of user on conn, which has logged in, and returns nil when
// it has ended and conn is closed. If the session hibernates it returns what is left of
// it, which does not need the user. It writes the tagged answer to the login
// command, or a greeting if h has no tag. When ctx is canceled the client is
// told BYE. The caller's goroutine waits with it: for many sessions it should
// have little on its stack.
func (s *Server) Serve(ctx context.Context, conn net.Conn, h handoff.Login, user *store.User) *Asleep {
	info := *user.Info()
	info.Service, info.SessionID = "imap", h.Session
	log := s.conf.Log.With(s.prefix.Tag(&info))
	set, err := s.settings(h)
	if err != nil {
		log.Errorf("Error reading configuration: %v", err)
		conn.Close()
		return nil
	}
	ss := newSession(ctx, s, conn, set, user, log)
	ss.loginTag, ss.id = h.Tag, h.Session
	ss.untaggedCaps = h.UntaggedCapability
	ss.dec.Feed(h.Input)
	return ss.serve()
}

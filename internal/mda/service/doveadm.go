package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// KindDoveadm is the message by which a process of service doveadm gets its client.
const KindDoveadm = "doveadm"

// A DoveadmClient is the body of that message. The client's socket comes with it.
type DoveadmClient struct {
	Trusted bool `json:"trusted,omitempty"` // needs no password
	TLS     bool `json:"tls,omitempty"`     // from the first byte
}

// trustedMode is the mode of a socket whose clients need no password.
const trustedMode = 0o600

// addDoveadm adds the listeners of service doveadm, on which the master accepts: a
// process serves only one client, as it becomes the client's users.
func (p *plan) addDoveadm(s dovecot.Service, ssl *dovecot.SSL) error {
	inet := s.InetListeners
	s.InetListeners = nil
	for _, l := range inet {
		if l.Name == "http" {
			if l.Port != 0 {
				p.warnings = append(p.warnings, "setting service doveadm { inet_listener http } has no effect: the HTTP API is not available")
			}
			continue
		}
		s.InetListeners = append(s.InetListeners, l)
	}
	if err := p.addService(s, ssl); err != nil {
		return err
	}
	p.services = p.services[:len(p.services)-1] // it has no process of its own
	p.doveadm = s
	return nil
}

// serveDoveadm accepts on the listeners of service doveadm that are new, and no longer on those
// that are gone. It is called after the listeners were opened.
func (m *Master) serveDoveadm(specs []master.ListenerSpec) error {
	open := make([]net.Listener, 0, len(specs))
	for i := range specs {
		spec := &specs[i]
		l, err := net.FileListener(m.sockets.File(spec))
		if err != nil {
			return fmt.Errorf("service(doveadm): %w", err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		open = append(open, l)
		go m.acceptDoveadm(l, DoveadmClient{
			Trusted: spec.Network == "unix" && spec.Mode.Perm() == trustedMode, TLS: spec.TLS,
		})
	}
	for _, l := range m.doveadm {
		l.Close() // another descriptor of the same socket, or of one that is gone
	}
	m.doveadm = open
	return nil
}

// acceptPause is for how long none is accepted after that failed, or while there are as many as may be.
const acceptPause = 100 * time.Millisecond

// acceptDoveadm serves a listener until it is closed.
func (m *Master) acceptDoveadm(l net.Listener, c DoveadmClient) {
	for {
		if m.doveadmClients.Load() >= int64(m.plan.Load().doveadm.ProcessLimit) {
			time.Sleep(acceptPause)
			continue
		}
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			m.log.Errorf("service(doveadm): %v", err)
			time.Sleep(acceptPause)
			continue
		}
		if err := m.startDoveadm(conn, c); err != nil {
			m.log.Errorf("service(doveadm): %v", err)
		}
		conn.Close()
	}
}

// startDoveadm starts a process for a client.
func (m *Master) startDoveadm(conn net.Conn, c DoveadmClient) error {
	p := m.plan.Load()
	id, err := p.identity(&p.doveadm)
	if err != nil {
		return err
	}
	blob, err := p.cfg.AppendBinary(nil)
	if err != nil {
		return err
	}
	f, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return err
	}
	defer f.Close()
	logs := m.logs.Load()
	m.doveadmClients.Add(1)
	child, err := master.Start(master.Spec{
		Role: "doveadm", Title: "dovecot/doveadm-server", Identity: id, Log: logs.forProcess("doveadm"), LogFiles: logs.files, Config: blob,
	}, m.log, m.ignore, func(*master.Child) { m.doveadmClients.Add(-1) }, master.OnDemand)
	if err != nil {
		m.doveadmClients.Add(-1)
		return err
	}
	return child.Send(KindDoveadm, c, f)
}

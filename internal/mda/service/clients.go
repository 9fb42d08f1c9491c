package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// KindClient is the message by which a process of a client service gets its client.
const KindClient = "client"

// A Client is the body of that message. The client's socket comes with it.
type Client struct {
	Service string   `json:"service"`
	Args    []string `json:"args"` // of the executable
}

// A clientService is a service that an administrator has added, with an executable that this
// program has (script, quota-status). The master accepts its clients and starts a process for each.
type clientService struct {
	dovecot.Service
	role    string
	args    []string
	running atomic.Int64
}

// addClientService adds a service and its listeners.
func (p *plan) addClientService(s dovecot.Service, words []string, ssl *dovecot.SSL) error {
	c := &clientService{Service: s, role: words[0], args: words[1:]}
	if err := checkClientService(c); err != nil {
		return fmt.Errorf("service(%s): %w", s.Name, err)
	}
	if err := p.addService(s, ssl); err != nil {
		return err
	}
	p.services = p.services[:len(p.services)-1] // it has no process of its own
	p.clients[s.Name] = c
	return nil
}

// checkClientService complains about arguments that no process could use.
func checkClientService(c *clientService) error {
	switch c.role {
	case "script":
		_, err := parseScript(c.args)
		return err
	case "quota-status":
		if !slices.Equal(c.args, []string{"-p", "postfix"}) {
			return errors.New("executable must be quota-status -p postfix")
		}
	}
	return nil
}

// clientListeners returns the listeners of all client services, in a fixed order.
func (p *plan) clientListeners() (all []master.ListenerSpec) {
	for name := range p.clients {
		all = append(all, p.listeners[name]...)
	}
	slices.SortFunc(all, func(a, b master.ListenerSpec) int { return strings.Compare(a.Address, b.Address) })
	return all
}

// serveClients accepts on the listeners of client services that are new, and no longer on those that are gone. It is
// called after the listeners were opened.
func (m *Master) serveClients(p *plan) error {
	var open []net.Listener
	for _, spec := range p.clientListeners() {
		l, err := net.FileListener(m.sockets.File(&spec))
		if err != nil {
			return fmt.Errorf("service(%s): %w", spec.Service, err)
		}
		if u, ok := l.(*net.UnixListener); ok {
			u.SetUnlinkOnClose(false)
		}
		open = append(open, l)
		go m.acceptClients(l, spec.Service)
	}
	for _, l := range m.clients {
		l.Close() // another descriptor of the same socket, or of one that is gone
	}
	m.clients = open
	return nil
}

// acceptClients serves a listener until it is closed.
func (m *Master) acceptClients(l net.Listener, service string) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			err = m.startForClient(conn, service)
			conn.Close()
		}
		if err != nil {
			m.log.Errorf("service(%s): %v", service, err)
			time.Sleep(acceptPause)
		}
	}
}

// startForClient starts a process for a client, once there are fewer than process_limit.
func (m *Master) startForClient(conn net.Conn, service string) error {
	var p *plan
	var c *clientService
	for {
		p = m.plan.Load()
		if c = p.clients[service]; c == nil {
			return nil // it is gone since
		}
		if c.running.Load() < int64(c.ProcessLimit) || m.ctx.Err() != nil {
			break
		}
		time.Sleep(acceptPause)
	}
	id, err := p.identity(&c.Service)
	if err != nil {
		return err
	}
	blob, err := p.cfg.Without(secretSettings...).AppendBinary(nil)
	if err != nil {
		return err
	}
	f, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return err
	}
	defer f.Close()
	logs := m.logs.Load()
	c.running.Add(1)
	child, err := master.Start(master.Spec{
		Role: c.role, Title: "dovecot/" + c.role, Identity: id, Log: logs.forProcess(service), LogFiles: logs.files, Config: blob,
	}, m.log, m.ignore, func(*master.Child) { c.running.Add(-1) }, master.OnDemand)
	if err != nil {
		c.running.Add(-1)
		return err
	}
	return child.Send(KindClient, Client{Service: service, Args: c.args}, f)
}

// AcceptClient returns the client that a process of a client service was started for; nil if the master has
// ended before it told.
func AcceptClient(p *master.Process) (*Client, *os.File, error) {
	if err := p.Drop(); err != nil {
		return nil, nil, err
	}
	if err := p.Ready(); err != nil {
		return nil, nil, err
	}
	msg, err := p.Control.Receive()
	if err != nil {
		return nil, nil, nil //nolint:nilerr // there is nobody to serve
	}
	var c Client
	if err := msg.Decode(&c); err != nil || msg.Kind != KindClient || len(msg.Files) != 1 {
		msg.CloseFiles()
		return nil, nil, fmt.Errorf("unexpected message %q of the master", msg.Kind)
	}
	return &c, msg.Files[0], nil
}

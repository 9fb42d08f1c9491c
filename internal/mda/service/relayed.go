package service

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/ipc"
)

// kindRelayed asks a login process for the sessions that it relays to other servers: an
// [ipc.Query], with a pipe for the answer. The sessions are written into it in JSON.
const kindRelayed = "relayed"

// relayedTimeout bounds how long a login process may take to answer.
const relayedTimeout = 30 * time.Second

// ipcSource answers on the socket ipc.
type ipcSource struct{ m *Master }

var _ ipc.Source = ipcSource{}

// Relayed implements [ipc.Source]. It is the login processes that know the sessions.
func (s ipcSource) Relayed(ctx context.Context, q *ipc.Query) ([]ipc.Session, error) {
	var all []ipc.Session
	for name, c := range s.m.loginProcesses() {
		sessions, err := relayedBy(c, q)
		if err != nil {
			s.m.log.Errorf("service(%s): ipc: %v", name, err)
			return nil, errors.New("Internal error")
		}
		all = append(all, sessions...)
	}
	return all, nil
}

func (m *Master) loginProcesses() map[string]*master.Child {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]*master.Child)
	for name, c := range m.children {
		if strings.HasSuffix(name, "-login") {
			all[name] = c
		}
	}
	return all
}

// relayedBy asks one process.
func relayedBy(c *master.Child, q *ipc.Query) ([]ipc.Session, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	err = c.Send(kindRelayed, q, w)
	w.Close()
	if err != nil {
		return nil, err
	}
	if err := r.SetReadDeadline(time.Now().Add(relayedTimeout)); err != nil {
		return nil, err
	}
	var all []ipc.Session
	for d := json.NewDecoder(r); ; {
		var s ipc.Session
		switch err := d.Decode(&s); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, err
		}
		all = append(all, s)
	}
}

// answerRelayed tells the master about relayed sessions.
func (l *loginProcess) answerRelayed(msg *master.Message) {
	defer msg.CloseFiles()
	var q ipc.Query
	if err := msg.Decode(&q); err != nil || len(msg.Files) != 1 {
		l.p.Log.Errorf("unexpected message %q with %d descriptors", msg.Kind, len(msg.Files))
		return
	}
	to := json.NewEncoder(msg.Files[0])
	for _, s := range l.relays.Relayed(&q) {
		if to.Encode(&s) != nil {
			return // the master has given up
		}
	}
}

// addIPC adds the socket of the service ipc that doveadm uses. Login processes are asked by
// the master, so they need none.
func (p *plan) addIPC(s *dovecot.Service) error {
	for _, l := range s.UnixListeners {
		if l.Mode == 0 || l.Path == "login/ipc-proxy" {
			continue
		}
		spec, err := p.unixListener(s, &l)
		if err != nil {
			return err
		}
		p.listeners["ipc"] = append(p.listeners["ipc"], spec)
	}
	return nil
}

func (m *Master) serveIPC(specs []master.ListenerSpec) error {
	return m.serveSockets(m.ipc, specs, func(l net.Listener) { ipc.Serve(m.ctx, l, m.warn, ipcSource{m}) })
}

package service

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/internal/mda/anvil"
	"github.com/dovetail-mail/dovetail/internal/mda/mail"
)

// A sessions table knows who is logged in: who was passed to a mail process that has not
// told yet that the session is over.
type sessions struct {
	mu   sync.Mutex
	byID map[uint64]mailSession
}

type mailSession struct {
	anvil.Session
	key mailKey
}

func (s *sessions) add(id uint64, key mailKey, service, user string, remote netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID == nil {
		s.byID = make(map[uint64]mailSession)
	}
	s.byID[id] = mailSession{anvil.Session{ID: id, Service: service, User: user, Remote: remote}, key}
}

// served notes by which process a session is served, unless it is over already.
func (s *sessions) served(id uint64, pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, ok := s.byID[id]; ok {
		session.PID = pid
		s.byID[id] = session
	}
}

func (s *sessions) remove(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byID, id)
}

// ended takes what a mail process says of a session. Those of others are none of its
// business.
func (s *sessions) ended(key mailKey, msg *master.Message) {
	var e mail.Ended
	if msg.Decode(&e) != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if session, ok := s.byID[e.ID]; ok && session.key == key {
		delete(s.byID, e.ID)
	}
}

// lost forgets the sessions of a process that has ended.
func (s *sessions) lost(pid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, session := range s.byID {
		if session.PID == pid {
			delete(s.byID, id)
		}
	}
}

// all returns the sessions that are served, the oldest first.
func (s *sessions) all() []mailSession {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]mailSession, 0, len(s.byID))
	for _, session := range s.byID {
		if session.PID != 0 {
			list = append(list, session)
		}
	}
	slices.SortFunc(list, func(a, b mailSession) int { return int(a.ID) - int(b.ID) })
	return list
}

// anvilSource answers on the socket anvil.
type anvilSource struct{ m *Master }

var _ anvil.Source = anvilSource{}

// Sessions implements [anvil.Source].
func (a anvilSource) Sessions() []anvil.Session {
	all := a.m.sessions.all()
	list := make([]anvil.Session, len(all))
	for i := range all {
		list[i] = all[i].Session
	}
	return list
}

// maxKick is how many sessions one message names: messages are limited.
const maxKick = 1000

// Kick implements [anvil.Source].
func (a anvilSource) Kick(ids []uint64) {
	byProcess := make(map[mailKey][]uint64)
	for _, s := range a.m.sessions.all() {
		if slices.Contains(ids, s.ID) {
			byProcess[s.key] = append(byProcess[s.key], s.ID)
		}
	}
	for key, ids := range byProcess {
		a.m.mu.Lock()
		c := a.m.mail[key]
		a.m.mu.Unlock()
		if c == nil {
			continue
		}
		for part := range slices.Chunk(ids, maxKick) {
			if err := c.Send(mail.KindKick, mail.Kick{IDs: part}); err != nil {
				a.m.log.Errorf("service(mail): kick: %v", err)
			}
		}
	}
}

// penaltyTimeout bounds how long auth may take to list penalties.
const penaltyTimeout = 30 * time.Second

// Penalties implements [anvil.Source]. It is auth that knows them.
func (a anvilSource) Penalties(ctx context.Context) ([]anvil.Penalty, error) {
	ctx, cancel := context.WithTimeout(ctx, penaltyTimeout)
	defer cancel()
	var list []anvil.Penalty
	err := a.m.auth.Penalties(ctx, func(fields []string) {
		if p, ok := parsePenalty(fields); ok {
			list = append(list, p)
		}
	})
	return list, err
}

func parsePenalty(fields []string) (p anvil.Penalty, ok bool) {
	if len(fields) != 4 {
		return p, false
	}
	p.IP, _ = netip.ParseAddr(fields[0]) // clients within the machine have none
	var numbers [3]int64
	for i := range numbers {
		var err error
		if numbers[i], err = strconv.ParseInt(fields[i+1], 10, 64); err != nil {
			return p, false
		}
	}
	p.Count, p.Last, p.Updated = int(numbers[0]), time.Unix(numbers[1], 0), time.Unix(numbers[2], 0)
	return p, true
}

func (m *Master) serveAnvil(specs []master.ListenerSpec) error {
	return m.serveSockets(m.anvil, specs, func(l net.Listener) { anvil.Serve(m.ctx, l, m.warn, anvilSource{m}) })
}

// warn logs why a socket of the master's own takes no client.
func (m *Master) warn(err error) { m.log.Warningf("%v", err) }

// serveSockets answers on sockets of the master's own that are not answered on yet, and no
// longer on those that are gone. It is called after the listeners were opened.
func (m *Master) serveSockets(served map[string]net.Listener, specs []master.ListenerSpec, serve func(net.Listener)) error {
	wanted := make(map[string]bool)
	var err error
	for i := range specs {
		address := specs[i].Address
		wanted[address] = true
		if served[address] != nil {
			continue
		}
		l, listenErr := net.FileListener(m.sockets.File(&specs[i]))
		if listenErr != nil {
			err = errors.Join(err, listenErr)
			continue
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		served[address] = l
		go serve(l)
	}
	for address, l := range served {
		if !wanted[address] {
			l.Close()
			delete(served, address)
		}
	}
	return err
}

// addAnvil adds the socket of the service anvil that the master answers on itself: nobody
// else knows all sessions. That of penalties only says whether there are any.
func (p *plan) addAnvil(s *dovecot.Service) error {
	for _, l := range s.UnixListeners {
		if l.Mode == 0 || l.Path == "anvil-auth-penalty" {
			continue
		}
		spec, err := p.unixListener(s, &l)
		if err != nil {
			return err
		}
		p.listeners["anvil"] = append(p.listeners["anvil"], spec)
	}
	return nil
}

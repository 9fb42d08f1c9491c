package asuser

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/master"
)

// hostReplacer is for characters that have a meaning in Maildir names.
var hostReplacer = strings.NewReplacer("/", `\057`, ":", `\072`)

// A session is the connection of one mta.
type session struct {
	*server
	conn *master.Conn
	gone chan struct{} // closed when the mta is

	mu      sync.Mutex
	running map[uint64]chan struct{} // of commands: closed to kill them
}

// run serves requests until the mta is gone. Commands do not outlive it: the mail
// will be delivered again.
func (s *session) run() {
	var work sync.WaitGroup
	defer work.Wait()
	defer close(s.gone)
	defer s.killAll()
	for {
		msg, err := s.conn.Receive()
		if err != nil {
			return
		}
		var req Request
		if err := msg.Decode(&req); err != nil {
			msg.CloseFiles()
			s.p.Log.Warningf("private/%s socket: %v", ListenerName, err)
			return
		}
		switch msg.Kind {
		case kindRequest:
			files := msg.Files
			work.Go(func() { s.serve(&req, files) })
		case kindCancel:
			s.kill(req.ID)
			msg.CloseFiles()
		default:
			msg.CloseFiles()
		}
	}
}

func (s *session) serve(req *Request, files []*os.File) {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	var content *os.File
	if len(files) > 0 {
		content = files[0]
	}
	r := &Reply{ID: req.ID}
	opened := s.answer(req, content, r)
	if opened == nil {
		s.conn.Send(kindReply, r) //nolint:errcheck // if the mta is gone nobody waits
		return
	}
	defer opened.Close()
	s.conn.Send(kindReply, r, opened) //nolint:errcheck // as above
}

// answer carries a request out. A panic is that request's alone.
func (s *session) answer(req *Request, content *os.File, r *Reply) (opened *os.File) {
	defer func() {
		if p := recover(); p != nil {
			s.p.Log.Print(maillog.Panic, fmt.Sprintf("%s: %v %s", req.Op, p, debug.Stack()))
			r.Error = "internal error"
		}
	}()
	setup := s.setup.Load()
	o := &operation{session: s, ctx: context.Background(), req: req, content: content, r: r, service: setup.Services[req.Service]}
	do := operations[req.Op]
	switch {
	case do.run == nil:
		r.Error = fmt.Sprintf("unknown operation %q", req.Op)
	case do.program != "" && (o.service == nil || o.service.Entry.Command != do.program):
		r.Error = fmt.Sprintf("master.cf has no service %s for %s", req.Service, do.program)
	case do.delivers && content == nil:
		r.Error = "request without message"
	default:
		var err error
		if opened, err = do.run(o); err != nil {
			r.Error = err.Error()
		}
	}
	return opened
}

// operations are what can be asked, for services of which program.
var operations = map[Op]struct {
	run      func(*operation) (*os.File, error)
	program  string
	delivers bool
}{
	OpUser:    {run: (*operation).user},
	OpUserID:  {run: (*operation).userID},
	OpHome:    {run: (*operation).home},
	OpForward: {run: (*operation).forward, program: "local"},
	OpInclude: {run: (*operation).include, program: "local"},
	OpMailbox: {run: (*operation).mailbox, program: "local", delivers: true},
	OpFile:    {run: (*operation).file, program: "local", delivers: true},
	OpVirtual: {run: (*operation).virtual, program: "virtual", delivers: true},
	OpCommand: {run: (*operation).command, program: "local", delivers: true},
	OpPipe:    {run: (*operation).pipe, program: "pipe", delivers: true},
}

// killable registers a command under way.
func (s *session) killable(id uint64) (kill chan struct{}, done func()) {
	kill = make(chan struct{})
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.gone:
		close(kill)
		return kill, func() {}
	default:
	}
	s.running[id] = kill
	return kill, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, id)
	}
}

func (s *session) kill(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if kill, ok := s.running[id]; ok {
		close(kill)
		delete(s.running, id)
	}
}

func (s *session) killAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, kill := range s.running {
		close(kill)
		delete(s.running, id)
	}
}

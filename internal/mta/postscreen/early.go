package postscreen

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/smtp"
)

// early does the tests before the greeting: the client has to wait for it, while DNS lists are asked.
func (s *session) early() {
	s.begin("tests before SMTP handshake")
	wait, _ := s.srv.limits()
	e := &earlyState{session: s, deadline: time.Now().Add(wait), total: math.MaxInt}
	if s.due.has(pregreet) && s.srv.set.GreetBanner != "" && !s.send("220-"+s.srv.set.GreetBanner) {
		s.hangup()
		return
	}
	if s.due.has(dnsblTest) {
		e.score = s.srv.lists.request(s.addr)
	}
	if s.due.has(pregreet) && !e.listen(wait) {
		e.release()
		return
	}
	e.waitForLists()
	if !e.judge() {
		return
	}
	if s.keep || s.passed&lateTests != s.due&lateTests {
		s.talk()
		return
	}
	s.conclude()
}

// earlyState is what the tests before the greeting need.
type earlyState struct {
	*session
	score    *score // nil: no list is asked, or the score was taken
	deadline time.Time
	total    int // MaxInt: not known
	name     string
	ttl      time.Duration
}

// release forgets the score of a client that is gone.
func (e *earlyState) release() {
	if e.score != nil {
		e.srv.lists.retrieve(e.addr, e.score)
		e.score = nil
	}
}

// take takes the score as it is.
func (e *earlyState) take() {
	if e.score == nil {
		return
	}
	v := e.srv.lists.retrieve(e.addr, e.score)
	e.score, e.total, e.name, e.ttl = nil, v.total, v.name, v.ttl
	e.allowByLists()
}

// allowByLists skips other tests for a client that lists speak well of.
func (e *earlyState) allowByLists() {
	s, limit := e.session, e.srv.set.DNSBLAllowlistThreshold
	if limit >= 0 || e.total > limit || e.total >= s.srv.set.DNSBLThreshold || s.failed != 0 || s.denied || s.veto {
		return
	}
	until := s.srv.now().Add(e.ttl).Unix()
	s.srv.mu.Lock()
	defer s.srv.mu.Unlock()
	for t := range testCount {
		if t == dnsblTest {
			continue
		}
		if s.due.has(t) && !s.passed.has(t) {
			s.over |= setOf(t)
			s.passed |= setOf(t)
		}
		s.client.until[t] = max(s.client.until[t], until)
	}
}

// listen waits until the client speaks too early, or the time is over; false: the session is over.
func (e *earlyState) listen(wait time.Duration) bool {
	s := e.session
	ctx, done := context.WithCancel(context.Background())
	var cutting sync.WaitGroup
	if e.score != nil && s.srv.set.DNSBLAllowlistThreshold < 0 {
		cutting.Go(func() { e.cutShort(ctx, e.score) })
	}
	s.conn.SetReadDeadline(e.deadline) //nolint:errcheck // reading tells
	text, err := peek(s.conn)
	done()
	cutting.Wait()
	s.conn.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return true
	case len(text) == 0:
		s.hangup()
		return false
	}
	elapsed := s.srv.now().Sub(s.began)
	shown := smtp.AppendEscaped(nil, text)
	s.log("PREGREET %d after %s from %s: %s", len(text), seconds(elapsed), s.label, shown[:min(len(shown), maxShown)])
	s.failed |= setOf(pregreet)
	s.over |= setOf(pregreet)
	switch s.srv.greet {
	case drop:
		return s.dropWith("521 5.5.1 Protocol error")
	case enforce:
		s.refuse("550 5.5.1 Protocol error")
	}
	return true
}

// maxShown is how much of a client's text is logged.
const maxShown = 100

// cutShort ends the wait when lists speak well of the client.
func (e *earlyState) cutShort(ctx context.Context, sc *score) {
	select {
	case <-ctx.Done():
	case <-sc.done:
		if v := e.srv.lists.now(sc); v.total <= e.srv.set.DNSBLAllowlistThreshold {
			e.conn.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // the reader then waits longer
		}
	}
}

// waitForLists waits for the lists, if nothing else is waited for, but not beyond the greeting.
func (e *earlyState) waitForLists() {
	if e.score == nil || e.due.has(pregreet) && !e.over.has(pregreet) {
		return
	}
	t := time.NewTimer(time.Until(e.deadline))
	defer t.Stop()
	select {
	case <-e.score.done:
	case <-t.C:
	}
}

// judge decides what the tests have come to; false: the session is over.
func (e *earlyState) judge() bool {
	s := e.session
	if e.score != nil {
		select {
		case <-e.score.done:
			e.take()
		default:
		}
	}
	if s.due.has(pregreet) && !(s.failed | s.over).has(pregreet) {
		s.pass(pregreet, s.srv.set.GreetTTL)
	}
	if s.failed.has(pregreet) && s.srv.greet == ignore {
		s.failed &^= setOf(pregreet)
	}
	if !s.due.has(dnsblTest) {
		return true
	}
	e.take()
	if e.total < s.srv.set.DNSBLThreshold {
		s.pass(dnsblTest, e.ttl)
		return true
	}
	s.log("DNSBL rank %d for %s", e.total, s.label)
	text := " 5.7.1 Service unavailable; client [" + s.addr.String() + "] blocked using " + e.name
	switch s.srv.dnsblDoes {
	case drop:
		s.failed |= setOf(dnsblTest)
		return s.dropWith("521" + text)
	case enforce:
		s.failed |= setOf(dnsblTest)
		s.refuse("550" + text)
	}
	return true
}

// peekSize is how much is looked at of what a client sends too early.
const peekSize = 1023

// peek waits for input and returns a piece of it, which stays unread. Nothing is the end of input.
func peek(conn net.Conn) ([]byte, error) {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil, errors.New("not a socket")
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	var n int
	var failed error
	buf := make([]byte, peekSize)
	err = raw.Read(func(fd uintptr) bool {
		n, _, failed = syscall.Recvfrom(int(fd), buf, syscall.MSG_PEEK)
		return failed != syscall.EAGAIN && failed != syscall.EINTR
	})
	if err == nil {
		err = failed
	}
	return buf[:max(n, 0)], err
}

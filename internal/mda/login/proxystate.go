package login

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/wire"
	"github.com/dovetail-mail/dovetail/internal/maillog"
)

// proxies is what a login process knows of the servers that it relays to.
type proxies struct {
	mu      sync.Mutex
	records map[netip.AddrPort]*proxyRecord

	sources []netip.Addr // login_source_ips, which take turns
	turn    atomic.Uint32

	notifyPath string
	log        *maillog.Logger
	notifyMu   sync.Mutex
	notifyFile *os.File
	notifyNext time.Time // when to try again to open it
}

func (s *proxies) record(addr netip.AddrPort) *proxyRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[addr]
	if r == nil {
		if s.records == nil {
			s.records = make(map[netip.AddrPort]*proxyRecord)
		}
		r = new(proxyRecord)
		s.records[addr] = r
	}
	return r
}

// source is the address to connect from: the passdb's, or the next of login_source_ips.
func (s *proxies) source(wanted netip.Addr) netip.Addr {
	if wanted.IsValid() || len(s.sources) == 0 {
		return wanted
	}
	return s.sources[int(s.turn.Add(1)-1)%len(s.sources)]
}

// parseSources reads login_source_ips. A "?" in front leaves out addresses that this
// machine does not have.
func parseSources(list string, log *maillog.Logger) []netip.Addr {
	list, skip := strings.CutPrefix(list, "?")
	var all []netip.Addr
	for word := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		names, err := net.LookupHost(word) // an address is its own
		if err != nil {
			log.Errorf("login_source_ips: %v", err)
			continue
		}
		for _, name := range names {
			addr, err := netip.ParseAddr(name)
			if err != nil || skip && !bindable(addr) {
				continue
			}
			all = append(all, addr.Unmap())
		}
	}
	return all
}

func bindable(addr netip.Addr) bool {
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err == nil {
		l.Close()
	}
	return err == nil
}

// notifyRetry is how long login_proxy_notify_path is left alone that cannot be opened.
const notifyRetry = time.Minute

// notify tells the reader of login_proxy_notify_path that the user is still here.
func (s *proxies) notify(user string) {
	s.notifyMu.Lock()
	defer s.notifyMu.Unlock()
	line := append(wire.AppendEscaped(nil, user), '\n')
	for range 2 { // a reader that was restarted has another end
		if s.notifyFile == nil && !s.openNotify() {
			return
		}
		_, err := s.notifyFile.Write(line)
		if err == nil {
			return
		}
		s.log.Errorf("%v", err)
		s.notifyFile.Close() //nolint:errcheck // it is given up
		s.notifyFile = nil
	}
}

func (s *proxies) openNotify() bool {
	if time.Now().Before(s.notifyNext) {
		return false
	}
	// Without O_NONBLOCK a FIFO that nobody reads would hold everybody up.
	f, err := os.OpenFile(s.notifyPath, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		s.log.Errorf("%v", err)
		s.notifyNext = time.Now().Add(notifyRetry)
		return false
	}
	s.notifyFile = f
	return true
}

// A proxyRecord is what is known of one server.
type proxyRecord struct {
	mu          sync.Mutex
	lastSuccess time.Time
	lastFailure time.Time
	waiting     int // connections being made
	proxying    int // sessions
	// For spreading the ends of its sessions:
	disconnects  int
	disconnected time.Time // the first of them
	delayed      int
}

// wait registers a connection that is to be made. It is refused if the server has not
// taken one for as long as downAfter and somebody is trying already.
func (r *proxyRecord) wait(downAfter time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lastSuccess.IsZero() {
		r.lastSuccess = time.Now().Add(-time.Second)
	}
	if downAfter > 0 && r.waiting > 0 && r.lastFailure.Sub(r.lastSuccess) > downAfter {
		return false
	}
	r.waiting++
	return true
}

// connected tells what became of such a connection.
func (r *proxyRecord) connected(ok bool, began time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting--
	switch {
	case ok:
		r.lastSuccess = time.Now()
		r.proxying++
		r.disconnects = 0
	case !began.Before(r.lastSuccess): // else others got through meanwhile
		r.lastFailure = time.Now()
	}
}

// leave is called when the connection to the server is closed.
func (r *proxyRecord) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.proxying--
}

// disconnectStep is the grain of delays: clients with the same one come back together.
const disconnectStep = 100 * time.Millisecond

// delayDisconnect returns how long a client may stay whose server has gone. Many clients
// that log in again at once would be too much for the server in its place, so they are
// sent away within longest.
func (r *proxyRecord) delayDisconnect(longest time.Duration, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.disconnects == 0 {
		r.disconnected = now.Add(rand.N(disconnectStep)) // several processes do not do it at the same moment
	}
	r.disconnects++
	seconds := int(longest / time.Second)
	if seconds == 0 {
		return 0
	}
	sessions := r.proxying + r.disconnects
	perSecond := (sessions + seconds - 1) / seconds
	if r.disconnects <= perSecond && r.delayed == 0 {
		return 0
	}
	steps := seconds * r.disconnects * int(time.Second/disconnectStep) / sessions
	delay := r.disconnected.Add(time.Duration(steps) * disconnectStep).Sub(now)
	if delay <= 0 {
		return 0
	}
	r.delayed++
	return delay
}

// delayOver is called when a delayed client has gone.
func (r *proxyRecord) delayOver() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.delayed--; r.delayed == 0 {
		r.disconnects = 0
	}
}

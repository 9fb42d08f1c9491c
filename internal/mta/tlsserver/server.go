package tlsserver

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// Params is what a [Server] is made of. Files are given by their names.
type Params struct {
	CertFile, KeyFile     string // "none" is no certificate
	ECCertFile, ECKeyFile string
	ChainFiles            []string // in place of those above, if there are any
	CAFile, CAPath        string
	DefaultCAs            bool // trust those of the system as well
	AskCert               bool // ask for a client certificate
	VerifyDepth           int  // intermediate certificates that a chain may have, beside the root
	Digest                string
	Versions              tlsconf.Versions
	CipherList            string        // of OpenSSL, before TLS 1.3; empty is all of crypto/tls
	Curves                []tls.CurveID // nil is those of crypto/tls
	SNI                   resolve.Maps  // tls_server_sni_maps, opened for values that are chains; nil: none
	SessionTimeout        time.Duration
	LogLevel              string

	ReadFile func(name string) ([]byte, error)
	Log      *maillog.Logger
	Now      func() time.Time
}

// ErrNoCertificate says that no certificate is configured.
var ErrNoCertificate = errors.New("no server certificate is configured")

// A Server does handshakes. It is safe for concurrent use.
type Server struct {
	p       Params
	mask    logMask
	digest  digest
	ciphers []uint16
	outer   *tls.Config // has the ticket keys
	files   atomic.Pointer[material]

	mu      sync.Mutex
	checked time.Time // when the files were looked at
	rotated time.Time // when the last ticket key was made
	keys    [][32]byte
}

// material is what the files hold.
type material struct {
	files  map[string]string // content by name: what it was made of
	chains []tls.Certificate
	roots  *x509.CertPool // nil: no authority is trusted
	asked  *x509.CertPool // whose names the client is told
}

// New returns a server with what the files hold now. An error says which file or setting is wrong.
func New(p Params) (*Server, error) {
	s := &Server{p: p}
	if s.p.Now == nil {
		s.p.Now = time.Now
	}
	if p.CertFile == "none" {
		s.p.CertFile = ""
	}
	var unknown string
	if s.mask, unknown = parseLevel(p.LogLevel); unknown != "" {
		s.p.Log.Warningf("Unrecognized log level \"%s\" in smtpd_tls_loglevel", unknown)
	}
	var err error
	if s.digest, err = parseDigest(p.Digest); err != nil {
		return nil, err
	}
	if s.ciphers, err = s.p.suites(); err != nil {
		return nil, err
	}
	m, err := s.load()
	if err != nil {
		return nil, err
	}
	s.files.Store(m)
	s.checked = s.p.Now()
	s.outer = s.config()
	s.rotate(s.checked)
	return s, nil
}

// config is the part that all sessions have in common.
func (s *Server) config() *tls.Config {
	c := &tls.Config{
		MinVersion: s.p.Versions.Lowest, MaxVersion: s.p.Versions.Highest, CipherSuites: s.ciphers,
		SessionTicketsDisabled: s.p.SessionTimeout <= 0, Time: s.p.Now,
	}
	if s.p.AskCert {
		c.ClientAuth = tls.RequestClientCert
	}
	return c
}

// checkInterval is how often files are looked at, at most.
const checkInterval = 10 * time.Second

// refresh looks at the files again, and makes a new ticket key, where it is time.
func (s *Server) refresh() {
	now := s.p.Now()
	s.mu.Lock()
	check, rotate := now.Sub(s.checked) >= checkInterval, s.p.SessionTimeout > 0 && now.Sub(s.rotated) >= s.p.SessionTimeout
	if check {
		s.checked = now
	}
	if rotate {
		s.rotate(now)
	}
	s.mu.Unlock()
	if !check {
		return
	}
	old := s.files.Load()
	if !s.changed(old) {
		return
	}
	m, err := s.load()
	if err != nil {
		s.p.Log.Warningf("TLS certificates changed: %v: those read before stay in use", err)
		return
	}
	s.files.Store(m)
	s.p.Log.Infof("TLS certificates changed: read again")
}

// rotate makes a ticket key. The one before it still opens tickets.
func (s *Server) rotate(now time.Time) {
	var key [32]byte
	rand.Read(key[:]) //nolint:errcheck // it never fails
	s.keys = append([][32]byte{key}, s.keys...)
	s.keys = s.keys[:min(len(s.keys), 2)]
	s.outer.SetSessionTicketKeys(s.keys)
	s.rotated = now
}

// changed tells whether a file is not what it was. One that cannot be read now has not changed: it may
// be in the middle of being replaced.
func (s *Server) changed(m *material) bool {
	for name, was := range m.files {
		if now, err := s.p.ReadFile(name); err == nil && string(now) != was {
			return true
		}
	}
	return false
}

// load reads all files.
func (s *Server) load() (*material, error) {
	m := &material{files: make(map[string]string)}
	read := func(name string) ([]byte, error) {
		b, err := s.p.ReadFile(name)
		m.files[name] = string(b)
		return b, err
	}
	if err := s.loadChains(m, read); err != nil {
		return nil, err
	}
	if len(m.chains) == 0 {
		return nil, ErrNoCertificate
	}
	return m, s.loadAuthorities(m, read)
}

func (s *Server) loadChains(m *material, read func(string) ([]byte, error)) error {
	if len(s.p.ChainFiles) > 0 {
		var all []byte // a chain may go on in the next file
		for _, name := range s.p.ChainFiles {
			text, err := read(name)
			if err != nil {
				return err
			}
			all = append(append(all, text...), '\n')
		}
		var err error
		m.chains, err = parseChains(fmt.Sprintf("%v", s.p.ChainFiles), all)
		return err
	}
	for _, pair := range [][2]string{{s.p.CertFile, s.p.KeyFile}, {s.p.ECCertFile, s.p.ECKeyFile}} {
		if pair[0] == "" {
			continue
		}
		cert, err := read(pair[0])
		if err != nil {
			return err
		}
		if pair[0] == pair[1] {
			chains, err := parseChains(pair[0], cert)
			if err != nil {
				return err
			}
			m.chains = append(m.chains, chains...)
			continue
		}
		key, err := read(pair[1])
		if err != nil {
			return err
		}
		chain, err := parsePair(pair[0], cert, pair[1], key)
		if err != nil {
			return err
		}
		m.chains = append(m.chains, chain)
	}
	return nil
}

// Handshake begins TLS on a connection, within a time limit. client is its name in log lines. A
// handshake that fails is logged here.
func (s *Server) Handshake(ctx context.Context, h Handshake) (*tls.Conn, Session, error) {
	s.refresh()
	if s.mask&logVerbose != 0 {
		s.p.Log.Infof("setting up TLS connection from %s", h.Client)
		s.p.Log.Infof("%s: TLS cipher list \"%s\"", h.Client, s.p.CipherList)
	}
	h.server, h.material, h.ctx = s, s.files.Load(), ctx
	config := s.outer.Clone()
	config.GetConfigForClient = h.configFor
	conn := tls.Server(h.Conn, config)
	if h.Timeout > 0 {
		h.Conn.SetDeadline(time.Now().Add(h.Timeout)) //nolint:errcheck // the handshake tells
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		s.logFailure(h.Client, err)
		return nil, Session{}, err
	}
	h.Conn.SetDeadline(time.Time{}) //nolint:errcheck // reading tells
	return conn, h.session(conn.ConnectionState()), nil
}

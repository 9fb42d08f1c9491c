package login

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/auth/client"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// startBackend answers connections with a text each, line for line of what it is sent, and
// returns its address.
func startBackend(t testing.TB, lines string) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewScanner(c)
				for line := range strings.Lines(lines) {
					if _, err := c.Write([]byte(line)); err != nil || !in.Scan() {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// proxiedSession is a session of a client that reads nothing.
func proxiedSession(t testing.TB, service string) *session {
	t.Helper()
	s := newTestServer(t, service, "login_proxy_max_reconnects = 0\n")
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	go func() {
		for b := make([]byte, 512); ; {
			if _, err := far.Read(b); err != nil {
				return
			}
		}
	}()
	c, err := newSession(s.Server, near, Listener{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, cancel := context.WithCancel(context.Background())
	c.cancel, c.user, c.tag = cancel, "alice", "a"
	return c
}

// FuzzProxyDialogue logs in at servers that say anything. It must come to an end.
func FuzzProxyDialogue(f *testing.F) {
	f.Add(true, "* OK [CAPABILITY IMAP4rev1 SASL-IR ID] ready\n* ID NIL\nI OK\nL OK [CAPABILITY X] in\n")
	f.Add(true, "* OK hi\n* CAPABILITY IMAP4rev1 LOGINDISABLED\nC OK\nL NO [UNAVAILABLE] later\n")
	f.Add(true, "* OK hi\n+ \nL NO\n")
	f.Add(false, "+OK [XCLIENT] ready\n+OK\n+OK\n+OK in\n")
	f.Add(false, "+OK\n-ERR [SYS/TEMP] later\n")
	f.Add(false, "+OK\n+ !\n")
	f.Fuzz(func(t *testing.T, imap bool, lines string) {
		service := "pop3"
		if imap {
			service = "imap"
		}
		addr := startBackend(t, lines+"\n")
		c := proxiedSession(t, service)
		mech := "PLAIN"
		if len(lines)%2 == 0 {
			mech = ""
		}
		fields := client.Fields{
			{Name: "proxy"}, {Name: "host", Value: "127.0.0.1"}, {Name: "port", Value: netipPort(addr)}, {Name: "pass", Value: "p"},
			{Name: "proxy_mech", Value: mech}, {Name: "forward_x", Value: "y"}, {Name: "proxy_timeout", Value: "5"},
		}
		if goesOn := c.startProxy(context.Background(), fields); goesOn && c.relayed != nil {
			t.Error("relayed, and waiting for commands")
		}
		if c.relayed != nil {
			c.relayed.server.raw.Close()
		}
	})
}

func netipPort(a netip.AddrPort) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// Clients of a server that has gone are sent away within the time allowed, one after the
// other.
func TestDelayDisconnect(t *testing.T) {
	const sessions, longest = 100, 10 * time.Second
	r := &proxyRecord{proxying: sessions}
	now := time.Now()
	var last time.Duration
	atOnce := 0
	for range sessions {
		r.leave()
		delay := r.delayDisconnect(longest, now)
		if delay == 0 {
			atOnce++
			continue
		}
		if delay < last || delay > longest+time.Second {
			t.Fatalf("delay %v after %v", delay, last)
		}
		last = delay
	}
	if atOnce != sessions/10 || last < longest-time.Second {
		t.Errorf("%d sent away at once, the last after %v", atOnce, last)
	}
	if delay := (&proxyRecord{proxying: 5}).delayDisconnect(0, now); delay != 0 {
		t.Errorf("delay %v without login_proxy_max_disconnect_delay", delay)
	}
}

// A server that refuses connections is not asked by everybody.
func TestHostIsDown(t *testing.T) {
	r := &proxyRecord{lastSuccess: time.Now().Add(-time.Minute), lastFailure: time.Now()}
	if !r.wait(defaultDownAfter) {
		t.Error("nobody may look whether it is back")
	}
	if r.wait(defaultDownAfter) {
		t.Error("two wait for a server that is down")
	}
	r.connected(true, time.Now())
	for range 2 {
		if !r.wait(defaultDownAfter) {
			t.Error("it is back, and clients are refused")
		}
	}
}

// A certificate without a revocation list, or on one, is refused.
func TestRevokedServer(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "mail.example.com"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	list := func(revoked ...int64) tlsconf.RevocationLists {
		l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
		for _, n := range revoked {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: now})
		}
		der, err := x509.CreateRevocationList(rand.Reader, l, cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if l, err = x509.ParseRevocationList(der); err != nil {
			t.Fatal(err)
		}
		return tlsconf.RevocationLists{l}
	}
	for name, tt := range map[string]struct {
		lists tlsconf.RevocationLists
		at    time.Time
		want  string
	}{
		"no list":       {nil, now, "unable to get certificate CRL"},
		"not on it":     {list(8), now, ""},
		"on it":         {list(8, 7), now, "certificate revoked"},
		"on an old one": {list(7), now.Add(2 * time.Hour), "certificate revoked"},
		"list is old":   {list(8), now.Add(2 * time.Hour), "CRL has expired"},
	} {
		_, err := tt.lists.Check([]*x509.Certificate{cert}, true, tt.at)
		if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if !certificateFor(cert, "mail.example.com") || certificateFor(cert, "other.example.com") {
		t.Error("the common name of a certificate without other names does not count")
	}
}

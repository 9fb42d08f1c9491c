package smtp

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A scripted server answers as the lines of its script say:
//
//	PATTERN -> REPLY
//
// The first line counts whose pattern the command begins with; what no line
// has is answered as by a server with nothing but PIPELINING. Patterns besides commands are
// "greeting", "auth" (an answer to a challenge) and "." (the end of the
// content; for LMTP "." and the recipient). In front of a pattern, "first " means that
// the line counts once, "second " that it counts the second time only. A
// reply is lines separated by " | ". In it
//
//	LONG       is 9000 letters
//	(close)    closes the connection
//	(reset)    resets the connection
//	(silent)   answers nothing any more
//	(drip)     begins a reply that never ends
//	(junk)     sends what is no TLS
//	(slow)     reads the content slowly
//	(stall)    reads nothing of the content
//	(stop)     reads a piece of the content, and resets the connection
//	(tls)      does a TLS handshake after the reply
//	(content)  awaits the content before the connection is closed
type scripted struct {
	t     testing.TB
	lmtp  bool
	rules []rule
	cert  tls.Certificate
	l     net.Listener

	slow      bool                      // reads and writes are small
	wrap      func(c net.Conn) net.Conn // changes connections
	onSilence func()                    // called where it says nothing
	onContent func()                    // called before the content is answered

	mu    sync.Mutex
	used  map[string]int
	seen  []string // what clients said
	sent  []string // what they were told, if it was sent as a whole
	conns int
	open  map[net.Conn]bool

	stalled sync.WaitGroup // ends when the server stops
	once    sync.Once
	done    sync.WaitGroup
}

type rule struct {
	pattern, reply string
	first, second  bool
}

var usualReplies = []rule{
	{pattern: "greeting", reply: "220 mx.test ESMTP"},
	{pattern: "EHLO", reply: "250-mx.test | 250 PIPELINING"},
	{pattern: "LHLO", reply: "250-mx.test | 250 PIPELINING"},
	{pattern: "HELO", reply: "250 mx.test"},
	{pattern: "MAIL", reply: "250 2.1.0 Ok"},
	{pattern: "RCPT", reply: "250 2.1.5 Ok"},
	{pattern: "DATA", reply: "354 go on"},
	{pattern: ".", reply: "250 2.0.0 Ok: queued"},
	{pattern: "STARTTLS", reply: "220 2.0.0 Ready (tls)"},
	{pattern: "QUIT", reply: "221 2.0.0 Bye (close)"},
	{pattern: "RSET", reply: "250 2.0.0 Ok"},
	{pattern: "XFORWARD", reply: "250 2.0.0 Ok"},
	{pattern: "AUTH", reply: "235 2.7.0 Ok"},
	{pattern: "auth", reply: "235 2.7.0 Ok"},
	{pattern: "", reply: "500 5.5.2 what?"},
}

// startScripted starts a server; set sets its fields before.
func startScripted(t testing.TB, network, address, script string, set ...func(*scripted)) *scripted {
	t.Helper()
	s := &scripted{t: t, used: map[string]int{}, open: map[net.Conn]bool{}}
	for line := range strings.Lines(script) {
		pattern, reply, ok := strings.Cut(strings.TrimSpace(line), " -> ")
		if !ok {
			if pattern != "" {
				t.Fatalf("script: %q", line)
			}
			continue
		}
		r := rule{reply: reply}
		pattern, r.first = strings.CutPrefix(pattern, "first ")
		r.pattern, r.second = strings.CutPrefix(pattern, "second ")
		s.rules = append(s.rules, r)
	}
	s.rules = append(s.rules, usualReplies...)
	s.cert, _ = testCertificate(t)
	for _, fn := range set {
		fn(s)
	}
	if s.l == nil {
		var err error
		if s.l, err = net.Listen(network, address); err != nil {
			t.Fatal(err)
		}
	}
	s.stalled.Add(1)
	s.done.Go(s.serve)
	t.Cleanup(s.stop)
	return s
}

func (s *scripted) port() string {
	_, port, _ := net.SplitHostPort(s.l.Addr().String())
	return port
}

func (s *scripted) stop() {
	s.l.Close()
	s.mu.Lock()
	for c := range s.open {
		c.Close()
	}
	s.mu.Unlock()
	s.once.Do(s.stalled.Done)
	s.done.Wait()
}

func (s *scripted) serve() {
	for {
		c, err := s.l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns++
		s.open[c] = true
		s.mu.Unlock()
		if s.slow {
			c.(*net.TCPConn).SetReadBuffer(4 << 10)
			c.(*net.TCPConn).SetWriteBuffer(4 << 10)
		}
		s.done.Go(func() {
			defer c.Close()
			c := c
			if s.wrap != nil {
				c = s.wrap(c)
			}
			(&scriptedConn{scripted: s, conn: c, r: bufio.NewReader(c)}).talk()
		})
	}
}

// transcript is what clients said, without what servers may or may not be told.
func (s *scripted) transcript() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, line := range s.seen {
		if line != "QUIT" && line != "RSET" {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// said is what clients said.
func (s *scripted) said() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// answered counts how often a reply was sent.
func (s *scripted) answered(reply string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.sent {
		if r == reply {
			n++
		}
	}
	return n
}

// hangUp ends all connections from this side.
func (s *scripted) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		c.(*net.TCPConn).CloseWrite()
	}
}

func (s *scripted) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// reply finds the answer to a command.
func (s *scripted) reply(command string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if !strings.HasPrefix(command, r.pattern) {
			continue
		}
		key := r.pattern
		if r.first || r.second {
			key += "\x00" + r.reply
			s.used[key]++
			if r.first && s.used[key] != 1 || r.second && s.used[key] != 2 {
				continue
			}
		}
		return r.reply
	}
	return "500 no rule"
}

type scriptedConn struct {
	*scripted
	conn     net.Conn
	r        *bufio.Reader
	accepted []string // recipients
}

func (c *scriptedConn) talk() {
	if !c.answer("greeting") {
		return
	}
	if _, secure := c.conn.(*tls.Conn); secure && !c.answer("greeting") {
		return
	}
	challenged := false
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		c.note(line)
		command := line
		if challenged {
			command = "auth " + line
		}
		reply := c.scripted.reply(command)
		challenged = strings.HasPrefix(reply, "334")
		if !c.send(reply) {
			return
		}
		verb := strings.ToUpper(line[:min(4, len(line))])
		switch {
		case verb == "MAIL" || verb == "RSET":
			c.accepted = nil
		case verb == "RCPT" && reply[0] == '2':
			_, to, _ := strings.Cut(line, "<")
			to, _, _ = strings.Cut(to, ">")
			c.accepted = append(c.accepted, to)
		case verb == "DATA" && reply[0] == '3':
			if !c.content() {
				return
			}
		}
	}
}

func (c *scriptedConn) note(line string) {
	c.mu.Lock()
	c.seen = append(c.seen, line)
	c.mu.Unlock()
}

func (c *scriptedConn) content() bool {
	received := false // in the header that the sending server has added
	for first := true; ; first = false {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return false
		}
		line = strings.TrimRight(line, "\r\n")
		received = first && strings.HasPrefix(line, "Received:") || received && (strings.HasPrefix(line, "\t") || strings.HasPrefix(line, " "))
		if !received {
			c.note("| " + line)
		}
		if line == "." {
			break
		}
	}
	if c.onContent != nil {
		c.onContent()
	}
	if !c.lmtp {
		return c.answer(".")
	}
	for _, to := range c.accepted {
		if !c.answer(". " + to) {
			return false
		}
	}
	return true
}

func (c *scriptedConn) answer(command string) bool { return c.send(c.scripted.reply(command)) }

// send reports whether the session goes on.
func (c *scriptedConn) send(reply string) bool {
	text, end := reply, ""
	if i := strings.LastIndexByte(reply, '('); i >= 0 && strings.HasSuffix(reply, ")") {
		text, end = strings.TrimSpace(reply[:i]), reply[i:]
	}
	c.mu.Lock()
	c.sent = append(c.sent, text) // before the client can act on it
	c.mu.Unlock()
	if text != "" {
		lines := strings.NewReplacer(" | ", "\r\n", "LONG", strings.Repeat("x", 9000)).Replace(text)
		if _, err := io.WriteString(c.conn, lines+"\r\n"); err != nil {
			c.mu.Lock()
			c.sent[len(c.sent)-1] += " (cut)"
			c.mu.Unlock()
			return false
		}
	}
	switch end {
	case "(close)":
		c.finish()
		return false
	case "(silent)":
		if c.onSilence != nil {
			c.onSilence()
		}
		io.Copy(io.Discard, c.r) //nolint:errcheck // until the client goes
		return false
	case "(reset)":
		c.reset()
		return false
	case "(drip)":
		for range time.Tick(20 * time.Millisecond) {
			if _, err := io.WriteString(c.conn, "250-more\r\n"); err != nil {
				return false
			}
		}
	case "(junk)":
		if _, err := c.r.Peek(1); err != nil { // the client has begun the handshake
			return false
		}
		io.WriteString(c.conn, strings.Repeat("no TLS\r\n", 1000))
		c.finish()
		return false
	case "(slow)":
		for range time.Tick(20 * time.Millisecond) {
			if _, err := io.CopyN(io.Discard, c.r, 2000); err != nil {
				return false
			}
		}
	case "(stall)":
		c.scripted.stalled.Wait()
		return false
	case "(stop)":
		io.CopyN(io.Discard, c.r, 1<<16) //nolint:errcheck // what matters is that there is more
		c.reset()
		return false
	case "(content)":
		for {
			if line, err := c.r.ReadString('\n'); err != nil || line == ".\r\n" {
				return false
			}
		}
	case "(tls)":
		conn := tls.Server(c.conn, &tls.Config{Certificates: []tls.Certificate{c.cert}, CurvePreferences: []tls.CurveID{tls.X25519}})
		conn.SetDeadline(time.Now().Add(60 * time.Second))
		if conn.Handshake() != nil {
			return false
		}
		conn.SetDeadline(time.Time{})
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	return true
}

// reset has the end of the connection be a reset.
func (c *scriptedConn) reset() {
	if tcp, ok := c.conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
}

// finish closes the sending side and lets the client close its own: what it has
// sent meanwhile would make the system reset the connection, and clients say
// something else then.
func (c *scriptedConn) finish() {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	io.Copy(io.Discard, c.r) //nolint:errcheck // until the client goes
}

var certificate struct {
	once sync.Once
	pair tls.Certificate
	pem  []byte
}

// testCertificate returns a certificate for mx.test and localhost, which is its own authority,
// and the path of a file with it.
func testCertificate(t testing.TB) (tls.Certificate, string) {
	t.Helper()
	certificate.once.Do(func() {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		tmpl := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mx.test"}, DNSNames: []string{"mx.test", "*.mail.test", "localhost"},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		}
		der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		certificate.pair = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		certificate.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	})
	dir, err := os.MkdirTemp("", "certificate") // readable by Postfix's user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	path := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(path, certificate.pem, 0o644); err != nil {
		t.Fatal(err)
	}
	return certificate.pair, path
}

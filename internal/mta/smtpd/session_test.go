package smtpd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
)

const wholeSession = "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice>\r\nDATA\r\n" +
	"Subject: x\r\n\r\nhello\r\n.\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<bob>\r\nBDAT 10 LAST\r\nSubject: x\r\nQUIT\r\n"

// TestDisconnect ends the connection after every byte of a session: nothing
// is queued that was not sent as a whole.
func TestDisconnect(t *testing.T) {
	ts := startServer(t, "", nil)
	complete := []int{strings.Index(wholeSession, "\r\n.\r\n") + 5, strings.Index(wholeSession, "\r\nQUIT")}
	for n := range len(wholeSession) {
		conn := dial(t, ts.addr)
		io.WriteString(conn, wholeSession[:n])
		conn.(*net.TCPConn).CloseWrite()
		replies := readAll(t, conn)
		ts.awaitSessions(t)
		want := 0
		for _, end := range complete {
			if n >= end {
				want++
			}
		}
		if got := len(ts.queue.messages); got != want || strings.Count(replies, "queued as") != want {
			t.Fatalf("after %q: %d queued, want %d; replies:\n%s", wholeSession[:n], got, want, replies)
		}
		ts.queue.messages = nil
	}
}

// TestSlowClient sends a session byte by byte.
func TestSlowClient(t *testing.T) {
	ts := startServer(t, "", nil)
	conn := dial(t, ts.addr)
	for i := range len(wholeSession) {
		io.WriteString(conn, wholeSession[i:i+1])
	}
	if replies := readAll(t, conn); strings.Count(replies, "queued as") != 2 || !strings.HasSuffix(replies, "221 2.0.0 Bye\r\n") {
		t.Errorf("replies:\n%s", replies)
	}
}

func TestLongLine(t *testing.T) {
	ts := startServer(t, "", nil)
	conn := dial(t, ts.addr)
	io.WriteString(conn, "EHLO "+strings.Repeat("x", 100_000)+"\r\nNOOP\r\nQUIT\r\n")
	if replies := readAll(t, conn); !strings.HasSuffix(replies, "250 CHUNKING\r\n250 2.0.0 Ok\r\n221 2.0.0 Bye\r\n") {
		t.Errorf("replies:\n%s", replies)
	}
	ts.awaitSessions(t)
	if log := ts.log.lines(t); !strings.Contains(log, "warning: unknown[127.0.0.1]: request longer than 2048: EHLO xxxxxxxxxxxxxxxxxxxxxxxxx...") {
		t.Errorf("log:\n%s", log)
	}
}

func TestTimeout(t *testing.T) {
	ts := startServer(t, "smtpd_timeout = 1s\n", nil)
	conn := dial(t, ts.addr)
	io.WriteString(conn, "HELO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice>\r\nDATA\r\nSubject: x\r\n")
	if replies := readAll(t, conn); !strings.HasSuffix(replies, "421 4.4.2 mail.example.com Error: timeout exceeded\r\n") {
		t.Errorf("replies:\n%s", replies)
	}
	ts.awaitSessions(t)
	log := ts.log.lines(t)
	if !strings.Contains(log, "timeout after DATA (12 bytes) from unknown[127.0.0.1]\ndisconnect from unknown[127.0.0.1] helo=1 mail=1 rcpt=1 data=0/1 commands=3/4\n") {
		t.Errorf("log:\n%s", log)
	}
}

// TestShutdown stops the server with an idle client, whom it tells, and one in
// a transaction, which is finished.
func TestShutdown(t *testing.T) {
	ts := startServer(t, "", nil)
	idle, busy := dial(t, ts.addr), dial(t, ts.addr)
	busyReader, idleReader := bufio.NewReader(busy), bufio.NewReader(idle)
	io.WriteString(idle, "NOOP\r\n")
	io.WriteString(busy, "HELO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice>\r\n")
	for range 4 {
		busyReader.ReadString('\n')
	}
	for range 2 {
		idleReader.ReadString('\n')
	}
	stopped := make(chan struct{})
	go func() { ts.stop(); close(stopped) }()
	if line, err := idleReader.ReadString('\n'); !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("idle client got %q, %v", line, err)
	}
	select {
	case <-stopped:
		t.Error("stopped within a transaction")
	default:
	}
	io.WriteString(busy, "DATA\r\n\r\nhello\r\n.\r\n")
	busyReader.ReadString('\n')
	if line, err := busyReader.ReadString('\n'); !strings.HasPrefix(line, "250 2.0.0 Ok: queued") {
		t.Errorf("busy client got %q, %v", line, err)
	}
	if line, err := busyReader.ReadString('\n'); !strings.HasPrefix(line, "421 4.3.2 ") {
		t.Errorf("busy client got %q, %v", line, err)
	}
	<-stopped
}

// TestPanic shows that a panic ends its session and no other.
func TestPanic(t *testing.T) {
	ts := startServer(t, "", func(c *Config) {
		c.Free = func() (int64, error) { panic("no space") }
	})
	conn, other := dial(t, ts.addr), dial(t, ts.addr)
	io.WriteString(conn, "HELO c\r\nMAIL FROM:<a@b.example>\r\n")
	readAll(t, conn)
	io.WriteString(other, "QUIT\r\n")
	if replies := readAll(t, other); !strings.HasSuffix(replies, "221 2.0.0 Bye\r\n") {
		t.Errorf("the other session got %q", replies)
	}
	if log := ts.log.lines(t); !strings.Contains(log, "panic: session with unknown[127.0.0.1]: no space") {
		t.Errorf("log:\n%s", log)
	}
}

func TestQueueFailure(t *testing.T) {
	for err, want := range map[error]string{
		queue.ErrNoSpace:         "452 4.3.1 Error: insufficient system storage",
		queue.ErrSync:            "451 4.3.0 Error: queue file write error",
		errors.New("other"):      "451 4.3.0 Error: queue file write error",
		context.DeadlineExceeded: "451 4.7.1 Error: service unavailable",
	} {
		ts := startServer(t, "", nil)
		ts.queue.fail = err
		conn := dial(t, ts.addr)
		io.WriteString(conn, wholeSession)
		if replies := readAll(t, conn); strings.Count(replies, want) != 2 {
			t.Errorf("%v: replies:\n%s", err, replies)
		}
	}
}

func TestLowSpace(t *testing.T) {
	ts := startServer(t, "", func(c *Config) {
		c.Free = func() (int64, error) { return 15_000_000, nil }
	})
	conn := dial(t, ts.addr)
	io.WriteString(conn, "HELO c\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n")
	if replies := readAll(t, conn); !strings.Contains(replies, "\n452 4.3.1 Insufficient system storage\r\n") {
		t.Errorf("replies:\n%s", replies)
	}
	if log := ts.log.lines(t); !strings.Contains(log, "warning: not enough free space in mail queue: 15000000 bytes < 1.5*message size limit\n"+
		"NOQUEUE: reject: MAIL from unknown[127.0.0.1]: 452 4.3.1 Insufficient system storage; proto=SMTP helo=<c>\n") {
		t.Errorf("log:\n%s", log)
	}
}

func TestAnvil(t *testing.T) {
	ts := startServer(t, "smtpd_client_event_limit_exceptions =\nsmtpd_client_connection_count_limit = 2\n"+
		"smtpd_client_message_rate_limit = 1\nsmtpd_client_recipient_rate_limit = 1\n", func(c *Config) {
		c.Anvil = NewAnvil(time.Minute, maillog.New(nil, ""))
	})
	var conns []net.Conn
	for range 2 {
		conn := dial(t, ts.addr)
		bufio.NewReader(conn).ReadString('\n')
		conns = append(conns, conn)
	}
	third := dial(t, ts.addr)
	if replies := readAll(t, third); replies != "421 4.7.0 mail.example.com Error: too many connections from 127.0.0.1\r\n" {
		t.Errorf("third connection: %q", replies)
	}
	io.WriteString(conns[0], "HELO c\r\nMAIL FROM:<a>\r\nRCPT TO:<alice>\r\nRCPT TO:<bob>\r\nRSET\r\nMAIL FROM:<a>\r\nQUIT\r\n")
	replies := readAll(t, conns[0])
	for _, want := range []string{"450 4.7.1 Error: too much mail from 127.0.0.1\r\n", "450 4.7.1 Error: too many recipients from 127.0.0.1\r\n"} {
		if !strings.Contains(replies, want) {
			t.Errorf("no %q in\n%s", want, replies)
		}
	}
	conns[1].Close()
	ts.awaitSessions(t)
	log := ts.log.lines(t)
	for _, want := range []string{
		"warning: Connection concurrency limit exceeded: 3 from unknown[127.0.0.1] for service smtp\n",
		"warning: Message delivery request rate limit exceeded: 2 from unknown[127.0.0.1] for service smtp\n",
		"warning: Recipient address rate limit exceeded: 2 from unknown[127.0.0.1] for service smtp\n",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %q in\n%s", want, log)
		}
	}
}

// testCertificate makes a certificate for mail.example.com, and returns the name of the file.
func testCertificate(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"mail.example.com"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "chain.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSTARTTLS(t *testing.T) {
	ts := startServer(t, "smtpd_tls_security_level = encrypt\nsmtpd_tls_received_header = yes\nsmtpd_tls_loglevel = 1\nsmtpd_tls_chain_files = "+testCertificate(t)+"\n", nil)
	plain := dial(t, ts.addr)
	r := bufio.NewReader(plain)
	r.ReadString('\n')
	io.WriteString(plain, "MAIL FROM:<a>\r\n")
	if line, _ := r.ReadString('\n'); line != "530 5.7.0 Must issue a STARTTLS command first\r\n" {
		t.Errorf("MAIL without TLS: %q", line)
	}
	// What is sent in plain text behind STARTTLS must not be obeyed.
	io.WriteString(plain, "STARTTLS\r\nNOOP injected\r\n")
	if line, _ := r.ReadString('\n'); line != "220 2.0.0 Ready to start TLS\r\n" {
		t.Fatalf("STARTTLS: %q", line)
	}
	conn := tls.Client(plain, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}})
	io.WriteString(conn, "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<alice>\r\nDATA\r\n"+"\r\n"+strings.Repeat(strings.Repeat("x", 70)+"\r\n", 2000)+".\r\nSTARTTLS\r\nQUIT\r\n")
	replies := readAll(t, conn)
	if strings.Contains(replies, "STARTTLS") || !strings.Contains(replies, "queued as") || !strings.Contains(replies, "554 5.5.1 Error: TLS already active\r\n221") {
		t.Errorf("replies:\n%s", replies)
	}
	ts.awaitSessions(t)
	want := regexp.MustCompile(`^Received: from c \(unknown \[127\.0\.0\.1\]\)\r\n\t\(using TLSv1\.3 with cipher TLS_\w+ \(\d+/\d+ bits\)\r\n\t key-exchange X25519 server-signature ECDSA \(prime256v1\) server-digest SHA256\)\r\n` +
		`\t\(No client certificate requested\)\r\n\tby mail\.example\.com \(Postfix\) with ESMTPS id `)
	if m := ts.queue.messages; len(m) != 1 || !want.Match(m[0].body.Bytes()) || m[0].size < 2000*72 {
		t.Errorf("message: %.500s", m[0].body.String())
	}
	log := ts.log.lines(t)
	if !strings.Contains(log, "Anonymous TLS connection established from unknown[127.0.0.1]: TLSv1.3 with cipher TLS_") || strings.Contains(log, "noop=") {
		t.Errorf("log:\n%s", log)
	}
}

func TestWrappermode(t *testing.T) {
	ts := startServer(t, "smtpd_tls_wrappermode = yes\nsmtpd_tls_chain_files = "+testCertificate(t)+"\n", nil)
	conn := tls.Client(dial(t, ts.addr), &tls.Config{InsecureSkipVerify: true})
	io.WriteString(conn, "QUIT\r\n")
	if replies := readAll(t, conn); replies != "220 mail.example.com ESMTP Postfix\r\n221 2.0.0 Bye\r\n" {
		t.Errorf("replies: %q", replies)
	}
	garbage := dial(t, ts.addr)
	io.WriteString(garbage, "QUIT\r\n")
	readAll(t, garbage)
	ts.awaitSessions(t)
	if log := ts.log.lines(t); !strings.Contains(log, "SSL_accept error from unknown[127.0.0.1]: -1\n") {
		t.Errorf("log:\n%s", log)
	}
}

// TestBadConfiguration lists what must keep a server from starting.
func TestBadConfiguration(t *testing.T) {
	for config, want := range map[string]string{
		"smtpd_relay_restrictions = permit_mynetworks\n":                          "specify at least one working instance of: reject_unauth_destination",
		"smtpd_relay_restrictions = permit, reject_unauth_destination\n":          "specify at least one working instance",
		"smtpd_relay_restrictions = warn_if_reject reject\n":                      "specify at least one working instance",
		"smtpd_recipient_restrictions = check_policy_service ftp:x\n":             "invalid transport name: ftp in service: ftp:x",
		"smtpd_client_restrictions = reject_rbl_client rbl.example=1.2.3\n":       "RBL reply error: bad address pattern",
		"smtpd_client_restrictions = check_policy_service {inet:x:1, timout=1}\n": "unknown attribute name: \"timout\"",
		"smtpd_restriction_classes = own\n":                                       "restriction class `own' needs a definition",
		"unknown_address_tempfail_action = accept\n":                              "bad configuration: unknown_address_tempfail_action = accept",
		"smtpd_expansion_filter = a\\\n":                                          "smtpd_expansion_filter: nothing follows the last backslash",
		"smtpd_forbid_bare_newline = maybe\n":                                     "smtpd_forbid_bare_newline = maybe",
		"smtpd_tls_security_level = maybe\n":                                      "Invalid TLS level",
		"receive_override_options = no_such\n":                                    "unknown receive_override_options value",
		"smtpd_sasl_auth_enable = yes\nsmtpd_sasl_security_options = no\n":        "no configuration of the SASL application",
		"smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = no\n":                    "unsupported SASL server implementation: no",
	} {
		ts := &testServer{queue: new(memoryQueue), log: newLog(t)}
		if _, err := New(testConfig(t, config, ts)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", config, err, want)
		}
	}
}

// FuzzSession sends anything to a server; it must answer in SMTP and end.
func FuzzSession(f *testing.F) {
	f.Add([]byte(wholeSession))
	for _, d := range readDialogues(f) {
		var b bytes.Buffer
		for _, line := range d.lines {
			if text, ok := strings.CutPrefix(line, "C: "); ok {
				b.WriteString(text + "\r\n")
			}
		}
		f.Add(b.Bytes())
	}
	ts := startServer(f, "smtpd_error_sleep_time = 0\nsmtpd_authorized_xclient_hosts = 127.0.0.1, 0.0.0.0/0\nsmtpd_forbid_bare_newline_exclusions =\n", nil)
	ts.queue.discard = true
	reply := regexp.MustCompile(`^(\d\d\d[- ][^\r\n]*\r\n)*$`)
	f.Fuzz(func(t *testing.T, in []byte) {
		client, server := net.Pipe()
		done := make(chan struct{})
		go func() { ts.ServeConn(context.Background(), server); close(done) }()
		go func() {
			client.Write(in)
			client.Write([]byte("\r\n.\r\nQUIT\r\n"))
			client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}()
		client.SetDeadline(time.Now().Add(60 * time.Second))
		out, err := io.ReadAll(client)
		client.Close()
		<-done
		if err != nil { // it went in the middle of a reply
			out = out[:bytes.LastIndexByte(out, '\n')+1]
		}
		if !reply.Match(out) {
			t.Errorf("%q answered by %q", in, out)
		}
	})
	if log := ts.log.lines(f); strings.Contains(log, "panic:") {
		f.Error(log)
	}
}

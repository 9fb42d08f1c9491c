package lmtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dovetail-mail/dovetail/internal/conf/dovecot"
	"github.com/dovetail-mail/dovetail/internal/rawlog"
	"github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/tlsconf"
)

// ProxySSL are the settings of TLS to the servers that have recipients' mailboxes.
type ProxySSL struct {
	CAFile           string `set:"ssl_client_ca_file" path:"yes" doc:"CA file for outgoing TLS"`
	CADir            string `set:"ssl_client_ca_dir" path:"yes" doc:"CA directory for outgoing TLS"`
	Cert             string `set:"ssl_client_cert" file:"yes" doc:"certificate for outgoing TLS"`
	Key              string `set:"ssl_client_key" file:"yes" doc:"key for outgoing TLS"`
	RequireValidCert bool   `set:"ssl_client_require_valid_cert" default:"yes" doc:"refuse invalid certificates of servers"`
	MinProtocol      string `set:"ssl_min_protocol" default:"TLSv1.2" doc:"lowest TLS version: SSLv3, TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, LATEST, ANY"`
	CipherList       string `set:"ssl_cipher_list" default:"ALL:!kRSA:!SRP:!kDHd:!DSS:!aNULL:!eNULL:!EXPORT:!DES:!3DES:!MD5:!PSK:!RC4:!ADH:!LOW@STRENGTH" doc:"TLS 1.2 and older ciphers, OpenSSL syntax"`
	CurveList        string `set:"ssl_curve_list" doc:"elliptic curves, empty for auto"`
}

var _ = dovecot.Register("lmtp", ProxySSL{})

// outgoingTLS is the configuration of TLS with a server.
func (s *Server) outgoingTLS(d *destination) (*tls.Config, error) {
	set, err := dovecot.Get[ProxySSL](s.conf, dovecot.Filter{Service: "lmtp"})
	if err != nil {
		return nil, err
	}
	authorities, err := tlsconf.Authorities(set.CAFile, set.CADir)
	if err != nil {
		return nil, err
	}
	return tlsconf.Client(tlsconf.Params{
		CertPEM: []byte(set.Cert), KeyPEM: []byte(set.Key), CAPEM: authorities,
		MinProtocol: set.MinProtocol, CipherList: set.CipherList, Curves: set.CurveList,
		ServerName: d.host, NoVerify: d.anyCert || !set.RequireValidCert,
	})
}

// A proxyError is why a server could not be used. Detail says it to the MTA, where that
// may know; the log has everything.
type proxyError struct {
	detail string
	err    error
}

func (e *proxyError) Error() string { return e.err.Error() }

// Limits of what a server may answer.
const (
	maxProxyLine  = 4096
	maxProxyLines = 100
)

// A proxyClient is a connection to a server that has mailboxes of recipients of the
// message. It belongs to one goroutine at a time.
type proxyClient struct {
	dest    destination
	timeout time.Duration
	conn    net.Conn // TLS, if there is
	in      *bufio.Reader

	record func(conn net.Conn, setting, dir string) net.Conn

	xclient    []string // attributes that the server takes
	forwards   bool     // it takes XRCPTFORWARD
	offersTLS  bool
	failed     *proxyError // the connection is of no use
	recipients []int       // accepted ones, by their place in the transaction
}

// A proxyOrigin is what servers are told of the client.
type proxyOrigin struct {
	host   string // of this server
	fields []xclientField
	sender string
	body   string // parameter of MAIL
}

// xclientField is an attribute of XCLIENT.
type xclientField struct{ name, value string }

// start connects, and says all that comes before the first recipient.
func (p *proxyClient) start(ctx context.Context, s *Server, o *proxyOrigin) *proxyError {
	d := net.Dialer{Timeout: p.timeout}
	if p.dest.source.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: p.dest.source.AsSlice()}
	}
	conn, err := d.DialContext(ctx, "tcp", p.dest.address())
	if err != nil {
		detail := "connect, "
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
			detail = "DNS lookup, "
		}
		return &proxyError{detail, err}
	}
	p.use(s, conn)
	p.conn.SetDeadline(time.Now().Add(p.timeout)) //nolint:errcheck // the read shows it
	if p.dest.tls && !p.dest.startTLS {
		if err := p.startTLS(ctx, s); err != nil {
			return err
		}
	}
	if _, err := p.expect("greeting"); err != nil {
		if errors.Is(err.err, errTimedOut) {
			err.detail = "connect, " // as if there were no connection yet
		}
		return err
	}
	if err := p.hello(o.host); err != nil {
		return err
	}
	if p.dest.startTLS {
		if !p.offersTLS {
			return &proxyError{"connect, ", errors.New("the server does not offer STARTTLS")}
		}
		if _, err := p.ask("STARTTLS"); err != nil {
			return err
		}
		if err := p.startTLS(ctx, s); err != nil {
			return err
		}
		if err := p.hello(o.host); err != nil {
			return err
		}
	}
	if err := p.tellClient(o); err != nil {
		return err
	}
	mail := "MAIL FROM:<" + string(smtp.AppendAddress(nil, o.sender)) + ">" + o.body
	reply, perr := p.put(mail)
	if perr == nil && reply.Code/100 != 2 {
		perr = &proxyError{"", reply}
	}
	return perr
}

// use makes conn what is spoken over, with a record in lmtp_proxy_rawlog_dir.
func (p *proxyClient) use(s *Server, conn net.Conn) {
	p.conn = p.record(conn, "lmtp_proxy_rawlog_dir", s.set.ProxyRawlogDir)
	p.in = bufio.NewReaderSize(p.conn, maxProxyLine)
}

func (p *proxyClient) startTLS(ctx context.Context, s *Server) *proxyError {
	config, err := s.outgoingTLS(&p.dest)
	if err != nil {
		return &proxyError{"connect, ", err}
	}
	conn := tls.Client(rawlog.End(p.conn), config)
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		return &proxyError{"connect, ", err}
	}
	p.use(s, conn) // what came in plain text is forgotten
	return nil
}

// hello asks what the server can do.
func (p *proxyClient) hello(host string) *proxyError {
	verb := "LHLO "
	if p.dest.smtp {
		verb = "EHLO "
	}
	reply, err := p.ask(verb + host)
	if err != nil {
		return err
	}
	p.xclient, p.forwards, p.offersTLS = nil, false, false
	for line := range strings.SplitSeq(reply.Text, "\n") {
		words := strings.Fields(strings.ToUpper(line))
		switch {
		case len(words) == 0:
		case words[0] == "XCLIENT":
			p.xclient = words[1:]
		case words[0] == "XRCPTFORWARD":
			p.forwards = true
		case words[0] == "STARTTLS":
			p.offersTLS = true
		}
	}
	return nil
}

// tellClient tells a server that wants to know who the client is.
func (p *proxyClient) tellClient(o *proxyOrigin) *proxyError {
	if p.dest.notTrusted {
		return nil
	}
	line := "XCLIENT"
	for _, f := range o.fields {
		if f.value != "" && slices.Contains(p.xclient, f.name) {
			line += " " + f.name + "=" + string(smtp.AppendXtext(nil, f.value))
		}
	}
	if line == "XCLIENT" {
		return nil
	}
	if _, err := p.ask(line); err != nil {
		return err
	}
	return p.hello(o.host)
}

// rcpt asks whether the server takes a recipient.
func (p *proxyClient) rcpt(address, orcpt string, forward []string) (smtp.Reply, *proxyError) {
	line := "RCPT TO:<" + string(smtp.AppendAddress(nil, address)) + ">"
	if orcpt != "" {
		line += " ORCPT=rfc822;" + string(smtp.AppendXtext(nil, orcpt))
	}
	if len(forward) > 0 && p.forwards {
		line += " XRCPTFORWARD=" + smtp.Xtext(strings.Join(forward, "\t"))
	}
	return p.put(line)
}

// data sends the message and returns the answer to each recipient, or what went wrong
// before there was one.
func (p *proxyClient) data(msg Content, skip int64, timeout time.Duration) []proxyAnswer {
	p.timeout = max(p.timeout, timeout)
	answers := make([]proxyAnswer, len(p.recipients))
	fail := func(from int, reply smtp.Reply, err *proxyError) []proxyAnswer {
		for i := from; i < len(answers); i++ {
			answers[i] = proxyAnswer{reply, err}
		}
		return answers
	}
	reply, err := p.put("DATA")
	if err != nil || reply.Code != 354 {
		return fail(0, reply, err)
	}
	p.conn.SetDeadline(time.Now().Add(p.timeout)) //nolint:errcheck // the write shows it
	w := smtp.NewDataWriter(deadlineWriter{p})
	_, cerr := io.Copy(w, io.NewSectionReader(msg, skip, msg.Size()-skip))
	if cerr != nil {
		w.Abort()
		return fail(0, smtp.Reply{}, p.lost(cerr))
	}
	if cerr := w.Close(); cerr != nil {
		return fail(0, smtp.Reply{}, p.lost(cerr))
	}
	for i := range answers {
		reply, err := p.reply()
		answers[i] = proxyAnswer{reply, err}
		if err != nil || p.dest.smtp {
			return fail(i, reply, err)
		}
	}
	return answers
}

// proxyAnswer is what became of the message for one recipient.
type proxyAnswer struct {
	reply smtp.Reply
	err   *proxyError
}

// deadlineWriter gives each write the whole timeout.
type deadlineWriter struct{ p *proxyClient }

// Write implements [io.Writer].
func (w deadlineWriter) Write(b []byte) (int, error) {
	w.p.conn.SetDeadline(time.Now().Add(w.p.timeout)) //nolint:errcheck // the write shows it
	return w.p.conn.Write(b)
}

// ask sends a command that must succeed.
func (p *proxyClient) ask(command string) (smtp.Reply, *proxyError) {
	if err := p.send(command); err != nil {
		return smtp.Reply{}, err
	}
	verb, _, _ := strings.Cut(command, " ")
	return p.expect(verb)
}

// expect reads an answer that must be a success.
func (p *proxyClient) expect(what string) (smtp.Reply, *proxyError) {
	reply, err := p.reply()
	if err == nil && reply.Code/100 != 2 {
		detail := "connect, "
		if reply.Code == 421 { // it is going away
			detail = "connection lost, "
		}
		err = &proxyError{detail, fmt.Errorf("%s: the server answered %s", what, reply.AppendText(nil))}
	}
	return reply, err
}

// put sends a command and returns the answer.
func (p *proxyClient) put(command string) (smtp.Reply, *proxyError) {
	if err := p.send(command); err != nil {
		return smtp.Reply{}, err
	}
	return p.reply()
}

func (p *proxyClient) send(command string) *proxyError {
	p.conn.SetDeadline(time.Now().Add(p.timeout)) //nolint:errcheck // the write shows it
	if _, err := io.WriteString(p.conn, command+"\r\n"); err != nil {
		return p.lost(err)
	}
	return nil
}

// errTimedOut is for a server that takes too long.
var errTimedOut = errors.New("Command timed out")

// lost says that the connection is gone, or hangs.
func (p *proxyClient) lost(err error) *proxyError {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &proxyError{"timed out, ", errTimedOut}
	}
	return &proxyError{"connection lost, ", fmt.Errorf("Connection lost: %w", err)}
}

// reply reads an answer, whose lines may be many.
func (p *proxyClient) reply() (smtp.Reply, *proxyError) {
	var r smtp.Reply
	for range maxProxyLines {
		line, err := p.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return r, &proxyError{"bad reply, ", errors.New("Bad reply: line too long")}
		}
		if err != nil {
			return r, p.lost(err)
		}
		last, ok := appendReply(&r, strings.TrimRight(string(line), "\r\n"))
		if !ok {
			return r, &proxyError{"bad reply, ", fmt.Errorf("Bad reply: %q", line)}
		}
		if last {
			return r, nil
		}
	}
	return r, &proxyError{"bad reply, ", errors.New("Bad reply: too many lines")}
}

// appendReply adds a line to an answer, of which it may be the last.
func appendReply(r *smtp.Reply, line string) (last, ok bool) {
	if len(line) < 3 || len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return false, false
	}
	code, err := strconv.Atoi(line[:3])
	if err != nil || code < 200 || code > 599 || r.Code != 0 && code != r.Code {
		return false, false
	}
	text := line[min(4, len(line)):]
	if e, n := smtp.ParseEnhanced(text); n > 0 && e.WithClass(code) == e {
		r.Enhanced, text = e, strings.TrimPrefix(text[n:], " ")
	}
	if r.Code != 0 {
		text = r.Text + "\n" + text
	}
	r.Code, r.Text = code, printableText(text)
	return len(line) == 3 || line[3] == ' ', true
}

// printableText replaces what must not go into a reply or the log.
func printableText(text string) string {
	return strings.Map(func(c rune) rune {
		if c != '\n' && (c < ' ' || c == 0x7f) {
			return '?'
		}
		return c
	}, text)
}

// close leaves the server, without waiting for it to say good-bye.
func (p *proxyClient) close() {
	if p.conn == nil {
		return
	}
	if p.failed == nil {
		p.conn.SetDeadline(time.Now().Add(time.Second)) //nolint:errcheck // a courtesy
		io.WriteString(p.conn, "QUIT\r\n")              //nolint:errcheck // likewise
	}
	p.conn.Close()
}

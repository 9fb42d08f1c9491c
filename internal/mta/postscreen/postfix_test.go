package postscreen

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	"github.com/dovetail-mail/dovetail/internal/table"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// A script is a file in testdata, for this server and for Postfix alike:
//
//	-- main.cf --   parameters besides baseConfig; CLIENT is the client's address, DIR a directory with cert.pem
//	-- zone --      for the name server; REVERSED is the client's address as in DNS lists
//	-- session --   one connection, of any number: "C: line", "C! quoted bytes", "S" (a reply is read), "TLS", "close" (by the client),
//	                "end" (by the server)
//
// What both said and logged has to be the same.
type script struct {
	name, config, zone string
	sessions           [][]string
	addr               string // of the client
}

const baseConfig = `
compatibility_level = 3.6
myhostname = mail.example.com
mydomain = example.com
mydestination = example.com
mynetworks = 192.0.2.0/24
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
smtpd_peername_lookup = no
alias_maps =
local_recipient_maps =
postscreen_greet_wait = 1s
postscreen_cache_map =
`

func readScripts(t *testing.T) []*script {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts: ", err)
	}
	var all []*script
	for i, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &script{name: strings.TrimSuffix(filepath.Base(file), ".txtar"), addr: fmt.Sprintf("127.0.1.%d", i+1)}
		for _, f := range archive.Files {
			text := strings.ReplaceAll(string(f.Data), "CLIENT", s.addr)
			switch f.Name {
			case "main.cf":
				s.config = text
			case "zone":
				s.zone = strings.ReplaceAll(text, "REVERSED", fmt.Sprintf("%d.1.0.127", i+1))
			case "session":
				s.sessions = append(s.sessions, strings.Split(strings.TrimSpace(text), "\n"))
			default:
				t.Fatalf("%s: unknown section %q", file, f.Name)
			}
		}
		all = append(all, s)
	}
	return all
}

// play has the sessions of a script, one after the other, and returns how they went.
func (s *script) play(t *testing.T, addr string) string {
	var out strings.Builder
	for i, lines := range s.sessions {
		fmt.Fprintf(&out, "session %d\n", i+1)
		s.session(t, addr, lines, &out)
	}
	return out.String()
}

func (s *script) session(t *testing.T, addr string, lines []string, out *strings.Builder) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(s.addr)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(40 * time.Second))
	r := bufio.NewReader(conn)
	for _, line := range lines {
		kind, text, _ := strings.Cut(line, " ")
		out.WriteString(line + "\n")
		switch kind {
		case "C:":
			io.WriteString(conn, text+"\r\n")
		case "C!":
			raw, err := strconv.Unquote(text)
			if err != nil {
				t.Errorf("%s: %s: %v", s.name, line, err)
			}
			io.WriteString(conn, raw)
		case "S":
			if !readReply(r, out) {
				return
			}
		case "TLS":
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.X25519}})
			if err := secure.Handshake(); err != nil {
				t.Errorf("%s: %v", s.name, err)
				return
			}
			conn, r = secure, bufio.NewReader(secure)
		case "close":
			return
		case "end":
			if text, err := r.ReadString('\n'); !errors.Is(err, io.EOF) && !strings.Contains(fmt.Sprint(err), "reset") {
				fmt.Fprintf(out, "no end: %q\n", text)
			}
			return
		default:
			t.Errorf("%s: bad line %q", s.name, line)
		}
	}
}

// readReply reads a reply; false: there is none.
func readReply(r *bufio.Reader, out *strings.Builder) bool {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			out.WriteString("closed\n")
			return false
		}
		out.WriteString(strings.TrimRight(line, "\r\n") + "\n")
		if len(line) < 4 || line[3] != '-' || strings.HasPrefix(line, "220-") {
			return true
		}
	}
}

var (
	portPattern = regexp.MustCompile(`(\[[0-9.]+\]):\d+`)
	bareport    = regexp.MustCompile(`(\[[0-9.]+\])\d+: disc`)
	timePattern = regexp.MustCompile(`after [0-9.]+ from`)
)

// normalize replaces what differs from run to run, and sorts what dnsblog says behind the rest.
func normalize(log string) string {
	log = portPattern.ReplaceAllString(log, "$1:PORT")
	log = bareport.ReplaceAllString(log, "${1}PORT: disc")
	log = timePattern.ReplaceAllString(log, "after TIME from")
	var screen, blog []string
	for line := range strings.Lines(log) {
		switch {
		case strings.HasPrefix(line, "addr "), strings.Contains(line, "dnsblog_query"):
			blog = append(blog, line)
		case !strings.Contains(line, "close database") && !strings.Contains(line, " full cleanup: "):
			screen = append(screen, line)
		}
	}
	slices.Sort(blog)
	return strings.Join(screen, "") + strings.Join(blog, "")
}

// realPostfix is a Postfix with a service for each script.
type realPostfix struct {
	*harness.Postfix
	addrs []string
}

func startPostfix(t *testing.T, all []*script, names *dnstest.Server, dir string) *realPostfix {
	t.Helper()
	p := new(realPostfix)
	services := "smtpd pass - - n - - smtpd\ndnsblog unix - - y - 0 dnsblog\ntlsproxy unix - - n - 0 tlsproxy\n"
	for i, s := range append(all[:len(all):len(all)], &script{}) {
		p.addrs = append(p.addrs, fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t)))
		services += fmt.Sprintf("%s inet n - n - 1 postscreen -o syslog_name=script%d\n", p.addrs[i], i)
		for line := range strings.Lines(strings.ReplaceAll(s.config, "DIR", dir)) {
			services += "  -o { " + strings.TrimSpace(line) + " }\n"
		}
	}
	p.Postfix = harness.StartPostfix(t, map[string]string{
		"main.cf": baseConfig + strings.ReplaceAll(tlsConfig, "DIR", dir), "master.cf": services,
		"resolv.conf": "nameserver " + strings.TrimSuffix(names.Addr, ":53") + "\noptions timeout:1 attempts:1\n",
	})
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.addrs[len(all)])
		if err == nil {
			conn.Close()
			return p
		}
		if time.Now().After(deadline) {
			t.Fatalf("Postfix does not start: %v\n%s", err, p.Log())
		}
	}
}

const tlsConfig = "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = DIR/cert.pem\n"

// logOf is what postscreen and dnsblog logged of a script, in at least so many lines.
func (p *realPostfix) logOf(i int, s *script, lines int) string {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		var out strings.Builder
		for line := range strings.Lines(p.Log()) {
			_, text, _ := strings.Cut(line, "]: ")
			if strings.Contains(line, fmt.Sprintf(" script%d/postscreen[", i)) || strings.Contains(line, "/dnsblog[") && strings.Contains(text, "addr "+s.addr+" ") {
				out.WriteString(text)
			}
		}
		if log := normalize(out.String()); strings.Count(log, "\n") >= lines || time.Now().After(deadline) {
			return log
		}
	}
}

// ourServer is a server of this package, with an SMTP server behind it that only greets.
type ourServer struct {
	*Server
	addr string
	log  string
	sink *maillog.Sink
	stop func() // returns when all sessions are over
}

func startServer(t *testing.T, config string, cache *Cache) *ourServer {
	t.Helper()
	main, err := postfix.Parse(t.TempDir(), baseConfig+config)
	if err != nil {
		t.Fatal(err)
	}
	o := &ourServer{log: filepath.Join(t.TempDir(), "log")}
	f, err := os.Create(o.log)
	if err != nil {
		t.Fatal(err)
	}
	o.sink = maillog.NewFile(f, maillog.Postfix, "mail")
	t.Cleanup(o.sink.Close)
	log := maillog.New(o.sink, "postfix/postscreen[1]")
	open, err := resolve.NewOpener(main, table.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	names, err := dns.New(dns.Options{})
	if err != nil {
		t.Fatal(err)
	}
	passage := NewPassage()
	o.Server, err = New(Config{
		Main: main, Tables: open, Names: names, Cache: cache, Passage: passage,
		Log: log, BlogLog: log, TLSLog: log.With("postfix/tlsproxy[1]"), ReadFile: os.ReadFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.addr = l.Addr().String()
	go greetAll(passage)
	done := make(chan error, 1)
	go func() { done <- o.Serve(context.Background(), l) }()
	var over bool
	o.stop = func() {
		if over {
			return
		}
		over = true
		l.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		passage.Close()
	}
	t.Cleanup(o.stop)
	return o
}

func (o *ourServer) logged(t *testing.T) string {
	t.Helper()
	o.sink.Flush()
	b, err := os.ReadFile(o.log)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(b)) {
		_, text, _ := strings.Cut(line, "]: ")
		if !strings.Contains(line, "/tlsproxy[") {
			out.WriteString(text)
		}
	}
	return out.String()
}

// greetAll stands in for the SMTP server: it greets, and takes QUIT.
func greetAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.WriteString(conn, "220 mail.example.com ESMTP Postfix\r\n")
			if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil && line == "QUIT\r\n" {
				io.WriteString(conn, "221 2.0.0 Bye\r\n")
			}
		}()
	}
}

func TestLikePostfix(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may start Postfix")
	}
	all := readScripts(t)
	var zone strings.Builder
	for _, s := range all {
		zone.WriteString(s.zone)
	}
	names := dnstest.NewOnPort53(t, zone.String())
	t.Setenv("DOVETAIL_RESOLV_CONF", names.ResolvConf)
	dir := certificate(t)
	p := startPostfix(t, all, names, dir)
	// Scripts wait most of the time: all are played at once.
	servers := make([]*ourServer, len(all))
	var ours, theirs sync.WaitGroup
	said := make([][2]string, len(all))
	for i, s := range all {
		cache := (*Cache)(nil)
		if strings.Contains(s.config, "postscreen_cache_map") {
			cache = NewCache("", nil)
		}
		servers[i] = startServer(t, strings.ReplaceAll(tlsConfig+s.config, "DIR", dir), cache)
		ours.Go(func() { said[i][0] = s.play(t, servers[i].addr) })
		theirs.Go(func() { said[i][1] = s.play(t, p.addrs[i]) })
	}
	ours.Wait()
	theirs.Wait()
	for i, s := range all {
		t.Run(s.name, func(t *testing.T) {
			servers[i].stop()
			log := normalize(servers[i].logged(t))
			if diff := cmp.Diff(said[i][1], said[i][0]); diff != "" {
				t.Errorf("dialogue (-Postfix +Dovetail):\n%s", diff)
			}
			if diff := cmp.Diff(p.logOf(i, s, strings.Count(log, "\n")), log); diff != "" {
				t.Errorf("log (-Postfix +Dovetail):\n%s", diff)
			}
		})
	}
}

// certificate makes a directory with a certificate and its key.
func certificate(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key.pem"), filepath.Join(dir, "only.pem")
	harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=mail.example.com", "-keyout", key, "-out", cert)
	var all []byte
	for _, name := range []string{key, cert} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	if err := os.WriteFile(filepath.Join(dir, "cert.pem"), all, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

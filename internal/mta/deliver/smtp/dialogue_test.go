package smtp

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/dovetail-mail/dovetail/internal/conf/postfix"
	"github.com/dovetail-mail/dovetail/internal/dns"
	"github.com/dovetail-mail/dovetail/internal/dns/dnstest"
	"github.com/dovetail-mail/dovetail/internal/maillog"
	"github.com/dovetail-mail/dovetail/internal/mta/deliver"
	"github.com/dovetail-mail/dovetail/internal/mta/queue"
	"github.com/dovetail-mail/dovetail/internal/mta/resolve"
	wire "github.com/dovetail-mail/dovetail/internal/smtp"
	"github.com/dovetail-mail/dovetail/internal/table"
)

var record = flag.Bool("record", false, "write what Postfix does into testdata/dialogues")

// A dialogue is a file in testdata/dialogues: one message, the servers it meets,
// and what comes of it. Its sections are
//
//	main.cf    parameters; CERT, NAMES stand for files, FINGERPRINT and KEYPRINT for digests
//	           of the certificate and its key, PORT for the server's port
//	server     script of the server, see scripted; server2 one of another
//	names      a texthash table
//	dns        zone text of the dialogue's domain, NAME.test, which then is the next hop; server2
//	           has the address 127.0.0.2 and the same port
//	dns-faults names and what is wrong with answers about them, see [dnstest.Server.Misbehave]
//	mail       "lmtp", "nexthop N", "from S", "8bit", "to R": the recipient's local part, "secure":
//	           DNSSEC has validated the domain, "newer": the real Postfix 3.7 cannot do it yet, ...
//	message    the content, else a usual one
//	result     one line per recipient, as logged
//	log        other lines that the delivery agent logged
//	seen       what the first server was told
//
// The results are what the real Postfix logs, which TestDialoguesPostfix checks
// and -record writes.
type dialogue struct {
	name string
	file string
	arc  *txtar.Archive

	lmtp     bool
	secure   bool
	newer    bool
	big      bool // more than buffers hold
	nexthop  string
	from     string
	eightBit bool
	dsn      string // parameters of RCPT TO
	to       []string
}

func readDialogues(t testing.TB) []*dialogue {
	t.Helper()
	files, err := filepath.Glob("testdata/dialogues/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dialogues: %v", err)
	}
	var all []*dialogue
	for _, file := range files {
		arc, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		d := &dialogue{name: strings.TrimSuffix(filepath.Base(file), ".txt"), file: file, arc: arc}
		d.read(t, d.section("mail"))
		all = append(all, d)
	}
	return all
}

// read takes the lines of a section mail.
func (d *dialogue) read(t testing.TB, mail string) {
	t.Helper()
	d.from = "sender@example.org"
	for line := range strings.Lines(mail) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "lmtp":
			d.lmtp = true
		case "secure":
			d.secure = true
		case "newer":
			d.newer = true
		case "big":
			d.big = true
		case "8bit":
			d.eightBit = true
		case "nexthop":
			d.nexthop = value
		case "from":
			d.from = value
		case "dsn":
			d.dsn = value
		case "to":
			d.to = append(d.to, value)
		default:
			t.Fatalf("%s: mail: %q", d.name, line)
		}
	}
	if d.to == nil {
		d.to = []string{"a"}
	}
}

func (d *dialogue) section(name string) string {
	for _, f := range d.arc.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

func (d *dialogue) set(name, text string) {
	i := slices.IndexFunc(d.arc.Files, func(f txtar.File) bool { return f.Name == name })
	if i >= 0 {
		d.arc.Files = slices.Delete(d.arc.Files, i, i+1)
	}
	if text != "" {
		d.arc.Files = append(d.arc.Files, txtar.File{Name: name, Data: []byte(text)})
	}
}

const usualMessage = `From: sender@example.org
To: a@example.test
Subject: a test
Date: Sun, 22 Nov 2026 10:00:00 +0000
Message-ID: <1@example.org>

one
.two
..
three
`

func (d *dialogue) message() string {
	text := d.section("message")
	switch {
	case d.big:
		text = bigMessage
	case text == "":
		text = usualMessage
	}
	return strings.ReplaceAll(text, "\n", "\r\n")
}

// withDNS tells whether the next hop is looked up.
func (d *dialogue) withDNS() bool { return d.section("dns")+d.section("dns-faults") != "" }

// domain is that of the recipients.
func (d *dialogue) domain() string { return d.name + ".test" }

// A stage is a dialogue's servers.
type stage struct {
	d       *dialogue
	servers []*scripted
	replace *strings.Replacer // makes the words of a dialogue real
	restore *strings.Replacer
}

func (d *dialogue) stage(t testing.TB) *stage {
	st := &stage{d: d}
	pair, cert := testCertificate(t)
	dir, err := os.MkdirTemp("", "dialogue")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	os.Chmod(dir, 0o755)
	names := filepath.Join(dir, "names")
	words := []string{"CERT", cert, "NAMES", names, "FINGERPRINT", fingerprint(pair.Certificate[0]), "KEYPRINT", keyprint(t, pair.Certificate[0])}
	st.servers = d.start(t)
	var back []string
	for i, word := range []string{"PORT2", "PORT"} {
		port := st.servers[1-i].port()
		words = append(words, word, port)
		if word == "PORT" || !d.withDNS() {
			back = append(back, ":"+port, ":"+word, "_"+port+".", "_"+word+".")
		}
	}
	socket := filepath.Join(dir, "socket")
	if strings.Contains(d.nexthop, "SOCKET") {
		s := startScripted(t, "unix", socket, d.section("server"), d.protocol)
		os.Chmod(socket, 0o666)
		st.servers[0] = s
	}
	back = append(back, strings.ReplaceAll(words[7], ":", ""), words[6])
	port := unusedPort(t)
	words = append(words, "NOBODY", port, "SOCKET", socket)
	back = append(back, ":"+port, ":NOBODY", socket, "SOCKET")
	st.replace, st.restore = strings.NewReplacer(words...), strings.NewReplacer(back...)
	if err := os.WriteFile(names, []byte(st.replace.Replace(d.section("names"))), 0o644); err != nil {
		t.Fatal(err)
	}
	return st
}

// start starts the two servers. Where the DNS leads to them they have the same port.
func (d *dialogue) start(t testing.TB) []*scripted {
	if !d.withDNS() {
		return []*scripted{
			startScripted(t, "tcp", "127.0.0.1:0", d.section("server"), d.protocol),
			startScripted(t, "tcp", "127.0.0.1:0", d.section("server2"), d.protocol),
		}
	}
	for {
		second := startScripted(t, "tcp", "127.0.0.2:0", d.section("server2"), d.protocol)
		if l, err := net.Listen("tcp", "127.0.0.1:"+second.port()); err == nil {
			first := startScripted(t, "", "", d.section("server"), d.protocol, func(s *scripted) { s.l = l })
			return []*scripted{first, second}
		}
	}
}

// zone is the text of the dialogue's zone.
func (st *stage) zone() string {
	text := st.replace.Replace(st.d.section("dns"))
	return strings.ReplaceAll(text, ":", "") + "\n" // of fingerprints
}

// spoil makes a name server go wrong as the dialogue says.
func (st *stage) spoil(t testing.TB, server *dnstest.Server) {
	server.Misbehave(t, st.d.section("dns-faults"))
	if st.d.secure {
		server.SecureBelow(st.d.domain())
	}
}

// fingerprint is a digest as it is written in the configuration.
func fingerprint(b []byte) string {
	digits := strings.ToUpper(hex.EncodeToString(sum256(b)))
	var words []string
	for i := 0; i < len(digits); i += 2 {
		words = append(words, digits[i:i+2])
	}
	return strings.Join(words, ":")
}

func keyprint(t testing.TB, der []byte) string {
	t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return fingerprint(cert.RawSubjectPublicKeyInfo)
}

func (d *dialogue) protocol(s *scripted) { s.lmtp = d.lmtp }

func (st *stage) nexthop() string {
	switch {
	case st.d.nexthop != "":
		return st.replace.Replace(st.d.nexthop)
	case st.d.withDNS():
		return st.replace.Replace(st.d.domain() + ":PORT")
	}
	return st.replace.Replace("[127.0.0.1]:PORT")
}

const baseConfig = `
compatibility_level = 3.6
myhostname = mail.example.org
mydomain = example.org
inet_protocols = ipv4
`

// outcome is what became of a dialogue.
type outcome struct{ Result, Log, Seen string }

func (d *dialogue) want() outcome {
	return outcome{d.section("result"), d.section("log"), d.section("seen")}
}

// TestDialogues runs the dialogues with this package.
func TestDialogues(t *testing.T) {
	for _, d := range readDialogues(t) {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			st := d.stage(t)
			got := st.play(t)
			if diff := cmp.Diff(d.want(), got); diff != "" {
				t.Errorf("%s: -want +got\n%s", strings.TrimSpace(string(d.arc.Comment)), diff)
			}
		})
	}
}

// play delivers the message of the dialogue.
func (st *stage) play(t testing.TB) outcome {
	d := st.d
	var logged logLines
	var names dns.Options
	if d.withDNS() {
		server := dnstest.New(t, st.zone())
		st.spoil(t, server)
		names.ResolvConf, names.Timeout = server.ResolvConf, time.Second
	}
	agent := newTestAgentWith(t, names, baseConfig+st.replace.Replace(d.section("main.cf")), d.lmtp, &logged)
	defer agent.Close()
	m, content := queued(t, d)
	r := &deliver.Request{Message: m, Content: content, Transport: d.name, Nexthop: st.nexthop()}
	for _, to := range m.Recipients {
		r.Recipients = append(r.Recipients, deliver.Recipient{Address: to.Address, Original: to.Original, DSNOrcpt: to.DSNOrcpt, Notify: to.Notify})
	}
	lines := make([]string, len(r.Recipients))
	agent.Deliver(context.Background(), r, func(i int, s deliver.Status) {
		if lines[i] != "" {
			t.Errorf("recipient %d is reported twice", i)
		}
		words := map[deliver.Action]string{deliver.Deferred: "deferred", deliver.Bounced: "bounced"}
		word, ok := words[s.Action]
		if s.Action == deliver.Bounced && agent.core.SoftBounce {
			word, s.Enhanced[0] = "SOFTBOUNCE", 4 // as the queue manager has it
		}
		if !ok {
			word = "sent"
		}
		lines[i] = fmt.Sprintf("%s: relay=%s, dsn=%s, status=%s (%s)\n", d.to[i], s.Relay, s.Enhanced, word, s.Text)
	})
	log := strings.ReplaceAll(logged.text(), m.ID, "QUEUEID")
	return st.outcome(lines, log)
}

// sizes differ as Postfix counts a header field of its own.
var sizes = regexp.MustCompile(` SIZE=\d+| size \d+ exceeds`)

func (st *stage) outcome(results []string, log string) outcome {
	tidy := func(text string) string {
		return sizes.ReplaceAllStringFunc(st.restore.Replace(text), func(s string) string {
			return strings.Map(func(r rune) rune {
				if r >= '0' && r <= '9' {
					return -1
				}
				return r
			}, s)
		})
	}
	return outcome{tidy(strings.Join(results, "")), tidy(log), tidy(st.servers[0].transcript())}
}

type logLines struct {
	mu    sync.Mutex
	lines []string
}

func (l *logLines) add(level maillog.Level, text string) {
	switch level {
	case maillog.Warning:
		text = "warning: " + text
	case maillog.Error:
		text = "error: " + text
	}
	l.mu.Lock()
	l.lines = append(l.lines, text+"\n")
	l.mu.Unlock()
}

func (l *logLines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "")
}

func newTestAgent(t testing.TB, config string, lmtp bool, logged *logLines) *Agent {
	t.Helper()
	return newTestAgentWith(t, dns.Options{}, config, lmtp, logged)
}

func newTestAgentWith(t testing.TB, names dns.Options, config string, lmtp bool, logged *logLines) *Agent {
	t.Helper()
	main, err := postfix.Parse("/etc/postfix", config)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dns.New(names)
	if err != nil {
		t.Fatal(err)
	}
	log := maillog.NewFunc(logged.add)
	tables, err := resolve.NewOpener(main, table.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	rewrite, err := resolve.New(main, tables, log)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Main: main, Rewrite: rewrite, Resolver: resolver, Own: []netip.Addr{netip.MustParseAddr("127.0.0.1")}, ReadFile: os.ReadFile,
		Tables: tables, Log: log}
	if lmtp {
		c.Protocol = LMTP
	}
	agent, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return agent
}

// queued puts the message of a dialogue into a queue.
func queued(t testing.TB, d *dialogue) (*queue.Message, *queue.Content) {
	t.Helper()
	e := &queue.Envelope{Sender: d.from, Client: queue.Client{Name: "unknown", Addr: "127.0.0.1", Port: "1", Proto: "ESMTP", Helo: "client.example.org"}, RewriteContext: "local"}
	if d.eightBit {
		e.Encoding = "8bit"
	}
	for _, to := range d.to {
		rcpt := queue.Recipient{Address: to + "@" + d.domain(), Original: to + "@" + d.domain()}
		if p, err := wire.ParsePath([]byte("<" + rcpt.Address + ">")); err == nil {
			rcpt.Address = p.Address
			rcpt.Original = p.Address
		}
		rcpt.DSNOrcpt = "rfc822;" + to + "@" + d.domain()
		if strings.Contains(d.dsn, "NOTIFY=SUCCESS,FAILURE") {
			rcpt.Notify = queue.NotifySuccess | queue.NotifyFailure
		}
		e.Recipients = append(e.Recipients, rcpt)
	}
	return enqueue(t, e, d.message())
}

// mailQueue is the queue of all tests: to open one for each takes them longer than all else.
var mailQueue struct {
	mu      sync.Mutex
	store   *queue.Store
	arrived chan *queue.Message
}

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "queue")
	if err == nil {
		mailQueue.store, err = queue.Open(dir, &queue.Settings{}, nil)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	mailQueue.arrived = make(chan *queue.Message, 1)
	mailQueue.store.OnArrival(func(m *queue.Message) { mailQueue.arrived <- m })
	status := m.Run()
	mailQueue.store.Close()
	os.RemoveAll(dir)
	os.Exit(status)
}

func enqueue(t testing.TB, e *queue.Envelope, text string) (*queue.Message, *queue.Content) {
	t.Helper()
	q := &mailQueue
	q.mu.Lock()
	defer q.mu.Unlock()
	w, err := q.store.NewMessage(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	m := <-q.arrived
	content, err := q.store.Content(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { content.Close() })
	return m, content
}

// unusedPort returns a port that is taken, but where nobody listens.
func unusedPort(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	addr, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(addr.(*syscall.SockaddrInet4).Port)
}

package smtp

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"flag"
	"fmt"
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
//	mail       "lmtp", "nexthop N", "from S", "8bit", "to R": the recipient's local part, ...
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
		d := &dialogue{name: strings.TrimSuffix(filepath.Base(file), ".txt"), file: file, arc: arc, from: "sender@example.org"}
		for line := range strings.Lines(d.section("mail")) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch key {
			case "lmtp":
				d.lmtp = true
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
				t.Fatalf("%s: mail: %q", file, line)
			}
		}
		if d.to == nil {
			d.to = []string{"a"}
		}
		all = append(all, d)
	}
	return all
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
	if text == "" {
		text = usualMessage
	}
	return strings.ReplaceAll(text, "\n", "\r\n")
}

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
	var back []string
	for _, name := range []string{"server2", "server"} {
		word := strings.ToUpper(strings.Replace(name, "server", "port", 1))
		s := startScripted(t, "tcp", "127.0.0.1:0", d.section(name), d.protocol)
		words = append(words, word, s.port())
		back = append(back, ":"+s.port(), ":"+word)
		st.servers = append(st.servers, s)
	}
	slices.Reverse(st.servers)
	socket := filepath.Join(dir, "socket")
	if strings.Contains(d.nexthop, "SOCKET") {
		s := startScripted(t, "unix", socket, d.section("server"), d.protocol)
		os.Chmod(socket, 0o666)
		st.servers[0] = s
	}
	port := unusedPort(t)
	words = append(words, "NOBODY", port, "SOCKET", socket)
	back = append(back, ":"+port, ":NOBODY", socket, "SOCKET")
	st.replace, st.restore = strings.NewReplacer(words...), strings.NewReplacer(back...)
	if err := os.WriteFile(names, []byte(st.replace.Replace(d.section("names"))), 0o644); err != nil {
		t.Fatal(err)
	}
	return st
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
	if st.d.nexthop == "" {
		return st.replace.Replace("[127.0.0.1]:PORT")
	}
	return st.replace.Replace(st.d.nexthop)
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
	agent := newTestAgent(t, baseConfig+st.replace.Replace(d.section("main.cf")), d.lmtp, &logged)
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
	main, err := postfix.Parse("/etc/postfix", config)
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := dns.New(dns.Options{})
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

func enqueue(t testing.TB, e *queue.Envelope, text string) (*queue.Message, *queue.Content) {
	t.Helper()
	store, err := queue.Open(t.TempDir(), &queue.Settings{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	arrived := make(chan *queue.Message, 1)
	store.OnArrival(func(m *queue.Message) { arrived <- m })
	w, err := store.NewMessage(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	m := <-arrived
	content, err := store.Content(m)
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

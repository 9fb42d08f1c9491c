package accounts

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/user"
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

	"github.com/dovetail-mail/dovetail/test/harness"
)

// detailFrontend has what proxies have besides destinations. Its one uid has all mail, and
// only that may look up users.
const detailFrontend = `mail_location = maildir:~/mail
mail_uid = mail
mail_gid = mail
lmtp_proxy = yes
disable_plaintext_auth = no
login_source_ips = ?127.0.0.7 203.0.113.99
login_proxy_rawlog_dir = /raw
lmtp_proxy_rawlog_dir = @DIR@/raw
lmtp_rawlog_dir = @DIR@/clients
service auth {
  unix_listener auth-userdb {
    mode = 0600
    user = mail
  }
}
passdb {
  driver = passwd-file
  args = @DIR@/users
}
userdb {
  driver = static
  args = home=@DIR@/mail/%n
}
`

const detailBackend = `mail_location = maildir:~/mail
disable_plaintext_auth = no
passdb {
  driver = static
  args = password=x
}
userdb {
  driver = static
  args = uid=mail gid=mail home=@DIR@/mail/%n
}
`

const detailUsers = `refresh:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ destuser=bob proxy_refresh=1 user_alt=alice
here:{PLAIN}x::::::
smtp@example.com:{PLAIN}x::::::proxy host=127.0.0.1 protocol=smtp port=@SINK@
other@example.com:{PLAIN}x::::::proxy host=127.0.0.1 protocol=smtp port=@SINK@ destuser=renamed@example.net
refused@example.com:{PLAIN}x::::::proxy host=127.0.0.1 protocol=smtp port=@SINK@
silent@example.com:{PLAIN}x::::::proxy host=127.0.0.1 port=@SILENT@ proxy_timeout=1
`

// TestProxyDetails compares front ends: where their connections come from, what they tell
// others and write down, and what they say to servers that speak SMTP.
func TestProxyDetails(t *testing.T) {
	t.Parallel()
	b := startMail(t, harness.Original, detailBackend, nil)
	theirs := playDetails(t, harness.Original, b)
	ours := playDetails(t, harness.Dovetail, b)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
	}
}

func playDetails(t *testing.T, program harness.Program, b *mailService) (said []string) {
	t.Helper()
	var sink smtpSink
	users := strings.NewReplacer("@BACK@", b.ports["@IMAP@"], "@SINK@", listener(t, sink.serve),
		"@SILENT@", listener(t, func(c net.Conn) { io.Copy(io.Discard, c) })).Replace(detailUsers)
	f := startMail(t, program, detailFrontend, map[string]string{"users": users})
	raw := filepath.Join(f.dir, "run", "login", "raw")
	makeDir(t, raw, "dovenull")
	makeDir(t, filepath.Join(f.dir, "raw"), "mail")
	makeDir(t, filepath.Join(f.dir, "clients"), "mail")
	notes := makeFifo(t, filepath.Join(f.dir, "run", "login", "proxy-notify"), "dovenull")

	c := relayedLogin(t, f)
	said = append(said, "note: "+line(t, notes), c.ask("b LOGOUT", "b "))
	said = append(said, askDoveadm(t, f, program)...)
	for _, recipients := range [][]string{
		{"<smtp@example.com>"}, {"<other@example.com>", "<smtp@example.com>", "<refused@example.com>", "<here@example.com>"}, {"<silent@example.com>"},
	} {
		said = append(said, sendThrough(t, f, recipients)...)
	}
	harness.Eventually(t, "the log of all relayed sessions", func() bool { return len(f.log(t, "proxy(refresh,")) == 2*4 })
	f.Stop()
	said = append(said, f.log(t, "proxy(refresh,")...)
	said = append(said, sink.lines()...)
	for _, dir := range []string{raw, filepath.Join(f.dir, "raw"), filepath.Join(f.dir, "clients")} {
		said = append(said, rawlogs(t, dir)...)
	}
	last := b.log(t, "Login: user=<bob>")
	return append(said, regexp.MustCompile(`rip=\S+`).FindString(last[len(last)-1]))
}

// relayedLogin logs in and is relayed.
func relayedLogin(t *testing.T, f *mailService) *lineConn {
	t.Helper()
	c, err := dialFrom("127.0.0.1", f.addr("IMAP"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.until("* OK")
	if answer := c.ask("a LOGIN refresh x", "a "); !strings.HasPrefix(answer, "a OK") {
		t.Fatalf("%s\n%q", answer, f.log(t, ""))
	}
	return c
}

// askDoveadm has doveadm list relayed sessions and end them: its own, and the other one.
func askDoveadm(t *testing.T, f *mailService, program harness.Program) (said []string) {
	t.Helper()
	config := filepath.Join(f.dir, "dovecot.conf")
	own, other := []string{"/usr/bin/doveadm"}, []string{harness.Binary(t), "doveadm"}
	if program == harness.Dovetail {
		own, other = other, own
	}
	ask := func(doveadm []string, args ...string) {
		t.Helper()
		out, err := harness.Try("", doveadm[0], slices.Concat(doveadm[1:], []string{"-c", config, "proxy"}, args)...)
		said = append(said, strings.Join(args, " "), portNumber.ReplaceAllString(fivedigits.ReplaceAllString(out, "PORT"), "ADDR"), fmt.Sprint(err))
	}
	for _, tt := range []struct {
		doveadm []string
		kick    []string
	}{
		{own, []string{"kick", "refresh", "nosuch"}}, {own, []string{"kick", "-h", "127.0.0.1"}}, {other, []string{"kick", "-f", "user_alt", "alice"}},
	} {
		c := relayedLogin(t, f)
		ask(tt.doveadm, "list")
		ask(tt.doveadm, "kick", "nosuch")
		ask(tt.doveadm, "kick", "-f", "user_alt", "nosuch")
		ask(tt.doveadm, tt.kick...)
		said = append(said, c.until(""))
	}
	ask(own, "list")
	return said
}

// fivedigits are the ports of servers under test.
var fivedigits = regexp.MustCompile(`\b\d{4,5} *`)

func makeDir(t *testing.T, path, owner string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	chown(t, path, owner)
}

func makeFifo(t *testing.T, path, owner string) *os.File {
	t.Helper()
	os.Remove(path)
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	chown(t, path, owner)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func chown(t *testing.T, path, owner string) {
	t.Helper()
	u, err := user.Lookup(owner)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

// line reads one line.
func line(t *testing.T, f *os.File) string {
	t.Helper()
	if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1000)
	n, err := f.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	text, _, _ := strings.Cut(string(buf[:n]), "\n")
	return text
}

// ofProgram matches lines that are a program's own, and those that not everybody waits to
// say or to be told at the end.
var ofProgram = regexp.MustCompile(`^(Received:|\t|QUIT|421 )`)

var stamped = regexp.MustCompile(`(?m)^\d{10,}\.\d{6} `)

// rawlogs returns, for each connection written down in a directory, how the lines begin,
// which are the program's own further on.
func rawlogs(t *testing.T, dir string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing in %s, %v", dir, err)
	}
	for _, path := range files {
		text := readFile(t, path)
		if n := len(stamped.FindAllString(text, -1)); n != strings.Count(text, "\n") {
			t.Errorf("%s: %d stamps\n%s", path, n, text)
		}
		var words []string
		for line := range strings.Lines(stamped.ReplaceAllString(text, "")) {
			if ofProgram.MatchString(line) {
				continue
			}
			words = append(words, strings.TrimSpace(line[:min(6, len(line))]))
		}
		all = append(all, filepath.Ext(path)+": "+strings.Join(words, "|"))
	}
	slices.Sort(all)
	return all
}

// An smtpSink is an SMTP server that keeps the commands it got.
type smtpSink struct {
	mu       sync.Mutex
	commands []string
}

func (s *smtpSink) serve(c net.Conn) {
	defer c.Close()
	l := newLineConn(c)
	fmt.Fprint(c, "220 sink.example ESMTP\r\n")
	for {
		command, err := l.r.ReadString('\n')
		if err != nil {
			return
		}
		command = strings.TrimSpace(command)
		s.mu.Lock()
		s.commands = append(s.commands, command)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(command, " ")
		switch {
		case verb == "EHLO":
			fmt.Fprint(c, "250-sink.example\r\n250-8BITMIME\r\n250-XCLIENT ADDR PORT\r\n250 ENHANCEDSTATUSCODES\r\n")
		case verb == "XCLIENT":
			fmt.Fprint(c, "220 sink.example ESMTP\r\n")
		case strings.Contains(command, "<refused@"):
			fmt.Fprint(c, "550 5.7.1 Not here\r\n")
		case verb == "DATA":
			fmt.Fprint(c, "354 Go ahead\r\n")
			l.until(".\r\n")
			fmt.Fprint(c, "250 2.0.0 Queued as 1\r\n")
		case verb == "QUIT":
			fmt.Fprint(c, "221 2.0.0 Bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 2.1.0 Ok\r\n")
		}
	}
}

var xclientPort = regexp.MustCompile(`PORT=\d+`)

// lines returns the commands, without what varies.
func (s *smtpSink) lines() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.commands {
		if c != "QUIT" { // which not everybody waits to say
			all = append(all, "sink: "+xclientPort.ReplaceAllString(c, "PORT=N"))
		}
	}
	return all
}

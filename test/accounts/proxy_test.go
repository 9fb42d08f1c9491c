package accounts

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// backend is the server that has the mailboxes. It has a second address with the
// certificate of another authority.
const backend = `mail_location = maildir:~/mail
login_trusted_networks = 127.0.0.1/32
local 127.0.0.3 {
  ssl_cert = <@DIR@/other.pem
  ssl_key = <@DIR@/other.key
}
passdb {
  driver = passwd-file
  args = @DIR@/users
}
passdb {
  driver = passwd-file
  args = @DIR@/masters
  master = yes
}
auth_master_user_separator = *
userdb {
  driver = static
  args = uid=mail gid=mail home=@DIR@/mail/%n
}
`

// frontend relays sessions to it.
const frontend = `mail_location = maildir:~/mail
login_trusted_networks = 127.0.0.1/32
login_proxy_max_reconnects = 1
ssl_ca = <@CA@
ssl_require_crl = no
disable_plaintext_auth = no
passdb {
  driver = passwd-file
  args = @DIR@/users.%s
}
userdb {
  driver = static
  args = uid=mail gid=mail home=@DIR@/mail/%n allow_all_users=yes
}
`

// frontendUsers are named after what they show. They log in in this order, with the
// password x: failures that the back end knows of come last, as it makes the next
// login wait.
const frontendUsers = `bob:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@
destuser:{PLAIN}x::::::proxy=y host=127.0.0.1 port=@BACK@ destuser=bob forward_note=a
password:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ destuser=carol pass=carolpass
mechanism:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ destuser=bob proxy_mech=PLAIN
master:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ destuser=carol master=admin pass=adminpass
nopipelining:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ destuser=bob proxy_nopipelining proxy_timeout=20
nottrusted:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ destuser=bob proxy_not_trusted
hostip:{PLAIN}x::::::proxy host=mail.invalid hostip=127.0.0.1 port=@BACK@ destuser=bob
maybe:{PLAIN}x::::::proxy_maybe host=127.0.0.1 port=@BACK@ destuser=bob
maybehere:{PLAIN}x::::::proxy_maybe host=127.0.0.1 port=@FRONT@ destuser=other
starttls:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ starttls=yes destuser=bob
ssl:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACKTLS@ ssl=yes destuser=bob
sslanycert:{PLAIN}x::::::proxy host=127.0.0.3 port=@BACKTLS@ ssl=any-cert destuser=bob
sslotherca:{PLAIN}x::::::proxy host=127.0.0.3 port=@BACKTLS@ ssl=yes destuser=bob
sslothername:{PLAIN}x::::::proxy host=mail.invalid hostip=127.0.0.1 port=@BACKTLS@ ssl=yes destuser=bob
starttlsotherca:{PLAIN}x::::::proxy host=127.0.0.3 port=@BACK@ starttls=yes destuser=bob
dead:{PLAIN}x::::::proxy host=127.0.0.1 port=@DEAD@ destuser=bob
silent:{PLAIN}x::::::proxy host=127.0.0.1 port=@SILENT@ destuser=bob proxy_timeout=1
babbling:{PLAIN}x::::::proxy host=127.0.0.1 port=@BABBLING@ destuser=bob
closed:{PLAIN}x::::::nologin reason=Tomorrow
referral:{PLAIN}x::::::nologin host=192.0.2.1 port=1143
referred@example.com:{PLAIN}x::::::nologin host=192.0.2.1 reason=Gone
loop1:{PLAIN}x::::::proxy host=127.0.0.1 port=@FRONT@ destuser=loop2
wrong:{PLAIN}x::::::proxy host=127.0.0.1 port=@BACK@ destuser=bob pass=wrong
loop2:{PLAIN}x::::::proxy host=127.0.0.1 port=@FRONT@ destuser=loop1
`

// relayed are those whose login succeeds.
const relayed = " bob destuser password mechanism master nopipelining nottrusted hostip maybe maybehere starttls ssl sslanycert "

// proxied is what clients and logs saw of a front end.
type proxied struct{ Answers, Log, BackendLog []string }

// TestProxy logs in at front ends that relay to back ends: ours before the real one, as the
// real one before itself, and the real one before ours.
func TestProxy(t *testing.T) {
	t.Parallel()
	pairs := [][2]harness.Program{
		{harness.Original, harness.Original}, {harness.Dovetail, harness.Original}, {harness.Original, harness.Dovetail},
	}
	seen := make([]proxied, len(pairs))
	t.Run("pairs", func(t *testing.T) {
		for i, pair := range pairs {
			t.Run(fmt.Sprint(pair), func(t *testing.T) {
				t.Parallel()
				seen[i] = playProxied(t, pair[0], pair[1])
			})
		}
	})
	if t.Failed() {
		return
	}
	for i, pair := range pairs {
		if diff := cmp.Diff(seen[0], seen[i]); diff != "" {
			t.Errorf("%v (-theirs +ours)\n%s", pair, diff)
		}
	}
	if len(seen[0].BackendLog) == 0 || len(seen[0].Log) == 0 {
		t.Errorf("nothing logged: %v", seen[0])
	}
	t.Logf("%s", strings.Join(slices.Concat(seen[0].Answers, seen[0].Log, seen[0].BackendLog), "\n"))
}

// allLogged reports whether the end of each user's sessions is in the log.
func allLogged(t *testing.T, f *mailService, users []string) bool {
	t.Helper()
	text := readFile(t, filepath.Join(f.dir, "log"))
	for _, user := range users {
		for _, service := range []string{"imap", "pop3"} {
			ended := false
			for line := range strings.Lines(text) {
				ended = ended || strings.Contains(line, service+"-login: ") && strings.Contains(line, "user=<"+user+">") &&
					(strings.Contains(line, "Disconnected") || strings.Contains(line, "Info: Login: "))
			}
			if !ended {
				return false
			}
		}
	}
	return true
}

// startProxied starts a front end and its back end.
func startProxied(t *testing.T, front, back harness.Program) (f, b *mailService) {
	t.Helper()
	other := filepath.Join(harness.Dir(t), "other")
	harness.Run(t, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
		"-subj", "/CN=127.0.0.3", "-addext", "subjectAltName=IP:127.0.0.3", "-keyout", other+".key", "-out", other+".pem")
	b = startMail(t, back, backend, map[string]string{
		"users": "bob:{PLAIN}x::::::\ncarol:{PLAIN}carolpass::::::\n", "masters": "admin:{PLAIN}adminpass::::::\n",
		"other.pem": readFile(t, other+".pem"), "other.key": readFile(t, other+".key"),
	})
	ill := []string{
		"@DEAD@", fmt.Sprint(harness.FreePort(t)),
		"@SILENT@", listener(t, func(c net.Conn) { io.Copy(io.Discard, c) }),
		"@BABBLING@", listener(t, func(c net.Conn) {
			defer c.Close()
			fmt.Fprint(c, "* NO thank you\r\n")
			c.Read(make([]byte, 1))
		}),
	}
	files := map[string]string{}
	for service, port := range map[string]string{"imap": "IMAP", "pop3": "POP3", "lmtp": "LMTP"} {
		names := append(ill, "@BACK@", b.ports["@"+port+"@"], "@BACKTLS@", b.ports["@"+port+"S@"], "@FRONT@", "@"+port+"@")
		files["users."+service] = strings.NewReplacer(names...).Replace(frontendUsers)
	}
	f = startMail(t, front, strings.ReplaceAll(frontend, "@CA@", filepath.Join(b.dir, "cert.pem")), files)
	return f, b
}

// playProxied logs all users in over IMAP and POP3.
func playProxied(t *testing.T, front, back harness.Program) (seen proxied) {
	t.Helper()
	f, b := startProxied(t, front, back)
	var users []string
	for line := range strings.Lines(frontendUsers) {
		user, _, _ := strings.Cut(line, ":")
		users = append(users, user)
	}
	users = users[:len(users)-1]
	var pop3 []string
	done := make(chan struct{})
	go func() {
		defer close(done)
		pop3 = playLogins(users, func(user string) string { return "pop3 " + user + ": " + pop3Login(f.addr("POP3"), user) })
	}()
	seen.Answers = playLogins(users, func(user string) string { return "imap " + user + ": " + imapLogin(f.addr("IMAP"), user) })
	<-done
	seen.Answers = append(seen.Answers, pop3...)
	for _, answer := range seen.Answers {
		_, user, _ := strings.Cut(answer, " ")
		user, end, _ := strings.Cut(user, ": ")
		if good := strings.Contains(relayed, " "+user+" "); good != (end == "OK") {
			t.Errorf("%s", answer)
		}
	}
	harness.Eventually(t, "the log of all sessions", func() bool { return allLogged(t, f, users) })
	f.Stop()
	b.Stop()
	for _, line := range slices.Concat(f.log(t, "imap-login: "), f.log(t, "pop3-login: ")) {
		// What a loop logs depends on who closes first, and the order is that of processes.
		if !strings.Contains(line, "loop") && !strings.Contains(line, "user=<>") && strings.Contains(line, "user=<") {
			seen.Log = append(seen.Log, b.plain(line))
		}
	}
	slices.Sort(seen.Log)
	seen.BackendLog = slices.Concat(b.log(t, "imap-login: Info: Login: "), b.log(t, "pop3-login: Info: Login: "))
	slices.Sort(seen.BackendLog)
	checkSessions(t, f, b)
	if !slices.ContainsFunc(f.log(t, "TTL reached zero"), func(line string) bool { return strings.Contains(line, "loop") }) {
		t.Errorf("the loop was not noticed")
	}
	return seen
}

// playLogins logs users in one after the other, but for those whose back end is not well
// and who take their time. It returns what login does, in the order of the users.
func playLogins(users []string, login func(user string) string) []string {
	answers := make([]string, len(users))
	var slow sync.WaitGroup
	for i, user := range users {
		switch {
		case strings.Contains(relayed, " "+user+" "):
			answers[i] = login(user)
		case user == "loop1" || user == "wrong":
			slow.Wait()
			answers[i] = login(user)
		default:
			slow.Go(func() { answers[i] = login(user) })
		}
	}
	slow.Wait()
	return answers
}

var startedSession = regexp.MustCompile(`proxy\((\w+),.* Started proxying .*session=<(.*)>`)

// checkSessions wants the back end to know sessions by the identifiers of the front end.
func checkSessions(t *testing.T, f, b *mailService) {
	t.Helper()
	ours, theirs := readFile(t, filepath.Join(f.dir, "log")), readFile(t, filepath.Join(b.dir, "log"))
	for _, m := range startedSession.FindAllStringSubmatch(ours, -1) {
		if known := strings.Contains(theirs, "<"+m[2]+">"); known != (m[1] != "nottrusted") {
			t.Errorf("session of %s: known to the back end: %v", m[1], known)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// listener accepts connections for a server that is not well, and returns its port.
func listener(t *testing.T, serve func(net.Conn)) string {
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
			go serve(c)
		}
	}()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// dialFrom connects from an address, by which the back end must know the client.
func dialFrom(address, addr string) (*lineConn, error) {
	d := net.Dialer{Timeout: time.Minute, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return newLineConn(conn), nil
}

// imapLogin logs in, looks whether the session works, and logs out. It returns OK, or the
// server's refusal.
func imapLogin(addr, user string) string {
	c, err := dialFrom("127.0.0.9", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	if answer := c.until("* OK"); !strings.HasPrefix(answer, "* OK") {
		return answer
	}
	if answer := c.ask("a LOGIN "+user+" x", "a "); !strings.HasPrefix(answer, "a OK ") {
		return answer
	}
	// Commands that come together must arrive together.
	if answer := c.ask("b NOOP\r\nc NAMESPACE\r\nd LOGOUT", "b "); !strings.HasPrefix(answer, "b OK") {
		return answer
	}
	if answer := c.until("d "); !strings.HasPrefix(answer, "d OK") {
		return answer
	}
	return "OK"
}

// pop3Login does the same.
func pop3Login(addr, user string) string {
	c, err := dialFrom("127.0.0.10", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.until("+OK")
	if answer := c.ask("USER "+user, ""); answer != "+OK" {
		return answer
	}
	if answer := c.ask("PASS x", ""); !strings.HasPrefix(answer, "+OK") {
		return answer
	}
	if answer := c.ask("STAT\r\nNOOP\r\nQUIT", ""); answer != "+OK 0 0" {
		return answer
	}
	if answer := c.until("+OK Logging out"); answer != "+OK Logging out." {
		return answer
	}
	return "OK"
}

package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A doveadmOutcome is what a command led to.
type doveadmOutcome struct {
	Out, Err string
	Code     int
}

// doveadm runs a program's doveadm as a client with the configuration of one of the services.
func doveadm(t *testing.T, p harness.Program, conf, stdin string, args ...string) doveadmOutcome {
	t.Helper()
	args = append([]string{"-c", conf}, args...)
	cmd := exec.Command("doveadm", args...)
	if p == harness.Dovetail {
		cmd = exec.Command(harness.Binary(t), append([]string{"doveadm"}, args...)...)
	}
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return doveadmOutcome{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// A doveadmServer is one of the two services with listeners of service doveadm.
type doveadmServer struct {
	*harness.Mailbox
	plain, tls int // ports
}

const doveadmPassword = "a\tsecret"

// doveadmPair starts both services on the same mail.
func doveadmPair(t *testing.T, extra string) (pair [2]doveadmServer) {
	var mail string
	dir := harness.Dir(t)
	users, passwords := filepath.Join(dir, "users"), filepath.Join(dir, "passwords")
	harness.Write(t, users, "user0@example.test:::::::\nuser1@example.test:::::::\n")
	harness.Write(t, passwords, "user0@example.test:{PLAIN}pass\nuser1@example.test:{PLAIN}pass::::::proxy=y host=localhost hostip=127.0.0.1\n")
	harness.Certificate(t, dir)
	for i, p := range []harness.Program{harness.Dovetail, harness.Original} {
		s := doveadmServer{plain: harness.FreePort(t), tls: harness.FreePort(t)}
		s.Mailbox = harness.StartMailbox(t, p, harness.MailboxOptions{Mail: mail, Location: "mdbox:~/mail", Passdb: "passdb {\n  driver = passwd-file\n  args = " + passwords + "\n}", Extra: fmt.Sprintf(`
doveadm_password = %q
ssl_client_ca_file = %s/cert.pem
userdb {
  driver = passwd-file
  args = %s
}
service doveadm {
  inet_listener plain {
    port = %d
  }
  inet_listener tls {
    port = %d
    ssl = yes
  }
}
%s`, doveadmPassword, dir, users, s.plain, s.tls, extra)})
		mail = s.Mail
		pair[i] = s
	}
	return pair
}

// remoteCommands are run in order by each client on each server, with what they read. The first begins
// with an empty Trash.
var remoteCommands = []struct {
	stdin string
	args  []string
}{
	{"", []string{"mailbox", "list"}},
	{"", []string{"-f", "json", "mailbox", "status", "messages vsize unseen", "*"}},
	{"", []string{"-f", "table", "mailbox", "status", "-t", "messages", "INBOX"}},
	{"", []string{"-f", "tab", "fetch", "uid flags hdr.subject", "all"}},
	{"", []string{"-f", "pager", "fetch", "uid guid hdr.subject", "uid", "1"}},
	{"", []string{"-f", "flow", "fetch", "uid size.physical hdr.subject", "uid", "1:2"}},
	{"", []string{"-f", "json", "fetch", "uid body", "all"}},
	{"", []string{"-f", "tab", "fetch", "body", "uid", "3"}},
	{"", []string{"search", "mailbox", "INBOX", "subject", "tab"}},
	{"", []string{"mailbox", "create", "Box with blank", "Umläute"}},
	{"Subject: saved\n\n.dot\n..two\nno end", []string{"save", "-m", "Box with blank"}},
	{"Subject: crlf\r\n\r\n.\r\nend\r\n", []string{"save", "-m", "Box with blank"}},
	{strings.Repeat("X-Long: "+strings.Repeat("x", 5000)+"\n", 100) + "\n" + strings.Repeat(".", 70000), []string{"save", "-m", "Umläute"}},
	{"", []string{"-f", "json", "fetch", "size.physical text", "mailbox", "Box with blank"}},
	{"", []string{"-f", "json", "fetch", "size.physical hdr body", "mailbox", "Umläute"}},
	{"", []string{"flags", "add", `\Seen $x`, "mailbox", "Box with blank", "all"}},
	{"", []string{"fetch", "flags", "mailbox", "Box with blank", "all"}},
	{"", []string{"mailbox", "status", "messages", "no such mailbox"}},
	{"", []string{"fetch", "uid", "mailbox", "nowhere"}},
	{"", []string{"expunge", "mailbox", "Umläute", "all"}},
	{"", []string{"mailbox", "delete", "Box with blank", "Umläute"}},
	{"", []string{"mailbox", "delete", "Umläute"}},
	{"", []string{"index", "INBOX"}},
}

// Each doveadm works with each server of the protocol: what it prints is what it prints without
// one.
func TestDoveadmServer(t *testing.T) {
	pair := doveadmPair(t, "")
	user := harness.User(0)
	fill := func(text string) {
		doveadm(t, harness.Original, pair[1].Config, text, "save", "-u", user)
	}
	fill("Subject: one\n\nbody\x01\ttext\n")
	fill("Subject: tab\there\n\n\n")
	fill("Subject: long\n\n" + strings.Repeat("some text, which makes a value that comes in parts\t\x01\n", 5000))
	for _, client := range []harness.Program{harness.Dovetail, harness.Original} {
		conf := pair[0].Config
		if client == harness.Original {
			conf = pair[1].Config
		}
		want := runAll(t, client, conf, user)
		for i, server := range pair {
			if client == harness.Original && i == 1 {
				continue // without this server
			}
			where := fmt.Sprintf("127.0.0.1:%d", server.plain)
			if client == harness.Original {
				where = filepath.Join(server.Dir, "run", "doveadm-server")
			}
			got := runAll(t, client, conf, user, "-S", where)
			for n := range want {
				if diff := cmp.Diff(cleaned(want[n]), cleaned(got[n])); diff != "" {
					t.Errorf("doveadm of %s, server of %s, %s: %.300q (-without +with server):\n%s", client, serverNames()[i], where, remoteCommands[n].args, diff)
				}
			}
		}
	}
}

// runAll runs all commands.
func runAll(t *testing.T, client harness.Program, conf, user string, more ...string) (list []doveadmOutcome) {
	t.Helper()
	for _, c := range remoteCommands {
		args := c.args
		words := 1
		for args[0] == "-f" {
			args = args[2:]
		}
		if args[0] == "mailbox" || args[0] == "flags" {
			words = 2
		}
		begin := len(c.args) - len(args) + words
		if client == harness.Original { // it panics if it has to wait until the server has read more
			c.stdin = c.stdin[:min(len(c.stdin), 20000)]
		}
		line := append(append(append([]string(nil), c.args[:begin]...), "-u", user), more...)
		list = append(list, doveadm(t, client, conf, c.stdin, append(line, c.args[begin:]...)...))
	}
	return list
}

// remotePart is what a client puts before messages of a server, and the process and session behind
// a user's name.
var remotePart = regexp.MustCompile(`(?m)(^doveadm\([^)]*\): (Error|Warning|Info|Fatal): remote\([^)]*\): )|^doveadm\([^)]*\): (Error|Info): |(doveadm\([^)]*\)(<[^>]*>)*: )`)

// cleaned leaves out of an outcome who says something.
func cleaned(o doveadmOutcome) doveadmOutcome {
	o.Err = remotePart.ReplaceAllString(o.Err, "")
	if !strings.ContainsAny(o.Out, "\t\f=") { // names of mailboxes, in any order
		lines := strings.SplitAfter(o.Out, "\n")
		slices.Sort(lines)
		o.Out = strings.Join(lines, "")
	}
	return o
}

// A passdb tells on which host a user is, and doveadm has commands run there, with TLS.
func TestDoveadmServerTLS(t *testing.T) {
	pair := doveadmPair(t, "")
	user := harness.User(1)
	doveadm(t, harness.Original, pair[1].Config, "Subject: there\n\n", "save", "-u", user)
	for c, client := range []harness.Program{harness.Dovetail, harness.Original} {
		for i, server := range pair {
			for _, try := range []struct {
				ssl  string
				port int
				code int
			}{{"ssl", server.tls, 0}, {"starttls", server.plain, 0}, {"no", server.plain, 0}, {"no", server.tls, 75}} {
				options := []string{"-o", fmt.Sprint("doveadm_port=", try.port), "-o", "doveadm_ssl=" + try.ssl}
				got := doveadm(t, client, pair[c].Config, "", append(options, "fetch", "-u", user, "hdr.subject", "all")...)
				if got.Code != try.code || try.code == 0 && got.Out != "hdr.subject: there\n" {
					t.Errorf("doveadm of %s, server of %s, doveadm_ssl=%s: %+v", client, serverNames()[i], try.ssl, got)
				}
			}
			options := []string{"-o", fmt.Sprint("doveadm_port=", server.tls), "-o", "doveadm_ssl=ssl", "-o", "ssl_client_ca_file="}
			if got := doveadm(t, client, pair[c].Config, "", append(options, "fetch", "-u", user, "hdr.subject", "all")...); got.Code != 75 {
				t.Errorf("doveadm of %s, server of %s without authorities: %+v", client, serverNames()[i], got)
			}
		}
	}
}

// Several users, and what goes wrong.
func TestDoveadmServerUsers(t *testing.T) {
	pair := doveadmPair(t, "doveadm_allowed_commands = fetch,mailbox list,save,search\n")
	for n := range 2 {
		doveadm(t, harness.Original, pair[1].Config, fmt.Sprintf("Subject: of %d\n\n", n), "save", "-u", harness.User(n))
	}
	list := filepath.Join(pair[0].Dir, "list")
	harness.Write(t, list, harness.User(1)+"\n"+harness.User(0)+"\n")
	for c, client := range []harness.Program{harness.Dovetail, harness.Original} {
		conf := pair[c].Config
		for i, server := range pair {
			where := fmt.Sprintf("127.0.0.1:%d", server.plain)
			name := fmt.Sprintf("doveadm of %s, server of %s", client, serverNames()[i])
			for _, users := range [][]string{{"-A"}, {"-u", "user*"}, {"-F", list}} {
				if client == harness.Original && users[0] == "-F" {
					continue // it sends the server a file without name
				}
				args := append([]string{"-f", "tab", "fetch"}, users...)
				want := doveadm(t, client, conf, "", append(args, "hdr.subject", "all")...)
				got := doveadm(t, client, conf, "", append(args, "-S", where, "hdr.subject", "all")...)
				if want.Out == "" || cmp.Diff(want, got) != "" {
					t.Errorf("%s, %q (-without +with server):\n%s", name, users, cmp.Diff(want, got))
				}
			}
			for _, wrong := range []struct {
				args []string
				code int
				text string
			}{
				{[]string{"fetch", "-u", "nobody@nowhere", "-S", where, "uid", "all"}, 67, "No such user: nobody@nowhere"},
				{[]string{"flags", "add", "-u", harness.User(0), "-S", where, `\Seen`, "all"}, 75, "Command flags add failed for user0@example.test: EOF"},
				{[]string{"-o", "doveadm_password=wrong", "fetch", "-u", harness.User(0), "-S", where, "uid", "all"}, 75, "authentication failed"},
				{[]string{"-o", "doveadm_password=", "fetch", "-u", harness.User(0), "-S", where, "uid", "all"}, 75, "doveadm_password not set, can't authenticate"},
				{[]string{"fetch", "-u", harness.User(0), "-S", "127.0.0.1:1", "uid", "all"}, 75, "connect(127.0.0.1:1) failed: Connection refused"},
				{[]string{"fetch", "-u", harness.User(0), "-S", "/nowhere/socket", "uid", "all"}, 75, "net_connect_unix(/nowhere/socket) failed: No such file or directory"},
			} {
				got := doveadm(t, client, conf, "", wrong.args...)
				if got.Code != wrong.code || !strings.Contains(got.Err, wrong.text) {
					t.Errorf("%s, %q: %+v, want status %d and %q", name, wrong.args, got, wrong.code, wrong.text)
				}
			}
		}
	}
}

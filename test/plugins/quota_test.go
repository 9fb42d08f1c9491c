package plugins

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// quotaConfig has a quota in a dictionary, so that what was charged can be asked for, and what watches it.
const quotaConfig = `
mailbox_list_index = no
mail_plugins = $mail_plugins quota quota_clone
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
namespace shared {
  type = shared
  separator = /
  prefix = shared/%%u/
  location = sdbox:DIR/mail/%%n/mail
  subscriptions = no
}
plugin {
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:messages=4
  quota_rule2 = Free:ignore
  quota_over_script = quota-over told
  quota_over_flag_value = TRUE
  quota_clone_dict = file:DIR/clone/%n
  quota_status_success = DUNNO global
}
protocol quota-status {
  plugin {
    quota_status_success = DUNNO protocol
    quota_status_nouser = REJECT nobody here
  }
}
service quota-status {
  executable = quota-status -p postfix
  unix_listener quota-status {
    mode = 0666
  }
  client_limit = 1
}
service quota-over {
  executable = script DIR/over
  user = mail
  unix_listener quota-over {
    mode = 0666
  }
}
`

// A quotaPlayer does the same to one server as to the other, and writes down what came of it.
type quotaPlayer struct {
	t  *testing.T
	mb *harness.Mailbox
	strings.Builder
}

// both returns what the steps led to with each program.
func both(t *testing.T, config, users string, steps func(p *quotaPlayer)) {
	t.Helper()
	outcomes := map[harness.Program]string{}
	for _, program := range []harness.Program{harness.Original, harness.Dovetail} {
		t.Run(program.String(), func(t *testing.T) {
			mb := harness.NewMailbox(t, program, harness.MailboxOptions{})
			text, err := os.ReadFile(mb.Config)
			if err != nil {
				t.Fatal(err)
			}
			harness.Write(t, mb.Config, string(text)+strings.NewReplacer("DIR", mb.Dir, "@PROGRAM@", program.String()).Replace(config))
			dir := filepath.Join(mb.Dir, "clone")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, mailUID, mailUID); err != nil {
				t.Fatal(err)
			}
			harness.Write(t, filepath.Join(dir, "map.conf"), strings.ReplaceAll(quotaMap, "DIR", mb.Dir))
			harness.Run(t, "CREATE TABLE quota (username TEXT PRIMARY KEY, bytes INTEGER DEFAULT 0, messages INTEGER DEFAULT 0, max INTEGER DEFAULT 0);\n",
				"sqlite3", filepath.Join(dir, "database"))
			if err := errors.Join(os.Chmod(dir, 0o777), os.Chmod(filepath.Join(dir, "database"), 0o666)); err != nil {
				t.Fatal(err)
			}
			script := "#!/bin/sh\necho \"$@\" >>" + dir + "/over\n"
			if err := os.WriteFile(filepath.Join(mb.Dir, "over"), []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			if users != "" {
				mb.SetUsers(t, strings.ReplaceAll(users, "MAIL", mb.Mail))
			}
			mb.Start(t)
			p := &quotaPlayer{t: t, mb: mb}
			steps(p)
			outcomes[program] = p.String()
		})
	}
	if diff := cmp.Diff(outcomes[harness.Original], outcomes[harness.Dovetail]); diff != "" {
		t.Errorf("(-original +ours):\n%s", diff)
	}
}

// login opens an IMAP session.
func (p *quotaPlayer) login(user string) *harness.Client {
	c := harness.Connect(p.t, p.mb.IMAP)
	c.Must(p.t, "LOGIN "+user+"@"+harness.Domain+" "+harness.Password)
	return c
}

// ask writes down the answers to commands. "append BOX" saves a small message.
func (p *quotaPlayer) ask(c *harness.Client, commands ...string) {
	for _, line := range commands {
		command := line
		if box, ok := strings.CutPrefix(line, "append "); ok {
			command = fmt.Sprintf("APPEND %s {16+}\r\nSubject: x\r\n\r\nab", box)
		}
		untagged, ok, err := c.IMAP(command)
		if err != nil {
			ok = err.Error()
		}
		fmt.Fprintf(p, "> %s\n", line)
		for _, line := range append(untagged, ok) {
			if onlyOurs.MatchString(line) {
				continue
			}
			for _, v := range varying {
				line = v.re.ReplaceAllString(line, v.with)
			}
			p.WriteString(line + "\n")
		}
	}
}

// wait waits until a file has a text.
func (p *quotaPlayer) wait(name, text string) (path string) {
	path = filepath.Join(p.mb.Dir, name)
	harness.Eventually(p.t, name+" with "+text, func() bool {
		got, _ := os.ReadFile(path)
		return strings.Contains(string(got), text)
	})
	return path
}

// file writes down a file that is there when it has the text.
func (p *quotaPlayer) file(name, text string) {
	path := p.wait(name, text)
	got, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	lines := strings.SplitAfter(string(got), "\n")
	if len(lines) == 5 && strings.HasPrefix(lines[0], "priv/quota/messages") { // a dictionary, of which the order is nobody's business
		lines = append(lines[2:4], lines[:2]...)
	}
	fmt.Fprintf(p, "%s:\n%s", name, strings.Join(lines, ""))
}

func quotaUsers(lines ...string) string {
	var b strings.Builder
	for _, line := range lines {
		name, fields, _ := strings.Cut(line, " ")
		fmt.Fprintf(&b, "%s:{PLAIN}%s:8:8::MAIL/%s::%s\n", address(name), harness.Password, name, fields)
	}
	return b.String()
}

// TestSharedQuota shows that mail saved in another user's mailbox is charged to him.
func TestSharedQuota(t *testing.T) {
	users := quotaUsers("alice userdb_quota_rule=*:messages=3", "bob userdb_quota_rule=*:messages=5", "carol userdb_admin=yes")
	both(t, quotaConfig, users, func(p *quotaPlayer) {
		bob := p.login("bob")
		p.ask(bob, "CREATE Box", "append INBOX", "GETQUOTAROOT INBOX")
		alice := p.login("alice")
		p.ask(alice, "append INBOX", "append shared/bob@example.test/Box", "GETQUOTAROOT INBOX", "GETQUOTAROOT shared/bob@example.test/Box",
			`GETQUOTA "bob@example.test:User quota"`)
		p.ask(bob, "GETQUOTAROOT INBOX")
		p.ask(alice, "append shared/bob@example.test/Box", "append shared/bob@example.test/Box", "append shared/bob@example.test/Box", "append INBOX")
		p.ask(bob, "GETQUOTAROOT INBOX")
		carol := p.login("carol")
		p.ask(carol, "append INBOX", "append INBOX", "SELECT INBOX", "COPY 1:2 shared/bob@example.test/Box", "COPY 1 shared/bob@example.test/Box",
			`GETQUOTA "bob@example.test:User quota"`, `GETQUOTA "dave@example.test:User quota"`, "SELECT shared/bob@example.test/Box",
			`STORE 1:2 +FLAGS.SILENT \Deleted`, "EXPUNGE", "MOVE 1 INBOX", `GETQUOTA "bob@example.test:User quota"`, "GETQUOTAROOT INBOX",
			"append shared/bob@example.test/Box")
		p.ask(bob, "GETQUOTAROOT INBOX", "DELETE Box", "GETQUOTAROOT INBOX")
		for _, c := range []*harness.Client{alice, bob, carol} {
			c.Must(p.t, "LOGOUT")
		}
	})
}

// TestQuotaWatched shows what keeps others informed about quotas: the script that sets a flag in the userdb, the copy
// in another dictionary, and the policy service, which has settings of its own.
func TestQuotaWatched(t *testing.T) {
	users := quotaUsers("full userdb_quota_rule=*:messages=1", "told userdb_quota_rule=*:messages=1 userdb_quota_over_flag=true",
		"less userdb_quota_over_flag=TRUE", "lazy userdb_quota_rule=*:messages=1 userdb_quota_over_flag_lazy_check=yes")
	both(t, quotaConfig, users, func(p *quotaPlayer) {
		for _, user := range []string{"full", "told", "lazy"} {
			c := p.login(user)
			p.ask(c, "append INBOX")
			c.Must(p.t, "LOGOUT")
		}
		p.file("clone/full", "priv/quota/storage")
		p.file("clone/over", "told true\n")
		c := p.login("less") // the flag says too much
		p.file("clone/over", "told TRUE")
		c.Must(p.t, "LOGOUT")
		c = p.login("told") // the flag says what is
		p.ask(c, "GETQUOTAROOT INBOX", "append INBOX", "SELECT INBOX", `STORE 1 +FLAGS.SILENT \Deleted`, "EXPUNGE", "LOGOUT")
		p.file("clone/told", "priv/quota/messages\n0\n")
		c = p.login("lazy")
		p.ask(c, "NOOP", "GETQUOTAROOT INBOX", "GETQUOTAROOT INBOX")
		p.file("clone/over", "told\n")
		c.Must(p.t, "LOGOUT")
		c = p.login("full")
		c.Must(p.t, "LOGOUT")
		p.file("clone/over", "told\ntold\n")
		for _, user := range []string{"full", "less", "missing"} {
			p.policy("recipient="+address(user), "size=10")
		}
	})
}

// dictConfig has the usage in a dictionary, one root for the private namespaces and one for the public one.
const dictConfig = `
mail_plugins = $mail_plugins quota
protocol imap {
  mail_plugins = $mail_plugins imap_quota
}
namespace public {
  type = public
  separator = /
  prefix = Public/
  location = sdbox:DIR/mail/public
  subscriptions = no
}
dict {
  quota = sqlite:DIR/clone/map.conf
}
service dict {
  unix_listener dict {
    mode = 0666
  }
}
plugin {
  quota = dict:User quota::@URI@
  quota_rule = *:storage=1M:messages=3
  quota_rule2 = Free:ignore
  quota_set = dict:@URI@
  quota2 = dict:Public quota:public:ns=Public/:@URI2@
  quota2_rule = *:messages=2
}
`

// quotaMap tells the SQL driver where values are.
const quotaMap = `connect = DIR/clone/database
map {
  pattern = priv/quota/storage
  table = quota
  username_field = username
  value_field = bytes
}
map {
  pattern = priv/quota/messages
  table = quota
  username_field = username
  value_field = messages
}
map {
  pattern = priv/quota/limit/messages
  table = quota
  username_field = username
  value_field = max
}
`

// TestQuotaDict has quotas in a database and in redis, and an administrator set a limit there.
func TestQuotaDict(t *testing.T) {
	port := startRedis(t)
	redis := func(n int) string {
		return fmt.Sprintf("redis:host=127.0.0.1:port=%d:prefix=%%n%s%d/", port, "@PROGRAM@", n)
	}
	for name, uris := range map[string][2]string{
		"sqlite": {"proxy::quota", "proxy::quota"},
		"redis":  {redis(1), redis(2)},
	} {
		t.Run(name, func(t *testing.T) {
			config := strings.NewReplacer("@URI@", uris[0], "@URI2@", uris[1]).Replace(dictConfig)
			both(t, config, quotaUsers("user "), func(p *quotaPlayer) {
				user := p.login("user")
				p.ask(user, "CREATE Free", "CREATE Public/Box", "GETQUOTAROOT INBOX", "append INBOX", "append Free", "append INBOX", "GETQUOTAROOT INBOX",
					"GETQUOTAROOT Public/Box", "append Public/Box", "append Public/Box", "append Public/Box", "GETQUOTAROOT Public/Box",
					"append INBOX", "append INBOX", "SELECT INBOX", "COPY 1 Public/Box", `STORE 1 +FLAGS.SILENT \Deleted`, "EXPUNGE", "MOVE 1 Free", "GETQUOTAROOT INBOX",
					`SETQUOTA "User quota" (MESSAGE 7)`, `GETQUOTA "Public quota"`)
				user.Must(p.t, "LOGOUT")
			})
		})
	}
}

// startRedis starts a redis server of the test's own and returns its port.
func startRedis(t *testing.T) int {
	t.Helper()
	port, dir := harness.FreePort(t), harness.Dir(t)
	p := harness.Start(t, nil, "redis-server", "--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "")
	harness.WaitTCP(t, p, fmt.Sprintf("127.0.0.1:%d", port))
	return port
}

// policy writes down what the policy service answers.
func (p *quotaPlayer) policy(attributes ...string) {
	conn, err := net.Dial("unix", filepath.Join(p.mb.Dir, "run", "quota-status"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s\n\n", strings.Join(attributes, "\n")); err != nil {
		p.t.Fatal(err)
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		p.t.Fatal(err)
	}
	fmt.Fprintf(p, "%v: %s", attributes, answer)
}

// TestSetQuota has an administrator write limits where the userdb may read them. The original crashes there: it
// has no comparison.
func TestSetQuota(t *testing.T) {
	mb := harness.NewMailbox(t, harness.Dovetail, harness.MailboxOptions{})
	text, err := os.ReadFile(mb.Config)
	if err != nil {
		t.Fatal(err)
	}
	config := strings.NewReplacer("plugin {\n  quota =", "plugin {\n  quota_set = dict:file:DIR/mail/%n/limits\n  quota =", " quota_clone", "").Replace(quotaConfig)
	harness.Write(t, mb.Config, string(text)+strings.ReplaceAll(config, "DIR", mb.Dir))
	mb.SetUsers(t, strings.ReplaceAll(quotaUsers("carol userdb_admin=yes", "bob "), "MAIL", mb.Mail))
	mb.Start(t)
	p := &quotaPlayer{t: t, mb: mb}
	bob, carol := p.login("bob"), p.login("carol")
	p.ask(bob, "append INBOX", `SETQUOTA "User quota" (MESSAGE 7)`)
	p.ask(carol, "append INBOX", `SETQUOTA "User quota" (MESSAGE 7 STORAGE 9)`, `SETQUOTA "User quota" (MESSAGE x)`,
		`SETQUOTA "bob@example.test:User quota" (MESSAGE 8)`, "STATUS shared/bob@example.test (MESSAGES)", `SETQUOTA "bob@example.test:User quota" (MESSAGE 8)`)
	p.file("mail/carol/limits", "storage")
	p.file("mail/bob/limits", "messages")
	want := `> append INBOX
[APPENDUID V 1] Append completed (TIME).
> SETQUOTA "User quota" (MESSAGE 7)
NO Quota can be changed only by admin (TIME).
> append INBOX
[APPENDUID V 1] Append completed (TIME).
> SETQUOTA "User quota" (MESSAGE 7 STORAGE 9)
Setquota completed (TIME).
> SETQUOTA "User quota" (MESSAGE x)
BAD Error in IMAP command SETQUOTA: Invalid arguments (TIME).
> SETQUOTA "bob@example.test:User quota" (MESSAGE 8)
NO Quota root doesn't exist (TIME).
> STATUS shared/bob@example.test (MESSAGES)
* STATUS shared/bob@example.test (MESSAGES 1)
Status completed (TIME).
> SETQUOTA "bob@example.test:User quota" (MESSAGE 8)
Setquota completed (TIME).
mail/carol/limits:
priv/quota/limit/messages
7
priv/quota/limit/storage
9
mail/bob/limits:
priv/quota/limit/messages
8
`
	if diff := cmp.Diff(want, p.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

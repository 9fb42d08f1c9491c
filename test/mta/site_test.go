package mta

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// baseMain is what main.cf has at first: that everything stays in one directory and asks
// no name servers.
const baseMain = `compatibility_level = 3.6
queue_directory = @DIR@/spool
data_directory = @DIR@/data
command_directory = @SBIN@
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = @DIR@/mail.log
maillog_file_prefixes = @DIR@
mail_spool_directory = @DIR@/mail
alias_maps = hash:@DIR@/etc/aliases
alias_database = hash:@DIR@/etc/aliases
myhostname = mail.example.com
inet_interfaces = loopback-only
inet_protocols = ipv4
smtpd_peername_lookup = no
smtp_host_lookup = native
smtpd_sasl_type = dovecot
append_dot_mydomain = no
`

// baseMaster is master.cf as it is installed, with another port.
const baseMaster = "@SMTP@ inet n - n - - smtpd\n" + harness.Services

// commands are those that Dovetail's binary is under other names.
var commands = []string{
	"postconf", "postmap", "postalias", "postfix", "sendmail", "newaliases", "mailq", "postqueue", "postsuper", "postcat", "postkick", "postlock", "postlog",
}

// A site is a mail transport of one of the programs, and its administrator.
type site struct {
	*harness.Transport
	sbin   string
	mail   string            // directory of the users' mailboxes
	values map[string]string // what @NAME@ in files stands for
	mark   int               // how much of the log is about mail that is done with
}

// newSite makes the directories of a site whose files may be there already: those of etc
// are added to the ones that every site begins with.
func newSite(t *testing.T, p harness.Program, dir string) *site {
	t.Helper()
	s := &site{
		Transport: &harness.Transport{Program: p, Dir: dir, Config: filepath.Join(dir, "etc"), Log: filepath.Join(dir, "mail.log")},
		sbin:      "/usr/sbin", mail: filepath.Join(dir, "mail"), values: map[string]string{"DIR": dir},
	}
	for _, name := range []string{"SMTP", "SUBMISSION"} {
		s.values[name] = fmt.Sprint(harness.FreePort(t))
	}
	s.SMTP, s.Submission = "127.0.0.1:"+s.values["SMTP"], "127.0.0.1:"+s.values["SUBMISSION"]
	if p == harness.Dovetail {
		s.sbin = filepath.Join(dir, "sbin")
		s.link(t)
	}
	s.values["SBIN"] = s.sbin
	for _, sub := range []string{"spool", "data", "mail", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(s.mail, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	harness.Run(t, "", "chown", "postfix", filepath.Join(dir, "data"))
	s.write(t, "main.cf", lastOnly(baseMain+s.found("main.cf")))
	s.write(t, "master.cf", baseMaster+s.found("master.cf"))
	if s.found("aliases") == "" {
		s.write(t, "aliases", "postmaster: root\n")
	}
	t.Cleanup(func() {
		if t.Failed() {
			text, _ := os.ReadFile(s.Log)
			t.Logf("log of %v:\n%s", p, text[max(0, len(text)-8000):])
		}
	})
	return s
}

// link makes the commands of Dovetail.
func (s *site) link(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(s.sbin, 0o755); err != nil {
		t.Fatal(err)
	}
	harness.Run(t, "", "go", "build", "-o", filepath.Join(s.sbin, "postdrop"), "github.com/dovetail-mail/dovetail/cmd/postdrop")
	for _, name := range commands {
		if err := os.Symlink(harness.Binary(t), filepath.Join(s.sbin, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// found is a configuration file's content, empty where there is none.
func (s *site) found(name string) string {
	text, _ := os.ReadFile(filepath.Join(s.Config, name))
	return string(text)
}

// write writes a configuration file.
func (s *site) write(t *testing.T, name, text string) {
	t.Helper()
	harness.Write(t, filepath.Join(s.Config, name), s.fill(text))
}

// fill replaces @NAME@.
func (s *site) fill(text string) string {
	for name, value := range s.values {
		text = strings.ReplaceAll(text, "@"+name+"@", value)
	}
	return text
}

// lastOnly keeps the last of several settings of a name: Postfix warns of the others.
func lastOnly(text string) string {
	lines := strings.SplitAfter(text, "\n")
	last := make(map[string]int)
	for i, line := range lines {
		if name, ok := settingName(line); ok {
			last[name] = i
		}
	}
	var kept strings.Builder
	for i, line := range lines {
		if name, ok := settingName(line); !ok || last[name] == i {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func settingName(line string) (name string, ok bool) {
	name, _, ok = strings.Cut(line, "=")
	name = strings.TrimSpace(name)
	return name, ok && name != "" && strings.HasPrefix(line, name) && name[0] != '#'
}

// run runs one of the program's commands.
func (s *site) run(t *testing.T, stdin, command string, args ...string) string {
	t.Helper()
	return harness.Run(t, stdin, filepath.Join(s.sbin, command), append([]string{"-c", s.Config}, args...)...)
}

// start starts the service, with a new index of the aliases.
func (s *site) start(t *testing.T) {
	t.Helper()
	s.run(t, "", "postalias", "hash:"+filepath.Join(s.Config, "aliases"))
	s.Start(t)
	if strings.Contains(s.found("master.cf"), s.values["SUBMISSION"]) {
		harness.WaitTCP(t, s.Process, s.Submission)
	}
}

// reload makes the service use its configuration. Where the real Postfix does, it waits
// for the end of the processes that have the old one.
func (s *site) reload(t *testing.T) {
	t.Helper()
	if s.Program == harness.Dovetail {
		count := func() int { return strings.Count(s.log(), ": reload -- version ") }
		before := count()
		s.run(t, "", "postfix", "reload")
		harness.Eventually(t, "the reload", func() bool { return count() > before })
		return
	}
	var master int
	if _, err := fmt.Sscan(read(t, filepath.Join(s.Dir, "spool/pid/master.pid")), &master); err != nil {
		t.Fatal(err)
	}
	old := harness.Descendants(master)
	old = slices.DeleteFunc(old, func(pid int) bool { return strings.Contains(harness.Title(pid), "postlogd") })
	if err := syscall.Kill(master, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the processes from before the reload end", func() bool {
		return !slices.ContainsFunc(old, func(pid int) bool { return !harness.Gone(pid) })
	})
}

// log is what was logged.
func (s *site) log() string {
	text, _ := os.ReadFile(s.Log) // before the start there is none
	return string(text)
}

var active = regexp.MustCompile(`/qmgr\[\d+\]: ([0-9A-F]+): from=<.*\(queue active\)`)

// quiet waits until all mail that came into the queue is gone, deferred or held.
func (s *site) quiet(t *testing.T) {
	t.Helper()
	harness.Eventually(t, "all mail delivered or deferred", func() bool {
		for range 2 { // a file can move on behind the one who lists them, but not twice
			if !s.resting(t) {
				return false
			}
		}
		return true
	})
}

// resting reports whether no mail is on its way.
func (s *site) resting(t *testing.T) bool {
	t.Helper()
	if dropped, _ := filepath.Glob(filepath.Join(s.Dir, "spool/maildrop/*")); len(dropped) > 0 {
		return false // pickup has not come yet; only Postfix's postqueue lists these
	}
	waiting := make(map[string]bool)
	for line := range strings.Lines(s.run(t, "", "postqueue", "-j")) {
		var e struct {
			Queue string `json:"queue_name"`
			ID    string `json:"queue_id"`
		}
		if json.Unmarshal([]byte(line), &e) != nil || e.Queue != "deferred" && e.Queue != "hold" {
			return false
		}
		waiting[e.ID] = true
	}
	log := s.log()[s.mark:]
	for _, m := range active.FindAllStringSubmatch(log, -1) {
		if !waiting[m[1]] && !strings.Contains(log, "]: "+m[1]+": removed") {
			return false
		}
	}
	return true
}

var (
	mailLine  = regexp.MustCompile(`(?m)^.{15} \S+ (postfix[^\[]*)\[\d+\]: (.*)$`)
	queueID   = regexp.MustCompile(`\b[0-9A-F]{8,14}\b`)
	delays    = regexp.MustCompile(`, delay=[^ ]+, delays=[^ ]+,`)
	messageID = regexp.MustCompile(`\d{14}\.ID@`)
	boundary  = regexp.MustCompile(`ID\.\d+/`)
	mailDate  = regexp.MustCompile(`\w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)`)
	numbers   = regexp.MustCompile(`pid=\d+|\]:\d{5}\b|size=\d+`)
	// What depends on the moment, on names that Dovecot chooses and on the TLS library.
	accidents = regexp.MustCompile(`, conn_use=\d+|/tmp/dovetail-test-\d+|(> )\S{22}(?::[TR]\d+)*( Saved)|(: TLSv1.3 with cipher ).*`)
	// Addresses in reports have a type of their own where they are not ASCII.
	utf8Type = regexp.MustCompile(`((?:Final|Original)-Recipient: ?)utf-8;`)
	// A recipient that is deferred on a kept connection is tried again on another.
	triedAgain = regexp.MustCompile(`^\S+: host \S+ said: 4.*\(in reply to [^()]*\)$`)
	// Which process notices that a database is gone, how often, and the words of a client library:
	// an smtpd that has served before remembers how it resolved an address, another asks trivial-rewrite.
	deadDatabase = regexp.MustCompile(`warning: (connect to mysql server|mysql:\S+: query failed|dict_ldap_connect: |virtual_alias_domains lookup failure|virtual_alias_domains: \S+: table lookup problem|(proxy:)?(mysql|ldap):\S+ lookup error for )`)
)

// lines are those that were logged, sorted, without what differs from run to run.
func (s *site) lines() []string { return s.linesOf(s.log()) }

func (s *site) linesOf(log string) []string {
	var all []string
	for _, m := range mailLine.FindAllStringSubmatch(log, -1) {
		if isOwnLine(m[1], m[2]) || isGivenUp(log, m[2]) {
			continue
		}
		all = append(all, m[1]+": "+s.normal(m[2]))
	}
	slices.Sort(all)
	return all
}

// isOwnLine picks what only one of the programs has reason to say.
func isOwnLine(service, text string) bool {
	switch {
	case slices.Contains([]string{"postfix", "postfix/master", "postfix/postfix-script", "postfix/postlog"}, service):
		return true // of starting and stopping
	case service == "postfix/postmap", service == "postfix/postalias", service == "postfix/postsuper":
		return true // Dovetail's write to standard error only
	case strings.HasSuffix(service, "/anvil"), strings.HasSuffix(service, "/scache"):
		return true // when they have nothing to do
	case deadDatabase.MatchString(text), triedAgain.MatchString(text):
		return true
	case strings.Contains(text, ": not sending trace/success notification for single-bounce message"):
		return true // Postfix says so also where there was no success
	case strings.HasPrefix(text, "fatal: config variable inet_interfaces: host not found: "):
		return true // a process that Postfix began while a script had main.cf wrong
	case strings.HasPrefix(text, "cache ") && strings.Contains(text, " full cleanup: "):
		return true // Postfix's verify looks for old results when it starts, Dovetail's drops them as it reads
	case strings.HasPrefix(text, "warning: do not list domain "):
		return true // comes as often as something is looked up
	case text == "warning: mail_stream_cleanup: close error":
		return true // Postfix's own trouble with the queue file of a message that is too large
	case harness.IsClockWarning(text):
		return true
	case strings.HasSuffix(text, " has changed -- restarting"):
		return true // Dovetail need not start again
	}
	return false
}

var generatedID = regexp.MustCompile(`^([0-9A-F]+): message-id=<\d{14}\.`)

// isGivenUp recognizes the notifications that Postfix begins before it finds that nobody
// wants to be told, and the message id of mail that is refused for endless aliases, which
// Dovetail expands after the content, or for its size.
func isGivenUp(log, text string) bool {
	if m := anyID.FindStringSubmatch(text); m != nil && (strings.Contains(log, "]: warning: "+m[1]+": unreasonable ") || strings.Contains(log, "]: warning: "+m[1]+": queue file size limit exceeded")) {
		return true
	}
	m := generatedID.FindStringSubmatch(text)
	return m != nil && !strings.Contains(log, "]: "+m[1]+": from=<")
}

var anyID = regexp.MustCompile(`^([0-9A-F]+): message-id=`)

// normal is a text without what differs from run to run.
func (s *site) normal(text string) string {
	for name, value := range s.values {
		if name != "DIR" {
			text = regexp.MustCompile(`\b`+regexp.QuoteMeta(value)+`\b`).ReplaceAllString(text, name)
		}
	}
	text = strings.ReplaceAll(text, s.Dir, "DIR")
	text = delays.ReplaceAllString(queueID.ReplaceAllString(text, "ID"), ",")
	text = messageID.ReplaceAllString(text, "TIME.ID@")
	text = boundary.ReplaceAllString(text, "ID.TIME/")
	text = accidents.ReplaceAllString(text, "$1$2$3")
	text = utf8Type.ReplaceAllString(text, "${1}rfc822;")
	return numbers.ReplaceAllString(mailDate.ReplaceAllString(text, "DATE"), "N")
}

// dialFrom connects from an address of this host.
func dialFrom(t *testing.T, client, addr string) *harness.Client {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}, Timeout: time.Minute}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	c, err := harness.NewClient(conn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

package tools

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// waiting is the mail in the queue of the tests. All next hops but one refuse
// connections; that one answers "busy" recipients so and keeps "hang" ones.
var waiting = []sending{
	{"<sender@origin.test>", []string{"<a@dead.test>", "<b@dead.test>"}, plainLetter},
	{"<sender@origin.test> ENVID=one+2Btwo RET=HDRS BODY=8BITMIME", []string{"<busy@slow.test> ORCPT=rfc822;other@slow.test NOTIFY=SUCCESS,DELAY"}, plainLetter},
	{"<>", []string{"<d@dead.test>"}, "\r\n"},
	{"<\"a sender\"@origin.test>", []string{"<\"e f\"@dead.test>"}, plainLetter},
	{"<sender@origin.test>", []string{"<hold@dead.test>"}, plainLetter},
	{"<sender@origin.test>", []string{"<expire@dead.test>"}, plainLetter},
	{"<sender@origin.test>", []string{"<hang@slow.test>"}, plainLetter},
}

// commands are run one after the other, both programs at the same state. {NAME}
// is the queue ID of the message for NAME.
var commands = []struct {
	line  string
	stdin string
}{
	{"postqueue -p", ""},
	{"mailq", ""},
	{"postqueue -j", ""},
	{"postsuper -h {hold} -h NOSUCH", ""},
	{"postsuper -h {hold}", ""},
	{"postsuper -e {expire}", ""},
	{"postsuper -e {expire}", ""},
	{"postsuper -e {hold}", ""},
	{"postqueue -p", ""},
	{"postqueue -j", ""},
	{"postsuper -H -", "bad id!\n\n{hold}\n{a}\n"},
	{"postsuper -d - -h NOSUCH", "NOSUCH\n"},
	{"postsuper -d -", "NOSUCH\n"},
	{"postsuper -H {a} hold", ""},
	{"postsuper -H all", ""},
	{"postsuper -h {hang}", ""},
	{"postsuper -h ALL incoming hold", ""},
	{"postsuper -d x -r x -h x -e x -H x -f x", ""},
	{"postsuper -h {a} extra", ""},
	{"postsuper extra -h {a}", ""},
	{"postsuper -z", ""},
	{"postsuper", ""},
	{"postsuper -p", ""},
	{"postsuper -s", ""},
	{"postsuper -S", ""},
	{"postsuper -psS deferred hold", ""},
	{"postsuper -s -h NOSUCH", ""},
	{"postsuper -d", ""},
	{"postcat -q {a}", ""},
	{"postcat -q {busy}", ""},
	{"postcat -q {d}", ""},
	{"postcat -qe {e f}", ""},
	{"postcat -qh {a}", ""},
	{"postcat -qb {a}", ""},
	{"postcat -qbh {a}", ""},
	{"postcat -qeb {a}", ""},
	{"postcat -q NOSUCH", ""},
	{"postcat -q ../x", ""},
	{"postcat -q {a} NOSUCH", ""},
	{"postcat -x", ""},
	{"postcat main.cf", ""},
	{"postcat nonexistent", ""},
	{"postqueue -i NOSUCH", ""},
	{"postqueue -i {a}", ""},
	{"postqueue -i a/b", ""},
	{"postqueue -s bad_domain!", ""},
	{"postqueue -x", ""},
	{"postqueue -p -j", ""},
	{"postqueue -pj", ""},
	{"postqueue -p extra", ""},
	{"postqueue -i", ""},
	{"postqueue", ""},
	{"mailq extra", ""},
	{"postsuper -h {busy} -e {busy}", ""},
	{"postsuper -f {busy}", ""},
	{"postqueue -f", ""},
}

// The tools say the same of the same queue.
func TestQueueTools(t *testing.T) {
	for _, long := range []string{"no", "yes"} {
		t.Run("enable_long_queue_ids="+long, func(t *testing.T) {
			var sides [2]*side
			for i, p := range programs {
				sides[i] = newSide(t, p, "enable_long_queue_ids = "+long+"\n")
			}
			compare(t, sides, "postqueue -p", "")
			for _, s := range sides {
				s.fill(t)
			}
			for _, c := range commands {
				compare(t, sides, c.line, c.stdin)
			}
			for _, s := range sides {
				s.settle(t)
				s.halt(t)
			}
			for _, line := range []string{
				"postqueue -f", "postsuper -h {busy}", "postqueue -p", "postqueue -j", "postsuper -H {busy}",
				"postcat -q {a}", "postsuper -d {a}", "postsuper -d ALL", "postqueue -p", "postqueue -j",
			} {
				compare(t, sides, line, "")
			}
		})
	}
}

// Users who are not root may list and flush, as far as main.cf allows, and nothing else.
// Postfix's postqueue has the group of the queue for that; here no command has rights that
// its user has not.
func TestQueueToolsOfUsers(t *testing.T) {
	for _, allowed := range []string{"", "authorized_mailq_users = !nobody, static:all\n", "authorized_flush_users = root\n"} {
		t.Run(allowed, func(t *testing.T) {
			var sides [2]*side
			for i, p := range programs {
				sides[i] = newSide(t, p, allowed)
				sides[i].user = &syscall.Credential{Uid: 65534, Gid: 65534}
			}
			sides[0].user.Gid = statOf(t, "/usr/sbin/postqueue").Gid
			lines := []string{
				"postqueue -p", "postqueue -j", "mailq", "postqueue -i NOSUCH", "postqueue -f", "postqueue -s origin.test",
				"postsuper -d ALL",
			}
			for _, line := range lines {
				compare(t, sides, line, "")
			}
			if got := sides[1].run("postcat -q NOSUCH", ""); got != "\npostcat: fatal: open queue file: Permission denied\nexit status 1\n" {
				t.Errorf("postcat: %s", got)
			}
			if allowed != "" {
				return
			}
			for _, s := range sides {
				s.halt(t)
			}
			for _, line := range []string{"postqueue -p", "postqueue -f"} {
				compare(t, sides, line, "")
			}
		})
	}
}

// TestPostlogOfUsers shows that everyone may log, where the log is a file too.
func TestPostlogOfUsers(t *testing.T) {
	s := newSide(t, harness.Dovetail, "")
	s.user = &syscall.Credential{Uid: 65534, Gid: 65534}
	if err := os.Symlink(harness.Binary(t), filepath.Join(s.tools, "postlog")); err != nil {
		t.Fatal(err)
	}
	// Until its socket is there the line goes to syslog.
	harness.Eventually(t, "the line in the log", func() bool {
		if got := s.run("postlog -t script -p warn of a user", ""); got != "\nexit status 0\n" {
			t.Errorf("postlog: %s", got)
		}
		text, err := os.ReadFile(s.Log)
		return err == nil && strings.Contains(string(text), " script[") && strings.Contains(string(text), ": warning: of a user\n")
	})
}

// A side is one of the two mail systems compared.
type side struct {
	*harness.Transport
	tools string // directory of the commands
	user  *syscall.Credential
	ids   map[string]string
}

func newSide(t *testing.T, p harness.Program, extra string) *side {
	next := startNexthop(t, &nexthop{Script: refusals})
	tr := harness.NewTransport(t, p, harness.TransportOptions{
		Relay: "smtp:[127.0.0.1]:1",
		Main: "transport_maps = inline:{slow.test=smtp:[127.0.0.1]:" + portOf(next.Addr) + "}\n" +
			"smtpd_recipient_restrictions = permit_mynetworks, reject\nsmtpd_sasl_type = dovecot\n" + extra,
	})
	tr.Start(t)
	s := &side{Transport: tr, tools: filepath.Join(tr.Dir, "bin"), ids: make(map[string]string)}
	if err := os.Mkdir(s.tools, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postqueue", "mailq", "postsuper", "postcat"} {
		from, to := "/usr/sbin/"+name, filepath.Join(s.tools, name)
		if name == "mailq" {
			from = "/usr/sbin/sendmail"
		}
		if p == harness.Dovetail {
			from = harness.Binary(t)
		} else if name == "postqueue" {
			// A copy without the set-gid bit: the users of the test have it or not.
			harness.Run(t, "", "cp", from, to)
			harness.Run(t, "", "chmod", "755", to)
			continue
		}
		if err := os.Symlink(from, to); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// settle waits until what "postqueue -f" began is over: messages that were expired are returned, and nothing
// is under way but the one that hangs, for some time.
func (s *side) settle(t *testing.T) {
	for quiet := 0; quiet < 5; quiet++ {
		harness.Eventually(t, "the queue to settle", func() bool {
			for line := range strings.Lines(s.run("postqueue -j", "")) {
				if strings.Contains(line, s.ids["expire"]) || strings.Contains(line, `"incoming"`) ||
					strings.Contains(line, `"active"`) && !strings.Contains(line, s.ids["hang"]) {
					quiet = 0
					return false
				}
			}
			return true
		})
		time.Sleep(50 * time.Millisecond)
	}
}

// halt stops the mail system.
func (s *side) halt(t *testing.T) {
	s.Stop()
	harness.Run(t, "", "chmod", "666", s.Log) // postsuper writes it as mail_owner
}

// fill brings the mail in and waits until all was tried.
func (s *side) fill(t *testing.T) {
	for _, m := range waiting {
		submit(t, s.SMTP, m)
	}
	address := regexp.MustCompile(`"queue_id": "(\w+)".*?"recipients": \[(.*)\]`)
	harness.Eventually(t, "all mail tried", func() bool {
		out := s.run("postqueue -j", "")
		for _, found := range address.FindAllStringSubmatch(out, -1) {
			for _, a := range regexp.MustCompile(`"address": "\\?"?([^@"\\]+)`).FindAllStringSubmatch(found[2], -1) {
				s.ids[a[1]] = found[1]
			}
		}
		return strings.Count(out, `"queue_name": "deferred"`) == len(waiting)-1 && strings.Count(out, `"active"`) == 1
	})
}

// run runs a command and returns what it printed, first on standard output,
// and its exit status.
func (s *side) run(line, stdin string) string {
	for name, id := range s.ids {
		line = strings.ReplaceAll(line, "{"+name+"}", id)
		stdin = strings.ReplaceAll(stdin, "{"+name+"}", id)
	}
	words := strings.Fields(line)
	cmd := exec.Command(filepath.Join(s.tools, words[0]), words[1:]...)
	cmd.Args[0] = words[0]
	cmd.Dir = s.Config
	cmd.Env = []string{"MAIL_CONFIG=" + s.Config, "PATH=" + s.tools + ":/usr/bin:/bin"}
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if s.user != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.user}
	}
	err := cmd.Run()
	status := 0
	if err != nil {
		status = cmd.ProcessState.ExitCode()
	}
	return fmt.Sprintf("%s\n%sexit status %d\n", stdout.String(), stderr.String(), status)
}

// compare runs a command on both sides.
func compare(t *testing.T, sides [2]*side, line, stdin string) {
	t.Helper()
	// What is listed may be under way on one side still: the lists must agree soon.
	deadline := time.Now()
	if line == "postqueue -p" || line == "postqueue -j" {
		deadline = deadline.Add(time.Minute)
	}
	for {
		var got [2]string
		for i, s := range sides {
			got[i] = s.normal(s.run(line, stdin))
		}
		diff := cmp.Diff(strings.Split(got[0], "\n"), strings.Split(got[1], "\n"))
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s\nPostfix (-), Dovetail (+):\n%s", line, diff)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// notKept are the records of an envelope that only Postfix has, numbers that
// come from its queue files, and ports.
var notKept = regexp.MustCompile(`(?m)^named_attribute: (reverse_client_name|server_address|server_port|client_address_type)=.*\n`)

var variable = []struct {
	what *regexp.Regexp
	by   string
}{
	{regexp.MustCompile(`(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ 0-9]\d \d\d:\d\d:\d\d( \d{4})?`), "DATE"},
	{regexp.MustCompile(`<20[0-9]{12}\.ID@`), "<TIME.ID@"},
	{regexp.MustCompile(`\b[0-9A-F]/ID\b`), "D/ID"},
	{regexp.MustCompile(`(?m)^message_size:.*`), "message_size: NUMBERS"},
	{regexp.MustCompile(`"message_size": [0-9]+`), `"message_size": N`},
	{regexp.MustCompile(`(?m)^(ID[*!#]*) +[0-9]+ DATE `), "$1 N DATE "},
	{regexp.MustCompile(`-- [0-9]+ Kbytes`), "-- N Kbytes"},
	{regexp.MustCompile(`delivery temporarily suspended: `), ""},
	// What was under way when the mail system stopped: here it was deferred.
	{regexp.MustCompile(`(?m)^ *\(mail system is shutting down\)\n|, "delay_reason": "mail system is shutting down"`), ""},
	{regexp.MustCompile(`connect to (?:public|tools)/(control|flush|qmgr)`), "connect to public/SERVICE"},
	{regexp.MustCompile(`"queue_id": "[^"]+"`), `"queue_id": "ID"`},
	{regexp.MustCompile(`(?m)^[0-9A-Za-z]{10,18}([*!#]*) +[0-9]+ DATE  ?MAILER`), "ID$1 N DATE MAILER"},
	{regexp.MustCompile(`(?m)^ *\(connect to`), "(connect to"},
	{regexp.MustCompile(`service: (No such file or directory|Connection refused)`), "service: REASON"},
	{regexp.MustCompile(`client_port=[0-9]+`), "client_port=PORT"},
	{regexp.MustCompile(`"arrival_time": [0-9]+`), `"arrival_time": TIME`},
}

// normal takes out what differs between two queues with the same mail. The
// order of messages is that of their IDs with Postfix, which is none.
func (s *side) normal(out string) string {
	for _, id := range s.ids {
		out = strings.ReplaceAll(out, id, "ID")
	}
	out = normal(strings.ReplaceAll(out, s.Dir, "DIR"))
	out = notKept.ReplaceAllString(out, "")
	for _, v := range variable {
		out = v.what.ReplaceAllString(out, v.by)
	}
	switch {
	case strings.HasPrefix(out, "{"):
		lines := strings.SplitAfter(out, "\n")
		slices.Sort(lines)
		out = strings.Join(lines, "")
	case strings.HasPrefix(out, "-"):
		head, rest, _ := strings.Cut(out, "\n")
		messages := strings.Split(rest, "\n\n")
		slices.Sort(messages)
		out = head + "\n" + strings.Join(messages, "\n\n")
	}
	return out
}

func statOf(t *testing.T, path string) *syscall.Stat_t {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t)
}

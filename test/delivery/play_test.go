package delivery

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// A script is a configuration and messages to send, one after the other.
type script struct {
	main   string            // appended to main.cf; DIR is a directory of both programs
	master string            // appended to master.cf
	files  map[string]string // below DIR; "home/x/..." is given to user x
	setup  func(t *testing.T, dir string)
	disk   bool // DIR/disk is a file system of its own, with little space
	cases  []message
}

// A message is for one recipient each.
type message struct {
	name    string
	to      string // of RCPT TO: address and parameters
	from    string // of MAIL FROM; "<sender@origin.test>" if empty
	content string // a small letter if empty
	before  func(tr *harness.Transport)
}

const letter = "From: sender@origin.test\r\nTo: you@local.test\r\nSubject: a letter\r\n" +
	"Message-ID: <letter@origin.test>\r\nDate: Sun, 22 Nov 2026 10:00:00 +0000\r\n\r\nbody\r\nFrom here\r\n.dot\r\n"

// users are those of the machine, with their uids.
var users = []string{"dvtla", "dvtlb", "dvtlc", "dvtlf"}

const firstUID = 21300

// captureScript gets mail for other systems.
const captureScript = `#!/bin/sh
{ echo "== $*"; cat; } >DIR/remote/$$.mail
`

// compare plays a script on both programs.
func compare(t *testing.T, s *script) {
	dir := harness.Dir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for i, name := range users {
		makeUser(t, name, firstUID+i, filepath.Join(dir, "home", name))
	}
	if s.disk {
		disk := filepath.Join(dir, "disk")
		if err := os.Mkdir(disk, 0o755); err != nil {
			t.Fatal(err)
		}
		harness.SmallDisk(t, disk, 1)
	}
	theirs, ours := s.play(t, harness.Original, dir), s.play(t, harness.Dovetail, dir)
	for _, c := range s.cases {
		if diff := cmp.Diff(theirs[c.name], ours[c.name]); diff != "" {
			t.Errorf("%s: log (-Postfix +Dovetail)\n%s", c.name, diff)
		}
		delete(theirs, c.name)
		delete(ours, c.name)
	}
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("files (-Postfix +Dovetail)\n%s", diff)
	}
}

func makeUser(t *testing.T, name string, uid int, home string) {
	t.Helper()
	if _, err := user.Lookup(name); err == nil {
		harness.Run(t, "", "userdel", name)
	}
	harness.Run(t, "", "useradd", "-M", "-d", home, "-u", strconv.Itoa(uid), "-s", "/bin/sh", name)
	t.Cleanup(func() { harness.Try("", "userdel", name) })
}

// play sends the messages and returns the log lines of each, and the files there are in
// the end.
func (s *script) play(t *testing.T, p harness.Program, dir string) map[string][]string {
	t.Helper()
	s.prepare(t, dir)
	tr := harness.NewTransport(t, p, harness.TransportOptions{
		Relay: "capture:remote",
		Main: strings.ReplaceAll("mydestination = local.test\nmyorigin = local.test\nlocal_recipient_maps =\nmaximal_backoff_time = 4000s\n"+
			"propagate_unmatched_extensions = canonical, virtual\nmail_spool_directory = DIR/mail\n"+s.main, "DIR", dir),
		Master: strings.ReplaceAll("capture unix - n n - 1 pipe flags=R user=nobody argv=DIR/capture ${sender} ${recipient}\n"+s.master, "DIR", dir),
	})
	lastOnly(t, filepath.Join(tr.Config, "main.cf"))
	tr.Start(t)
	found := make(map[string][]string)
	seen := len(read(t, tr.Log))
	for _, c := range s.cases {
		if _, twice := found[c.name]; twice {
			t.Fatalf("two messages are called %q", c.name)
		}
		if c.before != nil {
			c.before(tr)
		}
		quiet(t, tr, send(t, tr, &c))
		log := read(t, tr.Log)
		found[c.name] = s.lines(log[seen:], dir, tr.Dir)
		seen = len(log)
	}
	tr.Stop()
	s.collect(t, dir, found)
	return found
}

// lastOnly keeps the last of several settings of a name. Postfix would warn of them so
// often that its log service comes to a halt.
func lastOnly(t *testing.T, path string) {
	t.Helper()
	lines := strings.Split(read(t, path), "\n")
	last := make(map[string]int)
	for i, line := range lines {
		if name, _, ok := strings.Cut(line, "="); ok {
			last[strings.TrimSpace(name)] = i
		}
	}
	var kept []string
	for i, line := range lines {
		if name, _, ok := strings.Cut(line, "="); !ok || last[strings.TrimSpace(name)] == i {
			kept = append(kept, line)
		}
	}
	harness.Write(t, path, strings.Join(kept, "\n"))
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// prepare makes the files anew.
func (s *script) prepare(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"home", "mail", "out", "remote"} {
		path := filepath.Join(dir, sub)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	chmod(t, filepath.Join(dir, "out"), 0o777)
	chmod(t, filepath.Join(dir, "remote"), 0o777)
	for i, name := range users {
		home := filepath.Join(dir, "home", name)
		if err := os.Mkdir(home, 0o755); err != nil {
			t.Fatal(err)
		}
		chown(t, home, firstUID+i)
	}
	write := func(name, text string, mode fs.FileMode) {
		path := filepath.Join(dir, name)
		harness.Write(t, path, strings.ReplaceAll(text, "DIR", dir))
		chmod(t, path, mode)
		if parts := strings.Split(name, "/"); parts[0] == "home" {
			chown(t, path, firstUID+slices.Index(users, parts[1]))
		}
	}
	write("capture", captureScript, 0o755)
	for name, text := range s.files {
		write(name, text, 0o644)
	}
	if s.setup != nil {
		s.setup(t, dir)
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func chown(t *testing.T, path string, uid int) {
	t.Helper()
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
}

// send sends a message and returns its queue id.
func send(t *testing.T, tr *harness.Transport, m *message) string {
	t.Helper()
	c := harness.Connect(t, tr.SMTP)
	defer c.Close()
	from, content := m.from, m.content
	if from == "" {
		from = "<sender@origin.test>"
	}
	if content == "" {
		content = letter
	}
	c.Expect(t, "EHLO client.test", "250")
	c.Expect(t, "MAIL FROM:"+from, "250")
	c.Expect(t, "RCPT TO:"+m.to, "250")
	c.Expect(t, "DATA", "354")
	content = regexp.MustCompile(`(?m)^\.`).ReplaceAllString(content, "..")
	reply := c.Expect(t, content+".", "250")
	c.Expect(t, "QUIT", "221")
	return strings.TrimSpace(reply[strings.LastIndexByte(strings.TrimSpace(reply), ' ')+1:])
}

var queued = regexp.MustCompile(`/cleanup\[\d+\]: ([0-9A-F]+): message-id`)

// quiet waits until the message, and every other that came into the queue, is gone or
// deferred.
func quiet(t *testing.T, tr *harness.Transport, id string) {
	t.Helper()
	harness.Eventually(t, "all mail delivered or deferred", func() bool {
		log := read(t, tr.Log)
		deferred := make(map[string]bool)
		for line := range strings.SplitSeq(strings.TrimSpace(tr.Postqueue(t, "-j")), "\n") {
			var e struct {
				Queue string `json:"queue_name"`
				ID    string `json:"queue_id"`
			}
			if line != "" && json.Unmarshal([]byte(line), &e) == nil {
				deferred[e.ID] = e.Queue == "deferred"
			}
		}
		ids := []string{id}
		for _, m := range queued.FindAllStringSubmatch(log, -1) {
			ids = append(ids, m[1])
		}
		return !slices.ContainsFunc(ids, func(id string) bool {
			return !strings.Contains(log, "]: "+id+": removed") && !deferred[id]
		})
	})
}

var (
	agentLine = regexp.MustCompile(`postfix/(local|virtual|pipe|smtp|error|discard)\[\d+\]: (.*)`)
	queueID   = regexp.MustCompile(`\b[0-9A-F]{8,14}\b`)
	delays    = regexp.MustCompile(`, delay=[^ ]+, delays=[^ ]+,`)
)

// lines are those of the delivery agents, without what differs from run to run.
func (s *script) lines(log, dir, own string) []string {
	var found []string
	for _, m := range agentLine.FindAllStringSubmatch(log, -1) {
		if strings.Contains(m[2], "(unknown mail transport error)") {
			continue // Postfix's queue manager says it, when it notices
		}
		line := strings.NewReplacer(own, "OWN", dir, "DIR").Replace(m[2])
		line = maildirNames.ReplaceAllString(line, "${1}NAME")
		line = delays.ReplaceAllString(queueID.ReplaceAllString(line, "ID"), ",")
		found = append(found, m[1]+": "+line)
	}
	slices.Sort(found) // the recipients of a message have no order among each other
	return found
}

var (
	maildirNames = regexp.MustCompile(`((?:tmp|new)/)\d+\.[^\s:]+`)
	weekday      = `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)`
	mailDate     = regexp.MustCompile(weekday + `, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)`)
	fromDate     = regexp.MustCompile(weekday + ` \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}`)
	boundary     = regexp.MustCompile(`ID\.\d+/`)
	messageID    = regexp.MustCompile(`<\d{14}\.ID@`)
	captured     = regexp.MustCompile(`(?m)^== .*$`)
	client       = regexp.MustCompile(`CLIENT_PORT=\d+|\[127\.0\.0\.1\]:\d+`)
)

// collect adds the files that mail has left.
func (s *script) collect(t *testing.T, dir string, found map[string][]string) {
	t.Helper()
	for _, sub := range []string{"home", "mail", "out", "remote", "disk"} {
		if sub == "disk" && !s.disk {
			continue
		}
		err := filepath.WalkDir(filepath.Join(dir, sub), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(dir, path)
			name = maildirNames.ReplaceAllString(name, "${1}NAME")
			if filepath.Ext(name) == ".mail" {
				name = "remote/mail"
			}
			st := info.Sys().(*syscall.Stat_t)
			head := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
			if info.Mode().IsRegular() {
				head += "\n" + normal(read(t, path), dir)
			}
			found[name] = append(found[name], head)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, list := range found {
		if len(list) > 1 && strings.HasPrefix(list[0], "-") {
			slices.Sort(list)
		}
	}
}

// normal is a text without what differs from run to run.
func normal(text, dir string) string {
	text = strings.ReplaceAll(text, dir, "DIR")
	text = maildirNames.ReplaceAllString(text, "${1}NAME")
	text = queueID.ReplaceAllString(text, "ID")
	text = captured.ReplaceAllStringFunc(text, func(line string) string {
		names := strings.Fields(line)
		slices.Sort(names[2:]) // recipients have no order
		return strings.Join(names, " ")
	})
	for re, with := range map[*regexp.Regexp]string{mailDate: "DATE", fromDate: "DATE", messageID: "<TIME.ID@", client: "PORT"} {
		text = re.ReplaceAllString(text, with)
	}
	return boundary.ReplaceAllString(text, "ID.TIME/")
}

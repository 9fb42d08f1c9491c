package tools

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/internal/master"
	"github.com/dovetail-mail/dovetail/test/harness"
)

// submitUser is who submits mail: not root, and in no group of the mail system.
const submitUser = "nobody"

// installed makes a directory with the commands of a program as its package would
// install them: postdrop is set-gid. It is what command_directory names.
func installed(t *testing.T, p harness.Program) string {
	t.Helper()
	if p == harness.Original {
		return "/usr/sbin"
	}
	dir := filepath.Join(harness.Dir(t), "sbin")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	drop := filepath.Join(dir, "postdrop")
	harness.Run(t, "", "go", "build", "-o", drop, "github.com/dovetail-mail/dovetail/cmd/postdrop")
	gid, err := master.LookupGroup("postdrop")
	if err != nil {
		t.Fatalf("%v: run test/install-packages", err)
	}
	if err := os.Chown(drop, 0, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(drop, 0o755|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sendmail", "mailq", "newaliases", "postlog", "postkick", "postlock"} {
		if err := os.Symlink(harness.Binary(t), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A site is a mail system with its commands, whose configuration is the system's for
// those who run in it.
type site struct {
	*harness.Transport
	sbin   string
	hop    *nexthop
	mounts [][2]string // what stands in the place of what
}

// newSite makes a site that sends all mail to a next hop.
func newSite(t *testing.T, p harness.Program, main string) *site {
	t.Helper()
	s := &site{hop: startNexthop(t, &nexthop{}), sbin: installed(t, p)}
	s.Transport = harness.NewTransport(t, p, harness.TransportOptions{
		Relay: "smtp:[127.0.0.1]:" + portOf(s.hop.Addr),
		Main:  main,
	})
	path := filepath.Join(s.Config, "main.cf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	harness.Write(t, path, strings.NewReplacer("command_directory = /usr/sbin", "command_directory = "+s.sbin,
		"mydestination =\n", "mydestination = $myhostname\nlocal_transport = error:no mail here\nlocal_recipient_maps =\n").Replace(string(text)))
	return s
}

// A result is what a command did.
type result struct {
	Output string // of both kinds, without what differs each time
	Status int
}

// as runs a command as a user with the site's configuration as /etc/postfix: a set-gid program
// believes no other.
func (s *site) as(t *testing.T, user, stdin string, args ...string) result {
	t.Helper()
	mounts := ""
	for _, m := range s.mounts {
		mounts += "mount --bind " + m[0] + " " + m[1] + " && "
	}
	script := mounts + `mount --bind "$1" /etc/postfix && shift && exec setpriv --reuid="$1" --regid="$1" --clear-groups -- "${@:2}"`
	if user == "root" {
		script = mounts + `mount --bind "$1" /etc/postfix && shift 2 && exec "$@"`
	} else {
		user = harness.Run(t, "", "id", "-u", user)
		user = strings.TrimSpace(user)
	}
	cmd := exec.Command("unshare", append([]string{"-m", "bash", "-c", script, "bash", s.Config, user}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C", "TZ=UTC"}
	out, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	// Postfix's sendmail reads its options twice, and complains twice.
	text := slices.Compact(strings.SplitAfter(s.normal(string(out)), "\n"))
	return result{strings.Join(text, ""), cmd.ProcessState.ExitCode()}
}

func (s *site) normal(text string) string {
	text = strings.ReplaceAll(text, s.sbin, "/usr/sbin")
	return strings.ReplaceAll(text, s.Dir, "DIR")
}

// sendmail runs sendmail(1).
func (s *site) sendmail(t *testing.T, user, stdin string, args ...string) result {
	t.Helper()
	return s.as(t, user, stdin, append([]string{filepath.Join(s.sbin, "sendmail")}, args...)...)
}

var uidSubmitted = regexp.MustCompile(`postfix/pickup\[\d+\]: (\w+): (uid=.*)`)

// A submitting is one call of sendmail. Recipients are in alphabetical order: Postfix's
// queue manager sorts them.
type submitting struct {
	name    string
	args    []string
	stdin   string
	letters int // that come of it
	asRoot  bool
}

var submittings = []submitting{
	{name: "plain", args: []string{"one@remote.test"}, stdin: "Subject: x\n\nbody\n", letters: 1},
	{name: "no header", args: []string{"one@remote.test"}, stdin: "only a body\n", letters: 1},
	{name: "empty", args: []string{"one@remote.test"}, letters: 1},
	{name: "blank first", args: []string{"one@remote.test"}, stdin: " indented\nText\n", letters: 1},
	{name: "several, in every form", args: []string{"-f", "Me <me@origin.test>", "a@remote.test, B <b@remote.test>", "c@remote.test (comment)", "\"d e\"@remote.test", "f g"},
		stdin: "To: x@y.test\n\n", letters: 2},
	{name: "local name", args: []string{"someone"}, stdin: "\nx\n", letters: 0},
	{name: "dot", args: []string{"one@remote.test"}, stdin: "Subject: x\n\nbody\n.\nmore\n", letters: 1},
	{name: "-i", args: []string{"-i", "one@remote.test"}, stdin: "Subject: x\n\nbody\n.\nmore\n", letters: 1},
	{name: "-oi", args: []string{"-oi", "-oem", "-om", "-odb", "one@remote.test"}, stdin: "Subject: x\n\n.\nmore\n..\n", letters: 1},
	{name: "-it", args: []string{"-it"}, stdin: "To: a@remote.test\nCc: b@remote.test,\n c@remote.test\nBcc: \"four, 4\" <d@remote.test>\nSubject: x\n\nTo: no@remote.test\n", letters: 1},
	{name: "-t resent", args: []string{"-t"}, stdin: "To: one@remote.test\nResent-To: b@remote.test\nCc: no@remote.test\nResent-Cc: c@remote.test\n\n", letters: 1},
	{name: "-t and arguments", args: []string{"-t", "extra@remote.test"}, stdin: "To: one@remote.test\n\n", letters: 1},
	{name: "-t group", args: []string{"-t"}, stdin: "To: friends: one@remote.test, Two <two@remote.test>;\nCc: undisclosed:;\n\n", letters: 1},
	{name: "-F", args: []string{"-F", "Full Name (x)", "one@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "-f null", args: []string{"-f", "<>", "one@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "-r", args: []string{"-rme@origin.test", "one@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "-f two", args: []string{"-f", "a b", "one@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "-G", args: []string{"-G", "-f", "me@origin.test", "one@remote.test"}, stdin: "From: bare\n\n", letters: 1},
	{name: "DSN", args: []string{"-N", "success,delay", "-R", "hdrs", "-V", "ENV ID", "-f", "me@origin.test", "one@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "bad DSN", args: []string{"-N", "never,delay", "-R", "half", "-V", strings.Repeat("v", 101), "-f", "me@origin.test", "one@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "-B", args: []string{"-B8BITMIME", "one@remote.test"}, stdin: "Subject: x\n\ngr\xfc\xdfe\n", letters: 1},
	{name: "-XV", args: []string{"-XV", "-f", "me@origin.test", "a@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "-V old", args: []string{"-V+=", "-f", "me@origin.test", "a@remote.test"}, stdin: "Subject: x\n\n", letters: 1},
	{name: "CRLF", args: []string{"one@remote.test"}, stdin: "Subject: x\r\n\r\nbody\r\nlast\n", letters: 1},
	{name: "From line", args: []string{"one@remote.test"}, stdin: "From someone Mon Jan  1 00:00:00 2026\n>From again\nSubject: x\n\nFrom here\n", letters: 1},
	{name: "no line end", args: []string{"one@remote.test"}, stdin: "Subject: x\n\nbody without end", letters: 1},
	{name: "long lines", args: []string{"one@remote.test"}, stdin: "Subject: x\n\n" + strings.Repeat("a", 2048) + "\n" + strings.Repeat("b", 2049) + "\n" + strings.Repeat("c d ", 1500) + "\n", letters: 1},
	{name: "international", args: []string{"-f", "me@origin.test", "one@remote.test"}, stdin: "Subject: Gr\u00fc\u00dfe\n\n", letters: 1},
	{name: "root", args: []string{"one@remote.test"}, stdin: "Subject: x\n\n", letters: 1, asRoot: true},
	{name: "no recipient", stdin: "x\n"},
	{name: "-t without", args: []string{"-t"}, stdin: "Subject: x\n\nTo: no@remote.test\n"},
	{name: "-t -bv", args: []string{"-t", "-bv"}},
	{name: "-t -bp", args: []string{"-t", "-bp"}},
	{name: "-bx", args: []string{"-bx"}},
	{name: "-B bad", args: []string{"-B", "9BIT", "a"}},
	{name: "-n", args: []string{"-n", "a"}},
	{name: "-q bad", args: []string{"-qS"}},
	{name: "-qR", args: []string{"-qR"}},
	{name: "-qI", args: []string{"-qI"}},
	{name: "-q15m", args: []string{"-q15m"}},
	{name: "-bh", args: []string{"-bh"}},
	{name: "-oA", args: []string{"-oA"}},
	{name: "unknown option", args: []string{"-Z"}},
	{name: "missing value", args: []string{"-f"}},
	{name: "-bp recipient", args: []string{"-bp", "a"}},
	{name: "-bv -N", args: []string{"-bv", "-N", "success", "a"}},
	{name: "-XV null", args: []string{"-XV", "-f", "<>", "a@remote.test"}},
	{name: "-XV bad", args: []string{"-XVab", "a@remote.test"}},
	{name: "too large", args: []string{"one@remote.test"}, stdin: "Subject: x\n\n" + strings.Repeat("0123456789abcde\n", 8000)},
}

// sendmail(1) says, and the next hop gets, what Postfix says and sends.
func TestSendmail(t *testing.T) {
	var sites [2]*site
	for i, p := range programs {
		sites[i] = newSite(t, p, "message_size_limit = 100000\nsmtp_line_length_limit = 0\n")
		sites[i].Start(t)
	}
	for _, c := range submittings {
		t.Run(c.name, func(t *testing.T) {
			var got [2]result
			var mail [2][]string
			for i, s := range sites {
				user := submitUser
				if c.asRoot {
					user = "root"
				}
				got[i] = s.sendmail(t, user, c.stdin, c.args...)
				mail[i] = s.hop.collect(t, c.letters)
				s.Empty(t)
			}
			if diff := cmp.Diff(got[0], got[1]); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
			}
			if diff := cmp.Diff(lines(mail[0]), lines(mail[1])); diff != "" {
				t.Errorf("Postfix (-), Dovetail (+):\n%s", diff)
			}
		})
	}
	var logs [2][]string
	for i, s := range sites {
		text, err := os.ReadFile(s.Log)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range uidSubmitted.FindAllStringSubmatch(string(text), -1) {
			logs[i] = append(logs[i], m[2])
		}
	}
	if diff := cmp.Diff(logs[0], logs[1]); diff != "" {
		t.Errorf("log: Postfix (-), Dovetail (+):\n%s", diff)
	}
}

package accounts

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

const whoConfig = `disable_plaintext_auth = no
first_valid_uid = 1
passdb {
  driver = passwd-file
  args = @DIR@/users
}
userdb {
  driver = static
  args = uid=8 gid=8 home=@DIR@/home/%u
}
`

// whoRequests are asked while alice has two sessions and bob has one.
var whoRequests = []string{
	"who", "who -1", "who alice", "who a*", "who 127.0.0.1", "who 127.0.0.0/8", "who 10.0.0.0/8", "who -1 ALICE 127.0.0.0/8", "who 127.0.0.1 10.0.0.1",
	"who a b", "who -1 nosuch", "-f flow who bob", "-f tab who bob", "-f pager who bob", "-f json who bob", "who -a /nonexistent", "who -z",
	"kick", "kick nosuch", "kick alice 10.0.0.0/8", "kick a b", "kick -a /nonexistent bob",
	"kick b*", "who", "kick 127.0.0.1", "who",
	"penalty", "penalty bogus", "penalty 10.0.0.0/8", "penalty 192.0.2.0/24", "penalty -a /nonexistent",
}

// TestWho compares doveadm who, kick and penalty with Dovecot's, and what becomes of
// sessions that are kicked.
func TestWho(t *testing.T) {
	t.Parallel()
	files := map[string]string{"dovecot.conf": whoConfig, "users": "alice:{PLAIN}secret\nbob:{PLAIN}secret\n"}
	theirs := playSessions(t, harness.Original, "/usr/bin/doveadm", "", files)
	ours := playSessions(t, harness.Dovetail, harness.Binary(t), "doveadm ", files)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Errorf("(-Dovecot +Dovetail)\n%s", diff)
	}
}

// playSessions has users log in, runs the requests and returns what came of them.
func playSessions(t *testing.T, program harness.Program, doveadm, name string, files map[string]string) map[string]any {
	t.Helper()
	r := start(t, program, files)
	home := filepath.Join(r.dir, "home")
	if err := os.Mkdir(home, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(home, 0o777); err != nil {
		t.Fatal(err)
	}
	sessions := map[string]*authConn{}
	for _, s := range []string{"alice 1", "alice 2", "bob 1"} {
		user, _, _ := strings.Cut(s, " ")
		sessions[s] = popLogin(t, r.port, user)
	}
	auth := dialAuth(t, r.socket("auth-client"), "VERSION\t1\t2\nCPID\t4242\n", "DONE")
	auth.put(t, request(1, "alice", "wrong"))
	auth.line(t)
	outcome := map[string]any{}
	for i, request := range whoRequests {
		key := fmt.Sprintf("%d %s", i, request)
		result := runDoveadm(t, r, doveadm, name+request)
		result.Stdout = cleanWho(result.Stdout)
		outcome[key] = result
		if strings.HasPrefix(request, "kick") && result.Status == 0 {
			// Sessions end when they can; what is asked next is about those that are left.
			left := 2
			if request == "kick 127.0.0.1" {
				left = 0
			}
			waitSessions(t, r, doveadm, name, left)
		}
	}
	for s, c := range sessions {
		var said []string
		c.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		for {
			line, err := c.r.ReadString('\n')
			if err != nil {
				break
			}
			said = append(said, line)
		}
		outcome["session "+s] = said
	}
	r.Stop()
	outcome["log"] = disconnections(t, r.dir)
	return outcome
}

// popLogin logs in with POP3 and returns once the session is served.
func popLogin(t *testing.T, port int, user string) *authConn {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &authConn{conn: conn, r: bufio.NewReader(conn)}
	c.line(t)
	for _, command := range []string{"USER " + user, "PASS secret", "NOOP"} {
		c.put(t, command+"\r")
		if answer := c.line(t); !strings.HasPrefix(answer, "+OK") {
			t.Fatalf("%s: %s", command, answer)
		}
	}
	return c
}

// waitSessions waits until doveadm sees no more than n sessions.
func waitSessions(t *testing.T, r *running, doveadm, name string, n int) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := strings.Count(runDoveadm(t, r, doveadm, name+"-h who -1").Stdout, "\n")
		if got <= n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d sessions are left, not %d", got, n)
		}
	}
}

var (
	whoPIDs  = regexp.MustCompile(`\([0-9]+( [0-9]+)*\)|\b[0-9]{3,}\b`)
	whoTimes = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d|\d\d:\d\d:\d\d`)
	blanks   = regexp.MustCompile(` {2,}`)
)

// cleanWho takes out what varies: process ids and how wide they make the columns, times, and
// the order of lines.
func cleanWho(text string) string {
	text = whoTimes.ReplaceAllString(text, "TIME")
	text = whoPIDs.ReplaceAllString(text, "PID")
	text = blanks.ReplaceAllString(text, " ")
	lines := strings.Split(text, "\n")
	if !strings.HasPrefix(text, "username: ") { // a pager's lines belong together
		slices.Sort(lines)
	}
	return strings.Join(lines, "\n")
}

// disconnections are the lines about the ends of sessions.
func disconnections(t *testing.T, dir string) []string {
	text, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if _, what, ok := strings.Cut(line, "Info: Disconnected: "); ok {
			cause, _, _ := strings.Cut(what, " top=")
			if strings.HasPrefix(line[16:], "pop3(") {
				lines = append(lines, cause)
			}
		}
	}
	return lines
}

// Dovecot's own doveadm asks our server.
func TestForeignDoveadm(t *testing.T) {
	t.Parallel()
	r := start(t, harness.Dovetail, map[string]string{"dovecot.conf": whoConfig, "users": "alice:{PLAIN}secret\n"})
	if err := os.Mkdir(filepath.Join(r.dir, "home"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(r.dir, "home"), 0o777); err != nil {
		t.Fatal(err)
	}
	popLogin(t, r.port, "alice")
	for request, want := range map[string]string{"-h who -1": "alice", "penalty": "IP penalty"} {
		out, err := exec.Command("/usr/bin/doveadm", append(strings.Fields(request), "-a", r.socket("anvil"))...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("doveadm %s: %v\n%s", request, err, out)
		}
	}
}

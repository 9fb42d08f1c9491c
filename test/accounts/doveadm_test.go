package accounts

import (
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dovetail-mail/dovetail/test/harness"
)

// doveadmRequests are command lines of doveadm about users.
var doveadmRequests = []string{
	"user alice", "user nosuch", "user *", "user a*", "user -u alice", "user -f home alice", "user -f nosuch alice", "user -e %{home}/x alice",
	"user", "-f json user alice", "-f table user alice", "-f flow user alice", "-f pager user alice", "user -a /nonexistent alice",
	"user -x service=imap -x lip=127.0.0.1 alice", "user bob@example.com",
	"auth test alice secret", "auth test alice wrong", "auth test -x service=imap -x rip=192.0.2.1 alice secret", "auth test carol carolpass",
	"auth test nosuch x", "auth lookup alice", "auth lookup carol", "auth lookup nosuch", "auth lookup -f user alice", "auth cache flush", "auth cache flush alice",
	"auth login", "auth login -x rip=192.0.2.7 -x service=imap alice secret", "auth login -x rip=192.0.2.8 alice wrong",
	"auth test -x rip=bogus alice secret", "auth test -x rip=192.0.2.9 -x secured -x forward_x=y alice secret",
	"user -e x -u alice", "user -e x -f home alice", "user -u alice bob@example.com", "user -f home nosuch", "user a* carol",
	"user low", "user high", "user root", "user -u low", "user -f uid low", "user -e %u low",
	"pw -t {PLAIN}x -p x", "pw -t {PLAIN}x -p y", "pw -s BOGUS -p x", "pw -t x -p x", "pw -s SHA1 -p secret", "pw -s SHA256.HEX -p secret",
	"pw -s SHA1 -p x -V", "pw -s DIGEST-MD5 -p x", "pw -s DIGEST-MD5 -u bob@example.com -p secret", "pw -p x extra",
}

// doveadm says the same about users as Dovecot's.
func TestDoveadm(t *testing.T) {
	t.Parallel()
	files := map[string]string{
		"dovecot.conf": "first_valid_uid = 8\nlast_valid_uid = 100\nmail_uid = mail\nmail_home = /srv/mail/%Lu\nauth_mechanisms = plain login\npassdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\nuserdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\n",
		"users": "alice:{PLAIN}secret:8:8::/srv/alice::userdb_quota_rule=*:storage=10M\nbob@example.com:{PLAIN}x:8:8::::\n" +
			"carol:{PLAIN}carolpass:8:8::/srv/carol::nologin reason=Closed\nlow:x:7:8::/srv/low::\nhigh:x:101:8::/srv/high::\nroot:x:0:0::/root::\n",
	}
	theirs, ours := start(t, harness.Original, files), start(t, harness.Dovetail, files)
	for _, request := range doveadmRequests {
		want, got := runDoveadm(t, theirs, "/usr/bin/doveadm", request), runDoveadm(t, ours, harness.Binary(t), "doveadm "+request)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("doveadm %s (-Dovecot +Dovetail)\n%s", request, diff)
		}
	}
}

// A doveadmOutcome is what a command leaves behind.
type doveadmOutcome struct {
	Stdout, Stderr string
	Status         int
}

// processID varies.
var processID = regexp.MustCompile(`<\d+>`)

// noName is the field without a name that Dovecot's auth sends where there are only hidden
// ones. Clients have to ignore it; ours does.
var noName = regexp.MustCompile(`(?m)^ +\n`)

func runDoveadm(t *testing.T, r *running, program, request string) doveadmOutcome {
	t.Helper()
	args := strings.Fields(request)
	config := []string{"-c", r.dir + "/dovecot.conf"}
	if args[0] == "doveadm" {
		args = append(append([]string{"doveadm"}, config...), args[1:]...)
	} else {
		args = append(config, args...)
	}
	var stdout, stderr strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	clean := func(text string) string {
		text = noName.ReplaceAllString(text, "")
		return processID.ReplaceAllString(strings.ReplaceAll(text, r.dir, "DIR"), "<PID>")
	}
	return doveadmOutcome{clean(stdout.String()), clean(stderr.String()), cmd.ProcessState.ExitCode()}
}

// A password that pw makes is one that auth takes.
func TestPassword(t *testing.T) {
	t.Parallel()
	var users, requests strings.Builder
	for i, scheme := range strings.Fields(harness.Run(t, "", harness.Binary(t), "doveadm", "-O", "pw", "-l")) {
		if scheme == "OTP" || scheme == "PLAIN-TRUNC" { // one changes with each login, the other is kept with a length that pw does not make
			continue
		}
		user := fmt.Sprintf("u%d", i)
		stored := harness.Run(t, "", harness.Binary(t), "doveadm", "-O", "pw", "-s", scheme, "-u", user, "-p", "a secret", "-r", "5")
		fmt.Fprintf(&users, "%s:%s:8:8::/srv::\n", user, strings.TrimSpace(stored))
		fmt.Fprintf(&requests, "AUTH %s / a secret\n", user)
	}
	files := map[string]string{
		"dovecot.conf": "passdb {\n  driver = passwd-file\n  args = @DIR@/users\n}\n",
		"users":        users.String(), "requests": requests.String(),
	}
	for _, program := range []harness.Program{harness.Original, harness.Dovetail} {
		answers := play(t, program, files)
		for i := 1; i < len(answers) && strings.HasPrefix(answers[i-1], "AUTH"); i += 2 {
			if !strings.HasPrefix(answers[i], "OK\t") {
				t.Errorf("%s: %s: %s", program, answers[i-1], answers[i])
			}
		}
	}
}

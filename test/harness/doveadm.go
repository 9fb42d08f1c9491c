package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Doveadm runs the real doveadm on the mail of user n, beside the running
// service, and returns what it printed. Any complaint fails the test.
func (m *Mailbox) Doveadm(t TB, n int, args ...string) string {
	t.Helper()
	config := filepath.Join(m.Dir, "doveadm.conf")
	Write(t, config, fmt.Sprintf(`base_dir = %s/doveadm-run
log_path = /dev/stderr
ssl = no
mail_location = %s
first_valid_uid = 1
namespace inbox {
  inbox = yes
  separator = /
}
`, m.Dir, m.Location))
	name, _, _ := strings.Cut(User(n), "@")
	home := filepath.Join(m.Mail, name)
	cmd := exec.Command("/usr/bin/doveadm", append([]string{"-c", config}, args...)...)
	cmd.Dir = "/"
	cmd.Env = []string{"HOME=" + home, "USER=" + User(n), "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: mailUID, Gid: mailUID}}
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Errorf("doveadm %s of %s: %v\n%s", strings.Join(args, " "), User(n), err, stderr.String())
	}
	return stdout.String()
}

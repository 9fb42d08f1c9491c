package imap

import (
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// newDovecot is dovecotDialer for a test.
func newDovecot(t *testing.T, settings map[string]string) func(t *testing.T) net.Conn {
	dial := dovecotDialer(t, settings)
	return func(t *testing.T) net.Conn { return dial(t) }
}

// dovecotDialer returns a function that starts Dovecot's imap for one user, as it
// runs for an administrator who tries it by hand.
func dovecotDialer(t testing.TB, settings map[string]string) func(t testing.TB) net.Conn {
	t.Helper()
	home := t.TempDir()
	uid := os.Getuid()
	if uid == 0 { // Dovecot gives root no mail
		uid = 65534
		if err := os.Chown(home, uid, uid); err != nil {
			t.Fatal(err)
		}
		for dir := filepath.Dir(home); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return func(t testing.TB) net.Conn {
		t.Helper()
		args := []string{"-c", "/dev/null"}
		set := map[string]string{
			"mail_location": "sdbox:" + home + "/mail",
			"log_path":      home + "/log",
			"base_dir":      home,
			"ssl":           "no",
			"mail_uid":      itoa(uid),
			"mail_gid":      itoa(uid),
		}
		for k, v := range settings {
			set[k] = v
		}
		for k, v := range set {
			args = append(args, "-o", k+"="+v)
		}
		cmd := exec.Command(dovecotIMAP, args...)
		cmd.Dir = home
		cmd.Env = []string{"USER=bob", "HOME=" + home, "TZ=" + os.Getenv("TZ")}
		if path := settings["log_path"]; path != "" { // run by hand, imap logs to standard error
			log, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			cmd.Stderr = log
		}
		ours := pipeTo(t, cmd)
		t.Cleanup(func() { ours.Close() })
		return ours
	}
}

// pipeTo starts an imap process and returns a connection to it. It is not a socket: imap takes that for inetd.
func pipeTo(t testing.TB, cmd *exec.Cmd) net.Conn {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	go func() {
		io.Copy(theirs, stdout)
		theirs.Close()
		cmd.Wait()
	}()
	go func() {
		io.Copy(stdin, theirs)
		stdin.Close()
	}()
	return ours
}

package service

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// logrotate moves maillog_file aside, has a running mail system open a new one, and
// packs the old one.
func (v *invocation) logrotate() int {
	file := v.core.MaillogFile
	switch {
	case len(v.args) > 0:
		return v.fatal("usage postfix logrotate (no arguments)")
	case file == "":
		return v.fatal("empty 'maillog_file' parameter value - logfile rotation failed")
	case strings.HasPrefix(file, "/dev/"):
		return v.fatal(fmt.Sprintf("not rotating '%s'", file))
	}
	if err := v.rotate(file); err != nil {
		return v.fatal(fmt.Sprintf("logfile '%s' rotation failed: %v", file, err))
	}
	return 0
}

// rotateTimeout bounds how long the mail system may take to open a new file.
const rotateTimeout = 30 * time.Second

func (v *invocation) rotate(file string) error {
	// The suffix is in the language of date(1).
	suffix, err := exec.Command("date", "+"+v.install.MaillogSuffix).Output()
	if err != nil {
		return fmt.Errorf("date: %w", err)
	}
	old := file + "." + strings.TrimSpace(string(suffix))
	if err := os.Rename(file, old); err != nil {
		return err
	}
	if pid := runningPID(v.core); pid != 0 {
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			return err
		}
		for end := time.Now().Add(rotateTimeout); ; time.Sleep(50 * time.Millisecond) {
			if _, err := os.Stat(file); err == nil {
				break
			}
			if time.Now().After(end) {
				return fmt.Errorf("the mail system has not opened a new file within %v", rotateTimeout)
			}
		}
		time.Sleep(time.Second) // its processes write what they had begun
	}
	if out, err := exec.Command(v.install.MaillogCompressor, old).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", v.install.MaillogCompressor, err, strings.TrimSpace(string(out)))
	}
	return nil
}

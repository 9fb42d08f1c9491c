package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// mailSpools are where the INBOX of a user may be who has his folders in ~/mail or ~/Mail.
var mailSpools = []string{"/var/mail", "/var/spool/mail"}

// detect finds out the format of mail that is there, where mail_location does not say it, and
// completes the location. The order is Dovecot's, except that a given root with storage/ is never
// taken for sdbox: Dovecot would make the mailboxes of an mdbox empty ones of sdbox.
func (p *locationParser) detect(text string) (format string, err error) {
	if strings.HasPrefix(text, "auto:") && p.st.root == "" {
		p.data = ""
	}
	for _, d := range []struct {
		format string
		root   string // in the home directory, if the location has none
		marker string // directory that a root of this format has
	}{
		{"sdbox", "sdbox", "mailboxes"},
		{"mdbox", "mdbox", "storage"},
		{"maildir", "Maildir", maildirMarker},
	} {
		root := p.st.root
		if root == "" {
			root = p.homeDir(d.root)
		}
		if d.format == "sdbox" && p.st.root != "" && isDirPath(filepath.Join(root, "storage")) {
			continue
		}
		if root != "" && isDirPath(filepath.Join(root, d.marker)) {
			p.st.root = root
			return d.format, nil
		}
	}
	if p.detectMbox() {
		return "mbox", nil
	}
	home := p.home
	if home == "" {
		home = "(not set)"
	}
	switch {
	case text == "":
		return "", fmt.Errorf("Mail storage autodetection failed with home=%s", home)
	case strings.HasPrefix(text, "auto:"):
		return "", fmt.Errorf("Autodetection failed for %s (home=%s)", text, home)
	}
	return "", fmt.Errorf("Ambiguous mail location setting, don't know what to do with it: %s (try prefixing it with mbox: or maildir:)", text)
}

// homeDir returns a directory of the home directory if all may be done in it.
func (p *locationParser) homeDir(name string) string {
	if p.home == "" {
		return ""
	}
	dir := filepath.Join(p.home, name)
	if unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK) != nil {
		return ""
	}
	return dir
}

// detectMbox looks for mbox files. The location may also be INBOX itself.
func (p *locationParser) detectMbox() bool {
	root, inbox := p.st.root, p.st.inbox
	switch {
	case root == "":
	case inbox == "" && isMailFile(root):
		root, inbox = "", root
	case !isMboxRoot(root):
		return false
	}
	if root == "" {
		for _, name := range []string{"mail", "Mail"} {
			if dir := filepath.Join(p.home, name); isMboxRoot(dir) {
				root = dir
				break
			}
		}
	}
	if root == "" {
		return false
	}
	// The name of a user is no path.
	for _, dir := range mailSpools {
		if inbox != "" || p.name == "" || strings.Contains(p.name, "/") || strings.HasPrefix(p.name, ".") {
			break
		}
		if path := filepath.Join(dir, p.name); unix.Access(path, unix.R_OK|unix.W_OK) == nil {
			inbox = path
		}
	}
	p.st.root, p.st.inbox = root, inbox
	return true
}

// isMboxRoot reports whether a directory has mail in mbox files: an index, or an INBOX.
func isMboxRoot(dir string) bool {
	index := filepath.Join(dir, ".imap")
	return isDirPath(index) && unix.Access(index, unix.R_OK|unix.W_OK|unix.X_OK) == nil ||
		isMailFile(filepath.Join(dir, "inbox")) || isMailFile(filepath.Join(dir, "mbox"))
}

func isMailFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir() && unix.Access(path, unix.R_OK|unix.W_OK) == nil
}

func isDirPath(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.IsDir()
}

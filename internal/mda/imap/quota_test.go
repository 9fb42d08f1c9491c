package imap

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A sizeCase is sessions on a Maildir with quota, and what is there before.
type sizeCase struct {
	settings    map[string]string
	maildirsize string
	sessions    []string // commands without tags, one a line; "append BOX N" for a message of N bytes
}

var sizeCases = map[string]sizeCase{
	"forced": {
		settings: map[string]string{"plugin/quota_rule": "*:bytes=1000:messages=10", "plugin/quota_rule2": "Spam:ignore"},
		sessions: []string{
			"getquotaroot INBOX\nappend INBOX 100\nappend INBOX 200",
			"create Box\nappend Box 300\ncreate Spam\nappend Spam 500\nappend INBOX 401",
			"select INBOX\ncopy 1 Box\nmove 2 Box\nstore 1 +flags \\Deleted\nexpunge",
			"append INBOX 300\nappend INBOX 100\nappend INBOX 1\ngetquota \"User quota\"",
			"delete Box\ngetquota \"User quota\"",
			"append INBOX 100\nselect INBOX\nmove 1 Spam\nmove 1 nosuch\ngetquota \"User quota\"",
		},
	},
	"limits of the file": {
		settings:    map[string]string{},
		maildirsize: "500S,3C\n0 0\n",
		sessions: []string{
			"getquotaroot INBOX\nappend INBOX 400\nappend INBOX 101",
			"append INBOX 50\nappend INBOX 10\nappend INBOX 1\ngetquotaroot INBOX",
			"select INBOX\nstore 1 +flags \\Deleted\nexpunge\ngetquotaroot INBOX",
		},
	},
	"other limits in the file": {
		settings:    map[string]string{"plugin/quota_rule": "*:storage=2"},
		maildirsize: "500S,3C\n100 1\n",
		sessions:    []string{"getquotaroot INBOX", "append INBOX 400\nappend INBOX 2000\ngetquotaroot INBOX"},
	},
	"broken file": {
		settings:    map[string]string{"plugin/quota_rule": "*:messages=2"},
		maildirsize: "2C\n100 1\nx\n",
		sessions:    []string{"append INBOX 400\nappend INBOX 20\nappend INBOX 20\ngetquotaroot INBOX"},
	},
	"over the limit": {
		settings:    map[string]string{"plugin/quota_rule": "*:messages=2"},
		maildirsize: "2C\n100 1\n100 3\n",
		sessions:    []string{"append INBOX 400\nappend INBOX 20\nappend INBOX 20\ngetquotaroot INBOX"},
	},
	"long file": {
		settings:    map[string]string{"plugin/quota_rule": "*:messages=20000"},
		maildirsize: "20000C\n" + strings.Repeat("1 1\n", 1300),
		sessions:    []string{"append INBOX 400\nappend INBOX 20\ngetquotaroot INBOX"},
	},
	"no limits": {
		settings: map[string]string{},
		sessions: []string{"getquotaroot INBOX\nappend INBOX 400\ngetquota \"User quota\""},
	},
	"unlimited": {
		settings: map[string]string{"plugin/quota_rule": "*:storage=0"},
		sessions: []string{"getquotaroot INBOX\nappend INBOX 400\ngetquota \"User quota\""},
	},
	"backend rule": {
		settings: map[string]string{"plugin/quota_rule": "?:backend=600S,5C", "plugin/quota_rule2": "Trash:storage=+50%%"},
		sessions: []string{"getquotaroot INBOX\nappend INBOX 400\nappend INBOX 300\ncreate Trash\nappend Trash 300\nappend Trash 300\ngetquotaroot INBOX"},
	},
}

// TestMaildirsize plays sessions with both servers and compares what they answer, and the file
// maildirsize after each.
func TestMaildirsize(t *testing.T) {
	for name, c := range sizeCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			ours := c.play(t, filepath.Join(dir, "ours"), func(settings map[string]string) func(*testing.T) net.Conn {
				return newTestServer(t, settings).dial
			})
			original := c.play(t, filepath.Join(dir, "original"), func(settings map[string]string) func(*testing.T) net.Conn {
				return newDovecot(t, settings)
			})
			if diff := cmp.Diff(original, ours); diff != "" {
				t.Errorf("(-original +ours):\n%s", diff)
			}
		})
	}
}

// play returns what is answered, and what the file is after each session.
func (c *sizeCase) play(t *testing.T, dir string, start func(settings map[string]string) func(*testing.T) net.Conn) (lines []string) {
	t.Helper()
	maildir := filepath.Join(dir, "Maildir")
	if err := os.MkdirAll(maildir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(maildir, "maildirsize")
	paths := []string{dir, maildir}
	if c.maildirsize != "" {
		if err := os.WriteFile(path, []byte(c.maildirsize), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	if os.Getuid() == 0 { // the original gives root no mail
		for _, p := range paths {
			if err := os.Chown(p, 65534, 65534); err != nil {
				t.Fatal(err)
			}
		}
	}
	settings := map[string]string{
		"mail_location": "maildir:" + maildir, "mail_plugins": "quota imap_quota", "plugin/quota": "maildir:User quota",
	}
	for k, v := range c.settings {
		settings[k] = v
	}
	dial := start(settings)
	for _, session := range c.sessions {
		lines = append(lines, converse(t, dial(t), session)...)
		text, err := os.ReadFile(path)
		if err != nil {
			text = []byte("none\n")
		}
		lines = append(lines, "maildirsize:\n"+string(text))
	}
	return lines
}

// converse gives commands and returns the answers.
func converse(t *testing.T, conn net.Conn, session string) (lines []string) {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(60 * time.Second))
	r := bufio.NewReader(conn)
	read := func(tag string) {
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("after %q: %v", lines, err)
			}
			if !onlyOurs(line) {
				lines = append(lines, normalize(strings.TrimRight(line, "\r\n")))
			}
			if strings.HasPrefix(line, tag+" ") {
				return
			}
		}
	}
	read("*")
	lines = nil // the greeting
	for i, command := range append(strings.Split(session, "\n"), "logout") {
		tag := fmt.Sprintf("a%d", i)
		var box string
		var size int
		if n, _ := fmt.Sscanf(command, "append %s %d", &box, &size); n == 2 {
			text := strings.Repeat("x", size)
			if size > 12 {
				text = "Subject: x\n\n" + text[12:]
			}
			command = fmt.Sprintf("append %s {%d+}\r\n%s", box, len(text), text)
		}
		if _, err := conn.Write([]byte(tag + " " + command + "\r\n")); err != nil {
			t.Fatal(err)
		}
		read(tag)
	}
	return lines
}

package store

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
)

const listIndexConf = "mail_location = %s\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n"

var listIndexLocations = []string{"sdbox:~/mail", "mdbox:~/mail", "maildir:~/mail", "maildir:~/mail:LAYOUT=fs", "sdbox:~/mail:LAYOUT=index"}

// Dovecot answers STATUS from what we wrote, without opening a mailbox, until that changes.
func TestDovecotTrustsOurListIndex(t *testing.T) {
	for _, location := range listIndexLocations {
		t.Run(strings.ReplaceAll(location, "/", "_"), func(t *testing.T) {
			conf := fmt.Sprintf(listIndexConf, location)
			home := t.TempDir()
			u := openTestUser(t, conf, home)
			ctx := context.Background()
			for _, name := range []string{"box", "box/below"} {
				if err := u.Create(ctx, name); err != nil {
					t.Fatal(err)
				}
			}
			saveText(t, u.User, "box", "Subject: 1\n\nx\n")
			agePath(t, home)
			if _, err := u.Status(ctx, "box", true); err != nil {
				t.Fatal(err)
			}
			check := func(want string, opened bool) {
				t.Helper()
				cmd := dovecotCommand(t, conf, home, "-D", "mailbox", "status", "messages unseen uidnext uidvalidity", "box")
				var debug strings.Builder
				cmd.Stderr = &debug
				out, err := cmd.Output()
				if err != nil || !strings.HasPrefix(string(out), want) {
					t.Errorf("%s, %v, want %s", out, err, want)
				}
				if got := strings.Contains(debug.String(), "Mailbox box: Couldn't "); got != opened {
					t.Errorf("opened: %v, want %v\n%s", got, opened, debug.String())
				}
				if strings.Contains(debug.String(), "Error:") || strings.Contains(debug.String(), "Warning:") {
					t.Error(debug.String())
				}
			}
			check("box messages=1", false)
			saveText(t, u.User, "box", "Subject: 2\n\nx\n")
			check("box messages=2", true)
		})
	}
}

// agePath makes directories look as if nothing had happened in them just now.
func agePath(t *testing.T, home string) {
	t.Helper()
	cmd := "find " + home + " -type d \\( -name new -o -name cur \\) -exec touch -d '10 seconds ago' {} +"
	if out, err := shell(cmd); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// A Dovecot process that runs notices what we do to names, and we what it does.
func TestListIndexIsShared(t *testing.T) {
	for _, location := range listIndexLocations {
		t.Run(strings.ReplaceAll(location, "/", "_"), func(t *testing.T) {
			conf := fmt.Sprintf(listIndexConf, location)
			home := t.TempDir()
			u := openTestUser(t, conf, home)
			ctx := context.Background()
			for _, name := range []string{"one", "two", "two/below"} {
				if err := u.Create(ctx, name); err != nil {
					t.Fatal(err)
				}
				if _, err := u.Status(ctx, name, false); err != nil {
					t.Fatal(err)
				}
			}
			c := startDovecot(t, conf, home)
			c.lists("INBOX", "one", "two", "two/below")
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
				chownAll(home)
			}
			must(u.Create(ctx, "three/below"))
			c.lists("INBOX", "one", "three", "three/below", "two", "two/below")
			must(u.Rename(ctx, "two", "four"))
			c.lists("INBOX", "four", "four/below", "one", "three", "three/below")
			must(u.Delete(ctx, "one"))
			c.lists("INBOX", "four", "four/below", "three", "three/below")
			saveText(t, u.User, "four", "Subject: 1\n\nx\n")
			chownAll(home)
			if got := c.command("STATUS four (MESSAGES)"); !slices.Contains(got, "* STATUS four (MESSAGES 1)") {
				t.Errorf("got %q", got)
			}
			if s, err := u.Status(ctx, "four", false); err != nil || s.Messages != 1 {
				t.Error(s, err)
			}
			c.command("CREATE five")
			c.command("APPEND four {15+}\r\nSubject: 2\r\n\r\nx")
			c.command("RENAME three/below six")
			if s, err := u.Status(ctx, "four", false); err != nil || s.Messages != 2 {
				t.Error(s, err)
			}
			for name, want := range map[string]bool{"five": true, "six": true, "three/below": false} {
				if _, err := u.Status(ctx, name, false); (err == nil) != want {
					t.Errorf("%s: %v", name, err)
				}
			}
			// Dovecot does not look whether somebody has taken the refresh flag away that it
			// set for the rename.
			c.command(`LIST "" *`)
			c.command("DELETE five")
			if _, err := u.Status(ctx, "five", false); err == nil {
				t.Error("five is still there")
			}
			c.lists(listed(t, u)...)
			for _, line := range c.command("NOOP") {
				if strings.Contains(line, "Error") {
					t.Error(line)
				}
			}
		})
	}
}

// A dovecotSession is a running imap process.
type dovecotSession struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Reader
	n   int
}

func startDovecot(t *testing.T, conf, home string) *dovecotSession {
	t.Helper()
	cmd := dovecotCommand(t, conf, home, "exec", "imap")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
		if strings.Contains(errs.String(), "Error") || strings.Contains(errs.String(), "Warning") {
			t.Error(errs.String())
		}
	})
	return &dovecotSession{t: t, in: in, out: bufio.NewReader(out)}
}

// command returns the untagged answers.
func (s *dovecotSession) command(text string) (lines []string) {
	s.t.Helper()
	s.n++
	tag := fmt.Sprintf("t%d ", s.n)
	fmt.Fprintf(s.in, "%s%s\r\n", tag, text)
	for {
		line, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("%s: %v", text, err)
		}
		line = strings.TrimRight(line, "\r\n")
		if rest, ok := strings.CutPrefix(line, tag); ok {
			if !strings.HasPrefix(rest, "OK") {
				s.t.Errorf("%s: %s", text, rest)
			}
			return lines
		}
		lines = append(lines, line)
	}
}

// lists checks which names LIST has.
func (s *dovecotSession) lists(want ...string) {
	s.t.Helper()
	var got []string
	for _, line := range s.command(`LIST "" *`) {
		if strings.HasPrefix(line, "* LIST") {
			got = append(got, line[strings.LastIndexByte(line, ' ')+1:])
		}
	}
	sameNames(s.t, got, want)
}

// A list index that was deleted or damaged is made anew; with LAYOUT=index the mailboxes are
// found by the names in their own indexes.
func TestLostListIndex(t *testing.T) {
	for _, location := range listIndexLocations {
		for _, damage := range []string{"rm -f", "truncate -s 0", "truncate -s 50", "truncate -s 200"} {
			t.Run(strings.ReplaceAll(location+" "+damage, "/", "_"), func(t *testing.T) {
				conf := fmt.Sprintf(listIndexConf, location)
				home := t.TempDir()
				ctx := context.Background()
				u := openTestUser(t, conf, home)
				boxes := []string{"A", "A/b^c", "Entwürfe/x"}
				for _, name := range boxes {
					if err := u.Create(ctx, name); err != nil {
						t.Fatal(err)
					}
					saveText(t, u.User, name, "Subject: 1\n\nx\n")
				}
				if err := u.Rename(ctx, "A", "B"); err != nil {
					t.Fatal(err)
				}
				boxes = []string{"B", "B/b^c", "Entwürfe/x"}
				for _, name := range boxes {
					if _, err := u.Status(ctx, name, false); err != nil {
						t.Fatal(err)
					}
				}
				before := listed(t, u)
				if out, err := shell(damage + " " + home + "/mail/dovecot.list.index*"); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				u2 := openTestUser(t, conf, home)
				for _, u := range []testUser{u, u2} {
					sameNames(t, listed(t, u), before)
					for _, name := range boxes {
						if s, err := u.Status(ctx, name, false); err != nil || s.Messages != 1 {
							t.Errorf("%s: %+v, %v", name, s, err)
						}
					}
				}
				sameNames(t, lines(doveadm(t, conf, home, "", "mailbox", "list", "-8")), before)
			})
		}
	}
}

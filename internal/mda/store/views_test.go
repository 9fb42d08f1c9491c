package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/dovetail-mail/dovetail/internal/mda/store/mailbox"
)

// viewLocations are locations, with ~ for the home directory.
var viewLocations = []string{
	"sdbox:~/mail",
	"sdbox:~/mail:INDEX=~/index",
	"sdbox:~/mail:INDEX=~/index:CONTROL=~/control:ALT=~/alt",
	"sdbox:~/mail:INDEX=~/index:CONTROL=~/control:FULLDIRNAME=msgs",
	"sdbox:~/mail:DIRNAME=msgs:MAILBOXDIR=boxes:SUBSCRIPTIONS=subs:LISTINDEX=lists/names",
	"sdbox:~/mail:UTF-8:VOLATILEDIR=~/volatile",
	"sdbox:~/mail:INBOX=~/in/box",
	"sdbox:~/mail:LAYOUT=index",
	"sdbox:~/mail:LAYOUT=index:INDEX=~/index:CONTROL=~/control",
	"sdbox:~/mail:INDEX=~/index:ITERINDEX",
	"sdbox:~/mail:NO-NOSELECT",
	"mdbox:~/mail",
	"mdbox:~/mail:INDEX=~/index:CONTROL=~/control:ALT=~/alt",
	"mdbox:~/mail:LAYOUT=index",
	"maildir:~/mail",
	"maildir:~/mail:INDEX=~/index:CONTROL=~/control",
	"maildir:~/mail:INBOX=~/in/box",
	"maildir:~/mail:LAYOUT=fs",
	"maildir:~/mail:LAYOUT=fs:INDEX=~/index:CONTROL=~/control",
	"maildir:~/mail:LAYOUT=fs:DIRNAME=msgs",
	"maildir:~/mail:LAYOUT=index",
	"maildir:~/mail:INDEX=MEMORY",
	"sdbox:~/mail:ALT=~/alt:ALTNOCHECK:INDEXCACHE=~/cache:INDEXPVT=~/private:BROKENCHAR=%%:NO-FS-VALIDATION",
	"mbox:~/mail:LAYOUT=index",
	"mbox:~/mail:LAYOUT=index:INDEX=~/index:CONTROL=~/control:INBOX=~/in/box",
}

// viewNames are mailboxes as a client with the separator "/" has them.
var viewNames = []string{
	"Entwürfe", "with space", "a&b", "日本語", "Work/Projects", "Work/Entwürfe/x", "x~", "INBOX/sub", "A^B", "deep/er/than/that", "deep",
}

// What one program makes, the other sees: names, subscriptions, directories, STATUS.
func TestViewsAreEqual(t *testing.T) {
	for _, location := range viewLocations {
		t.Run(strings.ReplaceAll(location, "/", "_"), func(t *testing.T) {
			t.Parallel()
			conf := "mail_location = " + location + "\nnamespace inbox {\n  inbox = yes\n  separator = /\n}\n"
			t.Run("made by Dovetail", func(t *testing.T) { viewOurs(t, conf) })
			t.Run("made by Dovecot", func(t *testing.T) { viewDovecots(t, conf) })
		})
	}
}

func viewOurs(t *testing.T, conf string) {
	home := t.TempDir()
	u := openTestUser(t, conf, home)
	ctx := context.Background()
	for i, name := range append([]string{"INBOX"}, viewNames...) {
		if name != "INBOX" {
			if err := u.Create(ctx, name); err != nil {
				t.Fatalf("create %q: %v", name, err)
			}
		}
		if err := u.Subscribe(ctx, name); err != nil {
			t.Fatalf("subscribe %q: %v", name, err)
		}
		for n := range i % 3 {
			saveText(t, u.User, name, fmt.Sprintf("Subject: %d\n\n%s\n", n, name))
		}
	}
	sameView(t, u, conf, home)
	for _, name := range []string{"INBOX", "Work/Entwürfe/x"} {
		samePaths(t, u, conf, home, name)
	}
	if err := u.Rename(ctx, "Work", "Arbeit/alt"); err != nil {
		t.Fatal(err)
	}
	if err := u.Delete(ctx, "deep"); err != nil {
		t.Fatal(err)
	}
	if err := u.Delete(ctx, "x~"); err != nil {
		t.Fatal(err)
	}
	sameView(t, u, conf, home)
}

func viewDovecots(t *testing.T, conf string) {
	home := t.TempDir()
	var commands []string
	for i, name := range viewNames {
		name = imapQuoted(name)
		commands = append(commands, "CREATE "+name, "SUBSCRIBE "+name)
		for n := range i % 3 {
			commands = append(commands, fmt.Sprintf("APPEND %s {15+}\r\nSubject: %d\r\n\r\nx", name, n))
		}
	}
	commands = append(commands, "APPEND INBOX {15+}\r\nSubject: 1\r\n\r\nx")
	imapCommands(t, conf, home, commands...)
	u := openTestUser(t, conf, home)
	sameView(t, u, conf, home)
	commands = []string{"RENAME Work Arbeit/alt"}
	// Dovecot's Maildir++ goes on listing a folder that only others are below, and with
	// LAYOUT=index and INDEX= those that were deleted.
	if !strings.Contains(conf, "maildir") || strings.Contains(conf, "LAYOUT=") {
		if !strings.Contains(conf, "LAYOUT=index:INDEX") {
			commands = append(commands, "DELETE deep", "DELETE x~")
		}
	}
	imapCommands(t, conf, home, commands...)
	sameView(t, u, conf, home)
	u2 := openTestUser(t, conf, home)
	sameView(t, u2, conf, home)
}

// imapCommands has the real Dovecot do what must succeed.
func imapCommands(t *testing.T, conf, home string, commands ...string) {
	t.Helper()
	for i, answers := range runDovecot(t, conf, home, commands) {
		if len(answers) == 0 || answers[len(answers)-1] != "OK" {
			t.Fatalf("%s: %v", commands[i], answers)
		}
	}
}

// sameView compares what both programs say of a tree.
func sameView(t *testing.T, u testUser, conf, home string) {
	t.Helper()
	ctx := context.Background()
	entries, err := u.List(ctx, ListQuery{Patterns: []string{"*"}, Return: ReturnChildren})
	if err != nil {
		t.Fatal(err)
	}
	var all, selectable []string
	for _, e := range entries {
		all = append(all, e.Name)
		if e.Flags&(FlagNoSelect|FlagNonExistent) == 0 {
			selectable = append(selectable, e.Name)
		}
	}
	sameNames(t, all, lines(doveadm(t, conf, home, "", "mailbox", "list", "-8")))
	subs, err := u.Subscriptions(ctx)
	if err != nil {
		t.Fatal(err)
	}
	sameNames(t, subs, lines(doveadm(t, conf, home, "", "mailbox", "list", "-s", "-8")))
	fields := "messages unseen recent uidnext uidvalidity vsize guid"
	theirs := lines(doveadm(t, conf, home, "", "-f", "tab", "mailbox", "status", fields, "*"))
	for range 2 { // once from the mailboxes, once from the list index
		ours := []string{theirs[0]}
		for _, name := range selectable {
			s, err := u.Status(ctx, name, true)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			ours = append(ours, fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%d\t%d\t%x", name, s.Messages, s.Recent, s.UIDNext, s.UIDValidity, s.Unseen, s.Size, s.GUID))
		}
		sameNames(t, ours, theirs)
	}
}

// samePaths compares the directories of a mailbox.
func samePaths(t *testing.T, u testUser, conf, home, name string) {
	t.Helper()
	p, err := u.resolve(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"mailbox", "index", "control", "index-private"} {
		ours, err := u.Path(p.name, kind)
		if err != nil {
			t.Fatal(err)
		}
		theirs := strings.TrimSuffix(string(doveadm(t, conf, home, "", "mailbox", "path", "-t", kind, name)), "\n")
		if theirs == "" && strings.Contains(conf, "MEMORY") {
			continue
		}
		if ours != theirs {
			t.Errorf("%s of %s:\n got %s\nwant %s", kind, name, ours, theirs)
		}
	}
}

func saveText(t *testing.T, u *User, name, text string) {
	t.Helper()
	ctx := context.Background()
	m, err := u.Mailbox(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s, err := m.Save(ctx, mailbox.SaveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Commit(ctx); err != nil {
		t.Fatal(err)
	}
}

// doveadm runs the real doveadm on home, where nothing may be wrong.
func doveadm(t *testing.T, conf, home, in string, args ...string) []byte {
	t.Helper()
	cmd := dovecotCommand(t, conf, home, args...)
	cmd.Stdin = strings.NewReader(in)
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || errs.Len() > 0 {
		t.Fatalf("doveadm %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out
}
